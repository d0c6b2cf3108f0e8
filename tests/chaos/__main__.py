"""Random walks by hand: `python -m tests.chaos --seed 7 --count 5 --steps 200`. CI walks only seeds that are written down."""

from __future__ import annotations

import argparse
import functools
import time
import traceback

from tests.chaos.walk import walk


def main() -> int:
    """Walk `count` seeds from `seed` on; the exit code is 1 when one of them found something."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--seed", type=int, default=1, help="the first seed")
    words.add_argument("--count", type=int, default=1, help="how many seeds, one after the other")
    words.add_argument("--steps", type=int, default=50, help="random faults in each walk")
    words.add_argument("--whole", action="store_true", help="over hosted servers, clients' files and the machine too")
    asked = words.parse_args()
    failed: list[int] = []
    for number in range(asked.seed, asked.seed + asked.count):
        begun = time.monotonic()
        try:
            walk(number, asked.steps, whole=asked.whole, tell=functools.partial(print, flush=True))
        except Exception:  # noqa: BLE001 - whatever it is, the other seeds are walked too
            traceback.print_exc()
            failed.append(number)
        print(
            f"seed {number}: {asked.steps} steps in {time.monotonic() - begun:.0f}s, {'FAILED' if number in failed else 'ok'}",
            flush=True,
        )
    print(f"{asked.count * asked.steps} faults, {len(failed)} of {asked.count} walks failed: {failed}")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
