"""python -m tests.fuzz TARGET [--seconds N] [--seed N] [--plain] [--corpus DIR]: fuzz one parser by hand, for an hour say.

With atheris (a dev dependency where it has a wheel) libFuzzer chooses inputs by coverage; without it, or with --plain, they are
mutations of the kept inputs. What is found worth keeping goes to --corpus (default .fuzz/TARGET; git ignores it), an input that
breaks a rule to .fuzz/TARGET-fault-*: put that one into tests/fuzz/corpus/TARGET once the fault is mended, so that it stays mended.
`python -m tests.fuzz.keep TARGET --corpus DIR` takes over what a run found.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import importlib.util
import random
import sys
import time
from pathlib import Path
from types import FunctionType
from typing import Any, cast

from tests.fuzz.mutation import mutate
from tests.fuzz.targets import CORPUS, TARGETS, Target, seeds

COVERED = (
    "gateway.http.head", "gateway.http.request_reader", "gateway.protocol.json_edit", "gateway.protocol.message",
    "gateway.protocol.reading", "http_client.connection", "http_client.framing", "http_client.sse",
)  # fmt: skip
"""Modules whose coverage guides atheris."""
ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    options = argparse.ArgumentParser(
        prog="python -m tests.fuzz", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    options.add_argument("target", choices=sorted(TARGETS))
    options.add_argument("--seconds", type=float, default=60)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--plain", action="store_true", help="mutations only, no coverage")
    options.add_argument("--corpus", type=Path, default=None)
    given = options.parse_args()
    corpus: Path = given.corpus or ROOT / ".fuzz" / given.target
    corpus.mkdir(parents=True, exist_ok=True)
    target = TARGETS[given.target]
    if given.plain or importlib.util.find_spec("atheris") is None:
        sys.exit(plainly(given.target, target, given.seconds, given.seed, corpus))
    guided(given.target, target, given.seconds, given.seed, corpus)


def plainly(name: str, target: Target, seconds: float, seed: int, corpus: Path) -> int:
    """Mutations until the time is over. The exit code: 1 when a rule was broken."""
    rng = random.Random(seed)
    sources = [*seeds(name), *(path.read_bytes() for path in sorted(corpus.iterdir()))]
    until, count = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        data = mutate(rng.choice(sources), sources, rng)
        count += 1
        try:
            target(data)
        except Exception as fault:  # noqa: BLE001
            kept = corpus.with_name(f"{name}-fault-{hashlib.sha256(data).hexdigest()[:16]}")
            kept.write_bytes(data)
            print(f"input {count} broke a rule, kept as {kept}: {type(fault).__name__} {fault}")
            return 1
    print(f"{name}: {count} inputs in {seconds:g} s, no rule broken (seed {seed}, no coverage)")
    return 0


def guided(name: str, target: Target, seconds: float, seed: int, corpus: Path) -> None:
    """libFuzzer through atheris, with the coverage of our own modules; it ends the process."""
    atheris: Any = importlib.import_module("atheris")
    for module in COVERED:
        loaded = importlib.import_module(f"mcpwatch.{module}")
        holders: list[object] = [loaded, *(value for value in vars(loaded).values() if isinstance(value, type))]
        for holder in holders:
            for key, value in list(cast("dict[str, object]", vars(holder)).items()):
                if isinstance(value, FunctionType) and value.__module__ == loaded.__name__:
                    setattr(holder, key, atheris.instrument_func(value))
    arguments = [sys.argv[0], str(corpus), str(CORPUS / name), f"-max_total_time={int(seconds)}", f"-seed={seed}", "-max_len=20000"]
    atheris.Setup([*arguments, f"-artifact_prefix={corpus.parent}/{name}-fault-"], target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
