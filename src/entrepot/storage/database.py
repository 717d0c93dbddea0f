"""What the catalog asks of a database, in the common subset of SQLite and PostgreSQL.

Statements are written once for both, with `$1, $2` as place-holders and three slots that each engine fills in:
`{now}` (milliseconds since the epoch by the database's clock, never a replica's), `{lock}` (`FOR UPDATE`),
`{share}` (`FOR SHARE`). Outside the subset: `= ANY`, `unnest`, `::type`, `LIKE`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeAlias, TypeVar

__all__ = ["Database", "Row", "Transaction", "Work"]

T = TypeVar("T")
Row: TypeAlias = tuple[Any, ...]


class Transaction(Protocol):
    """What a transaction may await, and nothing else."""

    async def fetch(self, sql: str, *values: object) -> list[Row]:
        """Run a statement and return all of its rows."""

    async def execute(self, sql: str, *values: object) -> None:
        """Run a statement for its effect."""


Work: TypeAlias = Callable[[Transaction], Awaitable[T]]
"""A transaction: awaits nothing but its argument, has no other effects, may run twice.

Raising undoes it; a return value is given out only after it is durable.
"""


class Database(Protocol):
    """A catalog's engine."""

    async def point(self, sql: str, *values: object) -> Row | None:
        """Return the one row of a statement that touches few and small rows; runs on the loop's thread."""

    async def scan(self, sql: str, *values: object) -> list[Row]:
        """Return all rows of a statement that may take long; never blocks the loop."""

    async def transaction(self, work: Work[T]) -> T:
        """Run a transaction and return its result once it is durable.

        Cancelling the caller does not undo it: it may be committed or not.

        Raises:
            Unavailable: The database cannot commit now, for want of space for example, or is closed.
            StoreError: It is damaged.
        """
