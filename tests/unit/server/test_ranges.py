"""Ranges: what is asked for and where chunks belong."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.errors import BlobUploadInvalid, RangeInvalid, SizeInvalid
from entrepot.server.ranges import MAX_RANGES, Span, parse_content_range, parse_range

NUMBERS = st.integers(min_value=0, max_value=40)


@given(size=st.integers(min_value=1, max_value=30), first=NUMBERS, length=st.none() | NUMBERS)
def test_one_range(size, first, length):
    """A range is the bytes that Python's slice would give, or cannot be satisfied."""
    last = "" if length is None else first + length
    expected = range(size)[first : None if length is None else first + length + 1]
    if not expected:
        with pytest.raises(RangeInvalid) as caught:
            parse_range(f"bytes={first}-{last}", size)
        assert caught.value.size == size
    else:
        assert parse_range(f"bytes={first}-{last}", size) == [Span(expected.start, expected.stop)]


@given(size=st.integers(min_value=1, max_value=30), length=st.integers(min_value=1, max_value=40))
def test_suffix(size, length):
    """A suffix is the last bytes, or all when there are not so many."""
    assert parse_range(f"bytes=-{length}", size) == [Span(max(size - length, 0), size)]


@given(
    size=st.integers(min_value=0, max_value=30),
    header=st.text(alphabet="bytes=0123456789-, \u0661", max_size=30) | st.text(max_size=20),
)
def test_any_header(size, header):
    """Whatever the header says, what is given lies within the bytes, is not empty and does not overlap."""
    try:
        spans = parse_range(header, size)
    except RangeInvalid:
        return
    assert len(spans) <= MAX_RANGES
    covered = [byte for span in spans for byte in range(span.start, span.stop)]
    assert len(covered) == len(set(covered))
    assert all(0 <= byte < size for byte in covered)
    assert all(span.length > 0 for span in spans)


def test_several():
    """Several ranges keep their order, and those that cannot be satisfied are left out."""
    assert parse_range("bytes=5-6, 90-, 0-1,-1", 10) == [Span(5, 7), Span(0, 2), Span(9, 10)]
    assert parse_range("bytes=0-4,5-9", 10) == [Span(0, 5), Span(5, 10)]


def test_too_many():
    """Sixteen are answered, seventeen are not."""
    sixteen = ",".join(f"{n}-{n}" for n in range(0, 32, 2))
    assert len(parse_range(f"bytes={sixteen}", 100)) == 16
    assert parse_range(f"bytes={sixteen},99-99", 100) == []


@given(
    start=st.integers(0, 2**62),
    length=st.integers(1, 2**62),
    form=st.sampled_from(["{}-{}", "bytes {}-{}/*", "bytes {}-{}/9"]),
)
def test_chunk(start, length, form):
    """A chunk belongs where its range begins, however it is written."""
    header = form.format(start, start + length - 1)
    assert parse_content_range(header, length) == Span(start, start + length)
    assert parse_content_range(header, None).length == length
    with pytest.raises(SizeInvalid):
        parse_content_range(header, length - 1)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "0-",
        "-1",
        "1-0",
        "0 - 1",
        "bytes=0-1",
        "octets 0-1",
        "0-1/",
        "bytes */5",
        "0x0-1",
        "\u0660-9",
        "0-1\n2",
    ],
)
def test_chunk_that_is_none(header):
    """What is no range of a chunk is refused."""
    with pytest.raises(BlobUploadInvalid):
        parse_content_range(header, None)
