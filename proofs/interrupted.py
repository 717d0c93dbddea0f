"""An upload that is interrupted keeps what arrived and can be finished, whatever interrupted it.

Three interruptions: every process killed between two PATCHes or in the middle of one; the connection of a
monolithic PUT reset; another worker's request for the same bytes.
"""

from __future__ import annotations

import contextlib
import random
import shutil
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from http import HTTPStatus
from pathlib import Path

from bench.processes import poll
from bench.servers import Server

from proofs.claims import Claim, Control, Finding, Trial, at_least, at_most, equal
from proofs.connection import Answer, Connection
from proofs.process import wait_until_steady
from proofs.repository import Repository, Upload, WrongAnswerError, digest_of, require, require_blob
from proofs.server import WORKERS, connections_to_each_worker, kill, registry, root_of
from proofs.stream import MIB, Stream

__all__ = ["run"]

_REPOSITORY = "proof/interrupted"
_BLOB_MIB = 100
_SENT_MIB = 60
_LEAST_MIB = 50
_SMALL_BYTES = 64 * 1024
_BIG_BYTES = 8 * MIB
_LARGEST_CHUNK = 2 * MIB
_FINISHED = "finished"
_ONE, _NONE = "one", "none"


@dataclass(frozen=True)
class Counts:
    """How often each is tried: kills, and pairs of PATCHes at once, small and big."""

    kills: int
    small_pairs: int
    big_pairs: int


FULL = Counts(kills=50, small_pairs=200, big_pairs=50)
QUICK = Counts(kills=6, small_pairs=20, big_pairs=6)
CONTROL = Counts(kills=1, small_pairs=5, big_pairs=1)


def run(trial: Trial) -> Finding:
    """Interrupt uploads in all three ways, then those of a registry that keeps them in memory."""
    counts = QUICK if trial.quick else FULL
    kills = _kills(trial, counts.kills)
    resets = _resets(trial)
    pairs = _pairs(trial, counts)
    wrong_kills = _kills(trial, CONTROL.kills, wrong="in_memory")
    wrong_resets = _resets(trial, wrong="in_memory")
    wrong_pairs = _pairs(trial, CONTROL, wrong="in_memory")
    samples = {"kills": [asdict(one) for one in kills], "resets": [asdict(one) for one in resets]}
    control = {"kills": [asdict(one) for one in wrong_kills], "resets": [asdict(one) for one in wrong_resets]}
    return Finding(
        claims=[*_kill_claims(kills), *_reset_claims(resets), *_pair_claims(pairs)],
        controls=[
            Control(
                "a registry that keeps uploads in memory and takes what comes",
                [
                    _kill_claims(wrong_kills)[0],
                    *_reset_claims(wrong_resets)[1:],
                    _pair_claims(wrong_pairs)[0],
                ],
            )
        ],
        problems=_problems(kills, resets, pairs),
        samples={**samples, "pairs": pairs, "control": {**control, "pairs": wrong_pairs}},
        conditions="2 workers; root on tmpfs; SIGKILL to the whole process group; SO_LINGER 0 for the resets",
    )


def _problems(kills: list[Cut], resets: list[Reset], pairs: dict[str, list[str]]) -> list[str]:
    outcomes = [cut.outcome for cut in kills] + [reset.outcome for reset in resets]
    outcomes += [outcome for kind in pairs.values() for outcome in kind]
    return [outcome for outcome in outcomes if outcome not in {_FINISHED, _ONE, _NONE}]


@dataclass(frozen=True)
class Cut:
    """One upload, cut by a kill.

    Attributes:
        during: Whether the cut was in the middle of a PATCH.
        acknowledged: Bytes that 202 had acknowledged before.
        sent: Bytes that had been sent.
        standing: Bytes that the upload had after the restart; -1 if it was unknown.
        outcome: "finished" if the rest could be sent and the blob has the right bytes; otherwise what is wrong.
    """

    during: bool
    acknowledged: int
    sent: int
    standing: int
    outcome: str


def _kill_claims(cuts: list[Cut]) -> list[Claim]:
    rounds = len(cuts)
    return [
        equal(
            "acknowledged bytes that a kill took away",
            sum(max(c.acknowledged - c.standing, 0) for c in cuts),
            0,
        ),
        equal(
            "kills between two PATCHes after which the status was not exactly what was acknowledged",
            sum(c.standing != c.acknowledged for c in cuts if not c.during),
            0,
        ),
        equal(
            "kills after which there were bytes that nobody had sent",
            sum(c.standing > c.sent for c in cuts),
            0,
        ),
        equal(
            f"of {rounds} killed uploads, finished with the right bytes",
            sum(c.outcome == _FINISHED for c in cuts),
            rounds,
        ),
    ]


def _kills(trial: Trial, rounds: int, *, wrong: str | None = None) -> list[Cut]:
    """Start uploads and kill the server; each starts on the server that the one before was finished on."""
    chance = trial.random(f"kills {wrong}")
    place = trial.place(f"kills-{wrong or 'right'}")
    cuts: list[Cut] = []
    with contextlib.ExitStack() as servers:
        server = servers.enter_context(registry(place, wrong=wrong, workers=1 if wrong else WORKERS))
        for number in range(rounds):
            blob = Stream(f"{trial.seed} kill {number}", chance.randrange(MIB, 16 * MIB))
            during = number % 2 == 1
            upload, acknowledged, sent = _cut_off(server, blob, chance, during=during)
            kill(server)
            server = servers.enter_context(registry(place, wrong=wrong, workers=1 if wrong else WORKERS))
            standing, outcome = _go_on(server, upload, blob)
            cuts.append(Cut(during, acknowledged, sent, standing, outcome))
    shutil.rmtree(place)
    return cuts


def _cut_off(server: Server, blob: Stream, chance: random.Random, *, during: bool) -> tuple[Upload, int, int]:
    """Upload some chunks, and perhaps a part of one more; how many bytes were acknowledged, and how many sent."""
    wanted = chance.randrange(blob.size // 4, blob.size - MIB // 2)
    with Connection(server.address) as connection:
        upload = Repository(connection, _REPOSITORY).begin()
    done = 0
    while done < wanted:
        chunk = blob.read(done, min(done + chance.randrange(1, _LARGEST_CHUNK), wanted))
        # a connection each, so that both workers have a part
        with Connection(server.address) as connection:
            _patch(Repository(connection, _REPOSITORY), upload, chunk, start=done)
        done += len(chunk)
    if not during:
        return upload, done, done
    rest = blob.read(done, done + _LARGEST_CHUNK)
    part = chance.randrange(1, len(rest))
    connection = Connection(server.address)
    connection.send_head(
        "PATCH", upload.target, length=len(rest), headers={"Content-Range": f"{done}-{done + len(rest) - 1}"}
    )
    connection.send(rest[:part])
    # any moment of the way from the socket to the file may be the one
    poll(lambda: False, seconds=chance.uniform(0, 0.05))
    return upload, done, done + part


def _go_on(server: Server, upload: Upload, blob: Stream) -> tuple[int, str]:
    """Ask where an upload stands and send the rest: where it stood, and what came of it."""
    with Connection(server.address) as connection:
        repository = Repository(connection, _REPOSITORY)
        try:
            standing = repository.standing(upload)
        except WrongAnswerError as error:
            return -1, str(error)
        return standing, _finish(repository, upload, blob, standing, by="PATCH")


def _finish(repository: Repository, upload: Upload, blob: Stream, standing: int, *, by: str) -> str:
    """Send the rest of an upload: "finished", or what is wrong."""
    try:
        if by == "PATCH":
            _patch(repository, upload, blob.read(standing), start=standing)
            _become(repository, upload, blob.digest)
        else:
            rest = blob.pieces(standing)
            length = blob.size - standing
            answer = repository.complete(upload, blob.digest, rest, length=length, start=standing)
            require(answer, HTTPStatus.CREATED, f"PUT at {standing}")
            require_blob(repository, blob.digest)
    except WrongAnswerError as error:
        return str(error)
    return _FINISHED


def _become(repository: Repository, upload: Upload, digest: str) -> None:
    require(repository.complete(upload, digest), HTTPStatus.CREATED, f"PUT of {digest}")
    require_blob(repository, digest)


def _patch(repository: Repository, upload: Upload, data: bytes, *, start: int) -> None:
    answer = repository.patch(upload, data, start=start)
    require(answer, HTTPStatus.ACCEPTED, f"PATCH at {start}")


@dataclass(frozen=True)
class Reset:
    """One monolithic PUT whose connection was reset, and how it was finished.

    Attributes:
        finished_by: PATCH, or PUT with Content-Range.
        blob_status: What GET of the blob answered after the reset.
        standing: How much the upload then had, in MiB; -1 if it was unknown.
        outcome: "finished" if the rest could be sent and the blob has the right bytes; otherwise what is wrong.
    """

    finished_by: str
    blob_status: int
    standing: float
    outcome: str


def _reset_claims(resets: list[Reset]) -> list[Claim]:
    standing = [reset.standing for reset in resets]
    what = f"after a reset at {_SENT_MIB} of {_BLOB_MIB} MiB, MiB that the status shows"
    return [
        equal("after a reset, status of the blob", sorted({reset.blob_status for reset in resets}), [404]),
        at_least(f"{what}, at least", min(standing), _LEAST_MIB),
        *(equal(f"finished by {reset.finished_by}", reset.outcome, _FINISHED) for reset in resets),
        *([at_most(f"{what}, at most", max(standing), _SENT_MIB)] if min(standing) >= 0 else []),
    ]


def _resets(trial: Trial, *, wrong: str | None = None) -> list[Reset]:
    place = trial.place(f"resets-{wrong or 'right'}")
    with registry(place, wrong=wrong, workers=1 if wrong else WORKERS) as server:
        found = [_reset(trial, server, finished_by) for finished_by in ("PATCH", "PUT")]
    shutil.rmtree(place)
    return found


def _reset(trial: Trial, server: Server, finished_by: str) -> Reset:
    blob = Stream(f"{trial.seed} reset {finished_by}", _BLOB_MIB * MIB)
    with Connection(server.address) as connection:
        upload = Repository(connection, _REPOSITORY).begin()
        connection.send_head("PUT", upload.completing(blob.digest), length=blob.size)
        connection.send_all(blob.pieces(0, _SENT_MIB * MIB))
        connection.wait_until_delivered(seconds=30)
        connection.reset()
    with Connection(server.address) as connection:
        repository = Repository(connection, _REPOSITORY)
        try:
            wait_until_steady(lambda: repository.standing(upload), tolerance=0, quiet_seconds=1, seconds=30)
            standing = repository.standing(upload)
        except WrongAnswerError as error:
            return Reset(finished_by, repository.blob(blob.digest).status, -1, str(error))
        status = repository.blob(blob.digest).status
        outcome = _finish(repository, upload, blob, standing, by=finished_by)
        return Reset(finished_by, status, round(standing / MIB, 3), outcome)


def _pair_claims(outcomes: dict[str, list[str]]) -> list[Claim]:
    """One wins. Where bodies are bigger than what is written at once, a newcomer may find a part of the older one's."""
    small, big, taken = outcomes["small"], outcomes["big"], outcomes["taken over"]
    return [
        equal(
            f"of {len(small)} pairs of small PATCHes, one won and one got 416, bytes right",
            small.count(_ONE),
            len(small),
        ),
        equal(
            f"of {len(big)} pairs of {_BIG_BYTES // MIB} MiB PATCHes, at most one won, 416 for the rest, bytes right",
            big.count(_ONE) + big.count(_NONE),
            len(big),
        ),
        equal(f"of {len(taken)} stalled PATCHes, taken over by a newer one", taken.count(_ONE), len(taken)),
    ]


def _pairs(trial: Trial, counts: Counts, *, wrong: str | None = None) -> dict[str, list[str]]:
    """Send PATCHes for the same bytes to two workers at once; what came of each pair."""
    place = trial.place(f"pairs-{wrong or 'right'}")
    workers = 1 if wrong else WORKERS
    with registry(place, wrong=wrong, workers=workers) as server:
        outcomes = {
            "small": [
                _race(trial, server, place, _SMALL_BYTES, number, workers=workers)
                for number in range(counts.small_pairs)
            ],
            "big": [
                _race(trial, server, place, _BIG_BYTES, number, workers=workers)
                for number in range(counts.big_pairs)
            ],
            "taken over": []
            if wrong
            else [_take_over(trial, server, number) for number in range(counts.big_pairs)],
        }
    shutil.rmtree(place)
    return outcomes


@contextlib.contextmanager
def _two_ways(server: Server, *, workers: int) -> Iterator[list[Repository]]:
    """Have one connection to each of two workers; to a registry of one worker, two."""
    with contextlib.ExitStack() as closing:
        if workers == WORKERS:
            both = list(connections_to_each_worker(server).values())
        else:
            both = [Connection(server.address) for _ in range(2)]
        for connection in both:
            closing.enter_context(connection)
        yield [Repository(connection, _REPOSITORY) for connection in both]


def _race(trial: Trial, server: Server, place: Path, size: int, number: int, *, workers: int) -> str:
    """Have two workers take a body each for the first bytes of one upload, and finish what has won.

    Returns:
        "one" if one PATCH won, "none" if a part of one stayed and none won, and otherwise what is wrong.
    """
    bodies = [Stream(f"{trial.seed} pair {size} {number} {side}", size).read() for side in "ab"]
    with _two_ways(server, workers=workers) as two:
        upload = two[0].begin()
        answers = _at_once(two, upload, bodies)
    statuses = sorted(answer.status for answer in answers)
    if statuses not in ([202, 416], [416, 416]):
        return f"answers {statuses}"
    winners = [
        body for body, answer in zip(bodies, answers, strict=True) if answer.status == HTTPStatus.ACCEPTED
    ]
    # a server may close a connection whose request it has refused before the end of the body
    with Connection(server.address) as connection:
        return _settle(Repository(connection, _REPOSITORY), upload, place, bodies, winners)


def _settle(
    repository: Repository, upload: Upload, place: Path, bodies: list[bytes], winners: list[bytes]
) -> str:
    """Look whose bytes an upload has, and finish it with these."""
    standing = repository.standing(upload)
    # the file is the only place where bytes can be seen before they are a blob
    stored = (root_of(place) / "uploads" / upload.identity).read_bytes()
    if len(stored) != standing:
        return f"the status says {standing}, the file has {len(stored)}"
    holders = [body for body in bodies if body.startswith(stored)]
    if not holders or (winners and stored != winners[0]):
        return f"{standing} bytes that are not those of the winner"
    if standing < len(holders[0]):
        _patch(repository, upload, holders[0][standing:], start=standing)
    _become(repository, upload, digest_of(holders[0]))
    return _ONE if winners else _NONE


def _at_once(two: list[Repository], upload: Upload, bodies: list[bytes]) -> list[Answer]:
    together, answers = threading.Barrier(2), dict[int, Answer]()

    def send(side: int) -> None:
        together.wait()
        answers[side] = two[side].patch(upload, bodies[side], start=0)

    threads = [threading.Thread(target=send, args=(side,)) for side in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [answers[side] for side in range(2)]


def _take_over(trial: Trial, server: Server, number: int) -> str:
    """Let one client stall in the middle of a PATCH, and another one go on by way of the other worker."""
    blob = Stream(f"{trial.seed} stalled {number}", _BIG_BYTES)
    first, second = connections_to_each_worker(server).values()
    with first, second:
        stalled, newer = Repository(first, _REPOSITORY), Repository(second, _REPOSITORY)
        upload = stalled.begin()
        first.send_head(
            "PATCH", upload.target, length=blob.size, headers={"Content-Range": f"0-{blob.size - 1}"}
        )
        first.send(blob.read(0, blob.size // 2))
        wait_until_steady(lambda: newer.standing(upload), tolerance=0, quiet_seconds=0.3, seconds=10)
        standing = newer.standing(upload)
        answer = newer.patch(upload, blob.read(standing), start=standing)
        if answer.status != HTTPStatus.ACCEPTED:
            return f"the newer request got {answer.status} at {standing}"
        # it wakes up and sends the rest, which nobody wants any more
        first.send(blob.read(blob.size // 2))
        if (refused := first.answer().status) != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return f"the stalled request got {refused}"
        _become(newer, upload, blob.digest)
        return _ONE
