"""The conformance suite of a store: every promise of `entrepot.store`'s protocols, checked.

With pytest or without:

    @asynccontextmanager
    async def open_store(path):
        yield await Layout.open(Path(path), create=True)

    report = await check_store(
        lambda: open_store(path),
        elsewhere=Elsewhere(f"{__file__}:open_store", [str(path)]),
    )

A store passes if `check_store` returns. It writes some tens of megabytes into the store and leaves them there.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import anyio

from entrepot.reference import RefName, Tag
from entrepot.testing.promises import blobs, instances, manifests, names
from entrepot.testing.promises.trial import Broken, Elsewhere, MakeStore, Promise, Trial

__all__ = [
    "PROMISES",
    "Elsewhere",
    "Failure",
    "MakeStore",
    "Promise",
    "Report",
    "StoreCheckFailed",
    "check_store",
]

PROMISES: Sequence[Promise] = (
    *blobs.PROMISES,
    *manifests.PROMISES,
    *names.PROMISES,
    *instances.PROMISES,
    *instances.BETWEEN_PROCESSES,
)
"""What `check_store` checks, in this order."""

_NEED_ANOTHER_PROCESS = frozenset(promise.name for promise in instances.BETWEEN_PROCESSES)


@dataclass(frozen=True, slots=True)
class Failure:
    """A promise that was not kept, and how."""

    promise: Promise
    complaint: str

    def __str__(self) -> str:
        return f"{self.promise.name}: {self.promise.text}\n    but {self.complaint}"


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome, each promise by its name.

    Attributes:
        kept: Those that were kept.
        skipped: Those that were not checked: as asked, or because they need another process.
        failures: Those that were broken.
    """

    kept: tuple[str, ...]
    skipped: tuple[str, ...]
    failures: tuple[Failure, ...]

    @property
    def broken(self) -> tuple[str, ...]:
        """Return the names of the promises that were broken."""
        return tuple(failure.promise.name for failure in self.failures)


class StoreCheckFailed(AssertionError):  # noqa: N818 - like the errors of `entrepot.errors`
    """The store breaks promises; the message lists them.

    Attributes:
        report: What was kept, what was broken, and how.
    """

    def __init__(self, report: Report) -> None:
        total = len(report.kept) + len(report.failures)
        complaints = "\n".join(f"  {failure}" for failure in report.failures)
        super().__init__(f"the store breaks {len(report.failures)} of {total} promises\n{complaints}")
        self.report = report


async def check_store(
    make_store: MakeStore,
    *,
    make_name: Callable[[str], RefName] = Tag,
    elsewhere: Elsewhere | None = None,
    skip: Collection[str] = (),
    seconds_each: float = 60,
) -> Report:
    """Check that a store keeps every promise. All are checked, also when one is broken.

    Args:
        make_store: Opens the store: the same one each time. It is opened twice at once, closed, and opened
            again.
        make_name: Makes a name that the store takes out of letters, digits, dots, dashes and underscores. The
            default makes tags; an image store wants `lambda text: RefName(f"example.com/app:{text}")`.
        elsewhere: How another process opens the same store; without it what needs one is skipped.
        skip: Names of promises that are not to be checked.
        seconds_each: How long one check may take.

    Returns:
        What was checked.

    Raises:
        StoreCheckFailed: The store broke a promise, or several.
        ValueError: `skip` names a promise that there is not.
    """
    unknown = set(skip) - {promise.name for promise in PROMISES}
    if unknown:
        raise ValueError(f"not the name of a promise: {min(unknown)}")
    run = secrets.token_hex(4)
    kept: list[str] = []
    skipped: list[str] = []
    failures: list[Failure] = []
    for promise in PROMISES:
        if promise.name in skip or (elsewhere is None and promise.name in _NEED_ANOTHER_PROCESS):
            skipped.append(promise.name)
            continue
        trial = Trial(make_store, f"{promise.name}-{run}", make_name, elsewhere)
        complaint = await _complaint(promise, trial, seconds_each)
        if complaint is None:
            kept.append(promise.name)
        else:
            failures.append(Failure(promise, complaint))
    report = Report(tuple(kept), tuple(skipped), tuple(failures))
    if failures:
        raise StoreCheckFailed(report)
    return report


async def _complaint(promise: Promise, trial: Trial, seconds: float) -> str | None:
    """Run one check; return how the promise was broken, or None."""
    try:
        with anyio.fail_after(seconds):
            await promise.check(trial)
    except TimeoutError:
        return f"the check did not end within {seconds:g} seconds"
    except Broken as broken:
        return str(broken)
    except Exception as error:  # whatever a store raises where it must not is its answer
        return _unexpected(error)
    return None


def _unexpected(error: Exception) -> str:
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return str(error) if isinstance(error, Broken) else f"it raised {type(error).__name__}: {error}"
