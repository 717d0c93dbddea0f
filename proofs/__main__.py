"""Run the proofs: `python -m proofs [--quick] [--seed N] [NAME ...]`. Exit status 1 when one of them fails."""

from __future__ import annotations

import argparse
import secrets
import sys
import time
import traceback
from collections.abc import Callable, Sequence

from bench.processes import ProcessError, scratch
from bench.programs import MissingProgramError

from proofs import evidence, interrupted, kill, memory, patches, power_cut
from proofs.claims import Finding, Trial

PROOFS: dict[str, Callable[[Trial], Finding]] = {
    "memory": memory.run,
    "patches": patches.run,
    "interrupted": interrupted.run,
    "power_cut": power_cut.run,
    "kill": kill.run,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the chosen proofs one after the other; the exit status."""
    options = _options(arguments)
    failed = 0
    for name in options.names or PROOFS:
        failed += not _prove(name, quick=options.quick, seed=options.seed)
    total = len(options.names or PROOFS)
    _say(f"{total - failed} passed, {failed} failed")
    return 1 if failed else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m proofs",
        description="Prove against real servers what the registry promises.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="\n".join(f"{name:<12} {_sentence(name)}" for name in PROOFS),
    )
    parser.add_argument("names", metavar="NAME", nargs="*", type=_name, help="which; all by default")
    parser.add_argument("--quick", action="store_true", help="smaller counts and sizes, for every change")
    parser.add_argument(
        "--seed", type=int, default=secrets.randbelow(2**32), help="of everything left to chance"
    )
    return parser.parse_args(arguments)


def _name(text: str) -> str:
    if text not in PROOFS:
        raise argparse.ArgumentTypeError(f"no such proof, there are {', '.join(PROOFS)}: {text}")
    return text


def _prove(name: str, *, quick: bool, seed: int) -> bool:
    _say(f"{name}: {_sentence(name)}")
    started = time.monotonic()
    with scratch(f"proof-{name}") as directory:
        trial = Trial(quick, seed, directory)
        try:
            finding = PROOFS[name](trial)
        except (ProcessError, MissingProgramError) as error:
            _say(f"  {error}\n  FAILED after {time.monotonic() - started:.0f} s, seed {seed}\n")
            return False
        except Exception:  # a proof that cannot be finished has failed, and the next one is run all the same
            _say(f"{traceback.format_exc()}  FAILED after {time.monotonic() - started:.0f} s, seed {seed}\n")
            return False
    seconds = time.monotonic() - started
    _say("\n".join(evidence.lines(finding)))
    path = evidence.write(name, finding, trial, seconds=seconds)
    verdict = "passed" if finding.passed else "FAILED"
    _say(f"  {verdict} in {seconds:.0f} s, seed {seed}: {path}\n")
    return finding.passed


def _sentence(name: str) -> str:
    return (sys.modules[PROOFS[name].__module__].__doc__ or "").partition("\n")[0]


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
