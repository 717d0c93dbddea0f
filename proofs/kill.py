"""What was acknowledged is there after a crash of every process, at whatever moment and at every system call."""

from __future__ import annotations

import contextlib
import itertools
import random
import shutil
import sqlite3
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.processes import ProcessError, poll
from bench.programs import find
from bench.servers import Server

from proofs.boundaries import Boundary, boundaries_of, read_trace, traced
from proofs.claims import Claim, Control, Finding, Trial, at_least, at_most, equal
from proofs.connection import Connection, Gone
from proofs.ledger import Ledger
from proofs.oracle import everything, inspect_root, look
from proofs.server import connections_to_each_worker, kill, registry, root_of
from proofs.writers import Writer, writing

__all__ = ["run"]

SECONDS_TO_ANSWER = 10.0

_WRITERS = 8
_ROUNDS_PER_ROOT = 50
_WRITING_SECONDS = (0.02, 1.2)
_PROBLEMS_KEPT = 20
_FULL, _QUICK = 1000, 20
_SECONDS_AT_MOST = 40 * 60
_QUICK_BOUNDARIES = 12
_ATTEMPTS = 4
_SMALL_LAYERS = (200,)
"""Of the images pushed under strace: written by the event loop's thread, so that every run makes the same calls."""


def run(trial: Trial) -> Finding:
    """Kill at random moments and at chosen calls, then see what the oracle says of registries that are wrong."""
    right = _rounds(trial, _QUICK if trial.quick else _FULL)
    claims = [
        _faultless(right),
        at_least("objects acknowledged before the kills", right.acknowledged, 10 * right.rounds),
        at_most("seconds until the registry answered again, at most", max(right.restarts), SECONDS_TO_ANSWER),
    ]
    samples, problems = {"random": right.document()}, right.problems
    conditions = f"{_WRITERS} writers; 2 workers; root on tmpfs; SIGKILL to the process group"
    if find("strace"):
        chosen = _chosen(trial, limit=_QUICK_BOUNDARIES if trial.quick else None)
        claims += chosen.claims()
        samples["chosen"] = chosen.document()
        problems += chosen.problems
    else:
        conditions += "; strace is not installed, so no kills at chosen calls"
    wrong = _rounds(trial, 1, wrong="in_memory")
    return Finding(
        claims=claims,
        controls=[
            Control("a registry that keeps everything in memory", [_faultless(wrong)]),
            *(_tampered(trial, what, tamper) for what, tamper in _TAMPERINGS.items()),
        ],
        samples={**samples, "control": wrong.document()},
        conditions=conditions,
        problems=problems,
    )


@dataclass
class Rounds:
    """What several kills have brought about.

    Attributes:
        rounds: How many.
        faulty: After how many something was wrong.
        acknowledged: How many blobs, manifests and deletions were acknowledged in all.
        restarts: How many seconds each restart took, until the first answer.
        problems: What was wrong.
    """

    rounds: int = 0
    faulty: int = 0
    acknowledged: int = 0
    restarts: list[float] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def add(self, problems: list[str]) -> None:
        """Note one more kill."""
        self.rounds += 1
        self.faulty += bool(problems)
        self.problems += problems

    def document(self) -> dict[str, Any]:
        """Return the figures for the evidence."""
        return {
            "rounds": self.rounds,
            "faulty": self.faulty,
            "acknowledged": self.acknowledged,
            "restart_seconds": {
                "median": round(statistics.median(self.restarts), 3),
                "most": round(max(self.restarts), 3),
            },
            "problem_count": len(self.problems),
            "problems": self.problems[:_PROBLEMS_KEPT],
        }


def _faultless(rounds: Rounds) -> Claim:
    return equal(f"complaints after {rounds.rounds} kills at random moments", len(rounds.problems), 0)


def _rounds(trial: Trial, count: int, *, wrong: str | None = None) -> Rounds:
    """Kill at random moments, until the count or the time is reached."""
    chance, found = trial.random(f"kills {wrong}"), Rounds()
    deadline = time.monotonic() + _SECONDS_AT_MOST
    while found.rounds < count and time.monotonic() < deadline:
        place = trial.place(f"kills-{wrong or 'right'}-{found.rounds}")
        _use_up(place, min(count, found.rounds + _ROUNDS_PER_ROOT), chance, found, wrong=wrong)
        shutil.rmtree(place)
    return found


def _use_up(place: Path, until: int, chance: random.Random, found: Rounds, *, wrong: str | None) -> None:
    """Kill the registry of one root again and again, and look at all of it at the end."""
    ledger, workers = Ledger(), 1 if wrong else 2
    with contextlib.ExitStack() as servers:
        server = servers.enter_context(registry(place, wrong=wrong, workers=workers))
        while found.rounds < until:
            problems = _kill_while_writing(server, ledger, chance)
            problems += inspect_root(root_of(place))
            started = time.monotonic()
            server = servers.enter_context(registry(place, wrong=wrong, workers=workers))
            found.restarts.append(time.monotonic() - started)
            found.add([*problems, *look(server.address, ledger)])
        ledger.recall()
        found.problems += look(server.address, ledger)
        kill(server)
    found.problems += everything(root_of(place))
    found.acknowledged += ledger.acknowledged


def _kill_while_writing(server: Server, ledger: Ledger, chance: random.Random) -> list[str]:
    """Have writers push and delete, and kill the server at some moment; what they have found wrong."""
    with writing(server.address, ledger, count=_WRITERS, chance=chance) as writers:
        poll(lambda: False, seconds=chance.uniform(*_WRITING_SECONDS))
        kill(server)
    refused = [f"{writer.name}: I9 refused: {refusal}" for writer in writers for refusal in writer.refused]
    return [problem for writer in writers for problem in writer.problems] + refused


@dataclass
class Chosen:
    """What the kills at chosen calls have brought about.

    Attributes:
        boundaries: How many one push has.
        hit: At which of those tried the worker died.
        missed: Which of those tried the push did not come to.
        problems: What was wrong afterwards.
    """

    boundaries: int = 0
    hit: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def claims(self) -> list[Claim]:
        """Return what has to hold."""
        tried = len(self.hit) + len(self.missed)
        return [
            equal(f"complaints after {len(self.hit)} kills at chosen calls of a push", len(self.problems), 0),
            at_least(
                "chosen calls at which the worker died, of those tried", len(self.hit) / max(tried, 1), 0.9
            ),
        ]

    def document(self) -> dict[str, Any]:
        """Return the figures for the evidence."""
        return {
            "boundaries_of_a_push": self.boundaries,
            "hit": self.hit,
            "missed": self.missed,
            "problems": self.problems[:_PROBLEMS_KEPT],
        }


def _chosen(trial: Trial, *, limit: int | None) -> Chosen:
    """Kill a worker at the boundaries of one push, and then all that is left; one after the other on one root."""
    place, found, ledger = trial.place("chosen"), Chosen(), Ledger()
    chance = trial.random("chosen")
    waiting: list[Boundary] | None = None
    attempts = 0
    with contextlib.ExitStack() as servers:
        while waiting is None or waiting:
            server = servers.enter_context(registry(place, workers=1))
            found.problems += look(server.address, ledger)
            writer = Writer(server.address, 0, ledger, chance, layers=_SMALL_LAYERS)
            (worker,) = _workers(server)
            parts, every = _observe(writer, worker, place / "strace.log")
            if waiting is None:
                found.boundaries = len(every)
                waiting = every if limit is None else _one_of_each(every, limit, chance)
            boundary = waiting[0]
            died = _push_under(writer, worker, parts[boundary.part], boundary, place / "strace.log")
            attempts = 0 if died else attempts + 1
            if died or attempts == _ATTEMPTS:
                # the threads of a pool share their calls now one way, now another
                (found.hit if died else found.missed).append(str(waiting.pop(0)))
                attempts = 0
            kill(server)
            found.problems += inspect_root(root_of(place))
        server = servers.enter_context(registry(place, workers=1))
        ledger.recall()
        found.problems += look(server.address, ledger)
    shutil.rmtree(place)
    return found


def _workers(server: Server) -> list[int]:
    connections = connections_to_each_worker(server, workers=1)
    for connection in connections.values():
        connection.close()
    return list(connections)


def _observe(writer: Writer, worker: int, log: Path) -> tuple[dict[str, list[int]], list[Boundary]]:
    """Push twice, the second time traced: which threads do what, and which boundaries a push has."""
    _push(writer)
    with traced(worker, log):
        _push(writer)
    trace = read_trace(worker, log)
    return trace.parts(), boundaries_of(trace)


def _push_under(writer: Writer, worker: int, threads: list[int], boundary: Boundary, log: Path) -> bool:
    """Push with a kill at a boundary ahead; whether it came."""
    with traced(worker, log, threads=threads, boundary=boundary):
        try:
            _push(writer)
        except Gone:
            return True
    return False


def _push(writer: Writer) -> None:
    with Connection(writer.address) as connection:
        writer.push(connection, writer.name, "tag")


def _one_of_each(every: list[Boundary], limit: int, chance: random.Random) -> list[Boundary]:
    """Choose boundaries by chance, one for each call of each part before a second one for any."""
    kinds: dict[tuple[str, str], list[Boundary]] = {}
    for boundary in chance.sample(every, len(every)):
        kinds.setdefault((boundary.part, boundary.call), []).append(boundary)
    turns = itertools.chain.from_iterable(itertools.zip_longest(*kinds.values()))
    return [boundary for boundary in turns if boundary is not None][:limit]


def _tampered(trial: Trial, what: str, tamper: Callable[[Path], None]) -> Control:
    """Kill once, change what is on disk behind everybody's back, and have the oracle look."""
    place, ledger = trial.place(f"tampered-{tamper.__name__}"), Ledger()
    with contextlib.ExitStack() as servers:
        server = servers.enter_context(registry(place))
        with Connection(server.address) as connection:
            writer = Writer(server.address, 0, ledger, trial.random(what))
            for _ in range(3):
                writer.push(connection, writer.name, "tag")
        kill(server)
        tamper(root_of(place))
        problems = inspect_root(root_of(place))
        try:
            server = servers.enter_context(registry(place))
            problems += look(server.address, ledger)
        except ProcessError as error:
            problems.append(f"I8 it does not start any more: {error}")
    shutil.rmtree(place)
    return Control(what, [equal("complaints of the oracle", len(problems), 0)])


def _flip_a_bit(root: Path) -> None:
    path = next(path for path in sorted((root / "blobs").rglob("*.*")) if path.is_file())
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _move_a_tag_back(root: Path) -> None:
    _execute(
        root,
        "UPDATE tag SET digest = (SELECT digest FROM manifest WHERE manifest.digest <> tag.digest LIMIT 1)",
    )


def _take_a_link_away(root: Path) -> None:
    _execute(root, "DELETE FROM repository_blob WHERE digest = (SELECT min(digest) FROM blob)")


def _leave_a_file_behind(root: Path) -> None:
    directory = next(path for path in (root / "blobs" / "sha256").iterdir())
    (directory / f"{'0' * 64}.{'0' * 32}").write_bytes(b"")


def _execute(root: Path, statement: str) -> None:
    with contextlib.closing(sqlite3.connect(root / "catalog.db")) as database, database:
        database.execute(statement)


_TAMPERINGS: dict[str, Callable[[Path], None]] = {
    "one bit of a stored blob turned over": _flip_a_bit,
    "a tag moved to an earlier manifest": _move_a_tag_back,
    "a blob taken out of its repository": _take_a_link_away,
    "a blob's file that nothing names": _leave_a_file_behind,
}
