from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.errors import InvalidDocument, StoreError
from entrepot.oci import Digest
from entrepot.wire import (
    Action,
    Cause,
    Decision,
    Exchange,
    JsonLinesFile,
    Record,
    Times,
    read_records,
    record_to_line,
)

SECONDS = st.none() | st.floats(min_value=0, max_value=1e6)
HEADERS = st.lists(st.tuples(st.text(), st.text()), max_size=3).map(tuple)
EXCHANGES = st.builds(
    Exchange,
    id=st.integers(min_value=1, max_value=2**53),
    parent=st.none() | st.integers(min_value=1, max_value=2**53),
    cause=st.sampled_from(Cause),
    phase=st.text(),
    began=st.floats(min_value=0, max_value=1e10),
    method=st.text(),
    url=st.text(),
    request_headers=HEADERS,
    status=st.none() | st.integers(min_value=100, max_value=599),
    response_headers=HEADERS,
    error_body=st.none() | st.text(),
    failure=st.none() | st.text(),
    times=st.builds(
        Times, dns=SECONDS, connect=SECONDS, tls=SECONDS, send=SECONDS, first_byte=SECONDS, end=SECONDS
    ),
    bytes_sent=st.integers(min_value=0, max_value=2**53),
    bytes_received=st.integers(min_value=0, max_value=2**53),
    connection=st.none() | st.integers(min_value=1, max_value=2**31),
    reused=st.booleans(),
    attempt=st.integers(min_value=1, max_value=9),
)
DECISIONS = st.builds(
    Decision,
    at=st.floats(min_value=0, max_value=1e10),
    digest=st.binary().map(Digest.of),
    media_type=st.text(),
    size=st.integers(min_value=0, max_value=2**53),
    kind=st.sampled_from(["blob", "manifest"]),
    role=st.text(),
    action=st.sampled_from(Action),
    reason=st.text(),
    platform=st.none() | st.text(),
)

EXCHANGE = Exchange(id=1, began=0.0, method="GET", url="http://r/")


@given(st.lists(EXCHANGES | DECISIONS, max_size=4))
def test_what_is_written_is_read_back(records: list[Record]) -> None:
    """Lines of JSON lose nothing, whatever text is in the records; each record is one line."""
    lines = [record_to_line(record) for record in records]
    assert all(line.count(b"\n") == 1 for line in lines)
    assert list(read_records(lines)) == records


def test_lines_say_what_they_are() -> None:
    """A reader in any language sees the kind of the record in its first field, and no empty ones."""
    assert json.loads(record_to_line(EXCHANGE)) == {
        "record": "exchange",
        "id": 1,
        "began": 0.0,
        "method": "GET",
        "url": "http://r/",
    }


def test_a_file_is_written_as_records_come(tmp_path: Path) -> None:
    """Each record is in the file when the sink returns; nobody else can read it; what was there is gone."""
    path = tmp_path / "trace.jsonl"
    path.write_bytes(b"old")
    path.chmod(0o644)
    with JsonLinesFile(path) as sink:
        assert path.read_bytes() == b""
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        sink(EXCHANGE)
        with path.open("rb") as lines:
            assert list(read_records(lines)) == [EXCHANGE]


def test_a_new_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    """A trace is made with mode 0600."""
    path = tmp_path / "trace.jsonl"
    with JsonLinesFile(path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_that_cannot_be_written_is_named_at_once(tmp_path: Path) -> None:
    """The error comes when the sink is made, before anything is transferred."""
    for path in (tmp_path / "missing" / "trace.jsonl", tmp_path):
        with pytest.raises(StoreError, match=path.name):
            JsonLinesFile(path)


def test_a_file_that_takes_no_more_is_named(tmp_path: Path) -> None:
    """A record that could not be written is an error of the trace: nobody must believe that it is complete."""
    path = tmp_path / "trace.jsonl"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with JsonLinesFile(path) as sink:
        sink(EXCHANGE)
        assert list(read_records([os.read(reader, 4096)])) == [EXCHANGE]
        os.close(reader)
        with pytest.raises(StoreError, match=r"the trace cannot be written, broken pipe: .*trace\.jsonl"):
            sink(EXCHANGE)


@pytest.mark.parametrize(
    ("line", "where"),
    [
        (b"{", "line 3"),
        (b"\xff", "line 3"),
        (b'{"record":"other"}', "line 3"),
        (b'{"record":"exchange","id":"1","began":0,"method":"GET","url":""}', r"line 3: \$\.id"),
        (b'{"record":"exchange"}', "line 3"),
        (
            b'{"record":"decision","at":0,"digest":"x","media_type":"","size":0,"kind":"blob","role":"","action":"exists","reason":""}',
            r"line 3: \$\.digest",
        ),
        (b"[" * 5000, "line 3"),
        (b" " * (1 << 20) + b"{}", "line 3"),
    ],
)
def test_a_bad_line_is_named(line: bytes, where: str) -> None:
    """The number of the line, and the field if it is one, are in the error; what was before it has been read."""
    records = read_records([record_to_line(EXCHANGE), b"\n", line])
    assert next(records) == EXCHANGE
    with pytest.raises(InvalidDocument, match=f"^{where}"):
        next(records)
