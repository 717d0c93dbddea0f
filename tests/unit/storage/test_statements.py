"""Every statement of the catalog: prepared on SQLite, in the common subset, and answered from an index."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator

import pytest

from entrepot.storage import StorageSettings, layout, statements
from entrepot.storage.sqlite import _bound, _Dialect, connect

FIXED = {name: value for name, value in vars(statements).items() if name.isupper() and isinstance(value, str)}
COUNTED = {
    f"{function.__name__}({count})": function(count)
    for function in (
        statements.present_blobs,
        statements.present_manifests,
        statements.touch_blobs,
        statements.touch_manifests,
        statements.known_uploads,
    )
    for count in (1, 2, 500)
}
STATEMENTS = FIXED | COUNTED

# what PostgreSQL does not have, what SQLite does not have, and what behaves differently there
FORBIDDEN = re.compile(
    r"\bI?LIKE\b|\bGLOB\b|::|\bANY\s*\(|\bUNNEST\b|\bFOR\s+(UPDATE|SHARE)\b|\bNOW\s*\(|\bCURRENT_|\bDATETIME\b"
    r"|\bJULIANDAY\b|\bSTRFTIME\b|\bINSERT\s+OR\b|\bREPLACE\b|\bIFNULL\b|\bROWID\b|\bLAST_INSERT|\?",
    re.IGNORECASE,
)

READS_A_WHOLE_TABLE = {"ANY_REPOSITORY", "LIST_GARBAGE"}
"""One row of a table is enough; all of a table is wanted."""


@pytest.fixture
def connection(settings: StorageSettings) -> Iterator[sqlite3.Connection]:
    connection = connect(settings.root / layout.CATALOG)
    yield connection
    connection.close()


def place_holders(sql: str) -> list[int]:
    return sorted({int(number) for number in re.findall(r"\$(\d+)", sql)})


def plan(connection: sqlite3.Connection, sql: str) -> list[str]:
    values = _bound(tuple("x" for _ in place_holders(sql)))
    rows = connection.execute(f"EXPLAIN QUERY PLAN {_Dialect(0)(sql)}", values).fetchall()
    return [row[3] for row in rows]


def test_every_statement_prepares_on_sqlite(connection: sqlite3.Connection) -> None:
    """SQLite takes each statement against the migrated catalog: its tables, columns and conflicts exist."""
    assert len(FIXED) > 35
    for name, sql in STATEMENTS.items():
        try:
            connection.execute(f"EXPLAIN {_Dialect(0)(sql)}", _bound(tuple("x" for _ in place_holders(sql))))
        except sqlite3.Error as error:
            pytest.fail(f"{name}: {error}")


@pytest.mark.parametrize("name", STATEMENTS)
def test_a_statement_is_in_the_common_subset(name: str) -> None:
    """Nothing that only one of the two databases understands, or that they understand differently."""
    sql = STATEMENTS[name]

    assert not FORBIDDEN.search(sql)
    assert set(re.findall(r"\{\w*\}", sql)) <= {"{now}", "{lock}", "{share}"}


@pytest.mark.parametrize("name", STATEMENTS)
def test_place_holders_are_numbered_without_gaps(name: str) -> None:
    """Values are given in the order of the numbers, so none may be missing."""
    numbers = place_holders(STATEMENTS[name])

    assert numbers == list(range(1, len(numbers) + 1))


def test_no_statement_reads_a_whole_table(connection: sqlite3.Connection) -> None:
    """Each is answered from an index, so that it takes no longer in a registry of a million blobs."""
    for name, sql in STATEMENTS.items():
        if name not in READS_A_WHOLE_TABLE:
            scans = [step for step in plan(connection, sql) if step.startswith("SCAN")]
            assert not scans, name
            assert not [step for step in plan(connection, sql) if "TEMP B-TREE" in step], name


def test_foreign_keys_have_an_index_on_the_side_that_is_looked_up(connection: sqlite3.Connection) -> None:
    """Deleting a row looks for rows that point at it: without an index that reads their whole table."""
    tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    for table in tables:
        keys: dict[int, list[str]] = {}
        for number, _, _, column, *_ in connection.execute(f"PRAGMA foreign_key_list({table})"):
            keys.setdefault(number, []).append(column)
        for columns in keys.values():
            condition = " AND ".join(f"{column} = 'x'" for column in columns)
            [step] = plan(connection, f"SELECT 1 FROM {table} WHERE {condition}")
            assert step.startswith("SEARCH"), f"{table} {columns}: {step}"
