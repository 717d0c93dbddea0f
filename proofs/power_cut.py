"""What was acknowledged is there after a power cut, at whatever moment it comes."""

from __future__ import annotations

import contextlib
import random
import shutil
from dataclasses import asdict, dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

from bench.processes import ProcessError, poll
from bench.servers import Server

from proofs.claims import Claim, Control, Finding, Trial, at_least, equal
from proofs.connection import Connection
from proofs.disk import Disk, disk
from proofs.ledger import Ledger
from proofs.oracle import everything, inspect_root, look
from proofs.repository import Repository
from proofs.server import kill, registry, root_of
from proofs.writers import writing

__all__ = ["run"]

_WRITERS = 4
_CUTS_PER_DISK = 20
_WRITING_SECONDS = (0.05, 1.5)
_PROBLEMS_KEPT = 20
_FULL, _QUICK = 200, 5
_FULL_CONTROL, _QUICK_CONTROL = 20, 2


def run(trial: Trial) -> Finding:
    """Cut the power of a registry that is written to, and of one that leaves out every fsync."""
    right = _cuts(trial, _QUICK if trial.quick else _FULL)
    wrong = _cuts(trial, _QUICK_CONTROL if trial.quick else _FULL_CONTROL, wrong="not_durable")
    return Finding(
        claims=[
            _lossless(right),
            at_least("objects acknowledged before the cuts", right.acknowledged, 10 * right.cuts),
        ],
        controls=[Control("a registry that leaves out every fsync", [_lossless(wrong)])],
        problems=right.problems,
        samples={"right": _document(right), "control": _document(wrong)},
        conditions=(
            f"{_WRITERS} writers; 2 workers; ext4 (data=ordered) on a loop device in tmpfs; "
            f"EXT4_IOC_SHUTDOWN without flushing the journal; a new file system every {_CUTS_PER_DISK} cuts"
        ),
    )


@dataclass
class Cuts:
    """What several cuts have brought about.

    Attributes:
        cuts: How many.
        lossy: After how many something was wrong.
        acknowledged: How many blobs, manifests and deletions were acknowledged in all.
        late: How many were acknowledged after a cut had begun, which no power cut would have let through.
        late_and_lost: How many of these are not there, which is no complaint.
        problems: What was wrong.
    """

    cuts: int = 0
    lossy: int = 0
    acknowledged: int = 0
    late: int = 0
    late_and_lost: int = 0
    problems: list[str] = field(default_factory=list)

    def add(self, problems: list[str]) -> None:
        """Note one more cut."""
        self.cuts += 1
        self.lossy += bool(problems)
        self.problems += problems


def _lossless(cuts: Cuts) -> Claim:
    return equal(f"complaints after {cuts.cuts} power cuts", len(cuts.problems), 0)


def _document(cuts: Cuts) -> dict[str, Any]:
    return {**asdict(cuts), "problems": cuts.problems[:_PROBLEMS_KEPT], "problem_count": len(cuts.problems)}


def _cuts(trial: Trial, count: int, *, wrong: str | None = None) -> Cuts:
    chance, found = trial.random(f"cuts {wrong}"), Cuts()
    while found.cuts < count:
        place = trial.place(f"disk-{wrong or 'right'}-{found.cuts}")
        with disk(place / "image", root_of(place)) as under_it:
            _use_up(place, under_it, min(count, found.cuts + _CUTS_PER_DISK), chance, found, wrong=wrong)
        shutil.rmtree(place)
    return found


def _use_up(
    place: Path, under_it: Disk, until: int, chance: random.Random, found: Cuts, *, wrong: str | None
) -> None:
    """Cut one disk's power again and again. One on which the registry does not start any more is given up."""
    ledger = Ledger()
    try:
        with contextlib.ExitStack() as servers:
            server = servers.enter_context(registry(place, wrong=wrong))
            while found.cuts < until:
                problems = _cut(server, under_it, ledger, chance)
                problems += inspect_root(root_of(place))
                try:
                    server = servers.enter_context(registry(place, wrong=wrong))
                except ProcessError as error:
                    found.add([*problems, f"I8 it does not start any more: {error}"])
                    return
                found.late += len(ledger.late)
                found.late_and_lost += _absent(server, ledger)
                ledger.reopen()
                found.add([*problems, *look(server.address, ledger)])
            found.problems += _last_look(server, place, ledger)
    finally:
        found.acknowledged += ledger.acknowledged


def _cut(server: Server, under_it: Disk, ledger: Ledger, chance: random.Random) -> list[str]:
    """Have writers push, and cut the power at some moment; what they have found wrong by themselves."""
    with writing(server.address, ledger, count=_WRITERS, chance=chance) as writers:
        poll(lambda: False, seconds=chance.uniform(*_WRITING_SECONDS))
        # a power cut lets no answer out; ours lets some: an fsync under way in that moment was seen to report success
        ledger.close()
        under_it.cut_power()
        kill(server)
    under_it.unmount()
    under_it.mount()
    return [problem for writer in writers for problem in writer.problems]


def _absent(server: Server, ledger: Ledger) -> int:
    """Count what was acknowledged too late to count, and is not there."""
    with Connection(server.address) as connection:
        found = [Repository(connection, name) for name, _ in ledger.late]
        return sum(
            repository.blob(digest).status != HTTPStatus.OK
            and repository.manifest(digest).status != HTTPStatus.OK
            for repository, (_, digest) in zip(found, ledger.late, strict=True)
        )


def _last_look(server: Server, place: Path, ledger: Ledger) -> list[str]:
    """Look for all that was ever acknowledged on a disk, not only before the last cut."""
    ledger.recall()
    problems = look(server.address, ledger)
    kill(server)
    return problems + everything(root_of(place))
