"""Random walks by hand: `python -m tests.chaos --whole --seed 7 --until 1000`. CI walks only seeds that are kept."""

from __future__ import annotations

import argparse
import datetime as dt
import functools
import itertools
import json
import os
import signal
import subprocess
import time
import traceback
from collections import Counter
from pathlib import Path

from tests.chaos.walk import Walked, into

ROOT = Path(__file__).resolve().parents[2]
ENDED = "ended by hand"
"""What is recorded as found by a walk that was ended before its last step: what it did until then was held against reality."""


def main() -> int:
    """Walk `count` seeds from `seed` on, or until there were so many faults; the exit code is 1 when a walk found something."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--seed", type=int, default=1, help="the first seed")
    words.add_argument("--count", type=int, default=1, help="how many seeds, one after the other")
    words.add_argument("--steps", type=int, default=50, help="steps in each walk")
    words.add_argument("--until", type=int, default=0, help="further seeds until there were so many faults, instead of --count")
    words.add_argument("--whole", action="store_true", help="over hosted servers, clients' files and the machine too")
    words.add_argument("--record", type=Path, help="a file to which each walk is appended as a line of JSON")
    words.add_argument("--hold", type=Path, help="no walk begins while this file exists")
    asked = words.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that an ended walk leaves nothing behind
    total, failed = Walked(), list[int]()
    for number in itertools.count(asked.seed):
        if total.faults >= asked.until if asked.until else number >= asked.seed + asked.count:
            break
        while asked.hold and asked.hold.exists():
            time.sleep(1)
        walked, found = _one(number, asked.steps, whole=asked.whole, record=asked.record)
        total.kinds += walked.kinds
        total.calls += walked.calls
        failed += [number] if found else []
    print(f"{total.faults} faults, {len(failed)} walks failed: {failed}; {_sorted(total.kinds)}; calls {dict(total.calls)}")
    return 1 if failed else 0


def _one(number: int, steps: int, *, whole: bool, record: Path | None) -> tuple[Walked, str]:
    """One walk, told and recorded; what it did, and what it found."""
    walked, begun, found = Walked(), time.monotonic(), ""
    at = dt.datetime.now(dt.UTC)
    try:
        into(walked, number, steps, whole=whole, tell=functools.partial(print, flush=True))
    except KeyboardInterrupt:
        found = ENDED
    except Exception as error:  # noqa: BLE001 - whatever it is, the other seeds are walked too
        traceback.print_exc()
        found = f"{type(error).__name__}: {error}".splitlines()[0][:300]
    seconds, load = round(time.monotonic() - begun), round(os.getloadavg()[0], 1)
    print(
        f"seed {number}: {walked.faults} faults in {seconds}s, {ENDED if found == ENDED else 'FAILED' if found else 'ok'}",
        flush=True,
    )
    if record is not None:
        line = {
            "at": f"{at:%Y-%m-%dT%H:%MZ}",
            "commit": _commit(),
            "seed": number,
            "steps": steps,
            "faults": walked.faults,
            "kinds": _sorted(walked.kinds),
            "calls": dict(walked.calls),
            "seconds": seconds,
            "load": load,
            "found": found,
        }
        with record.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
    if found == ENDED:
        raise KeyboardInterrupt
    return walked, found


def _sorted(kinds: Counter[str]) -> dict[str, int]:
    return dict(kinds.most_common())


def _commit() -> str:
    """The commit of this tree, with a plus where the tree differs from it."""
    asked = ["git", "-C", str(ROOT), "describe", "--always", "--abbrev=10", "--dirty=+", "--exclude=*"]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


if __name__ == "__main__":
    raise SystemExit(main())
