"""Numbers, tables and options as they are read and written."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

from entrepot.cli.options import Options, parse_size
from entrepot.cli.output import table


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("1", 1),
        ("1048576", 1 << 20),
        ("5MB", 5_000_000),
        ("16MiB", 16 << 20),
        ("1 k", 1000),
        ("2gi", 2 << 30),
    ],
)
def test_sizes_are_read(text: str, count: int) -> None:
    """A size is a number with a unit of 1000 or of 1024, in any case."""
    assert parse_size(text) == count


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5M", "MiB", "1TB", "\uff11", "9" * 13])
def test_sizes_that_are_none(text: str) -> None:
    """What is no size is refused, naming it."""
    with pytest.raises(typer.BadParameter):
        parse_size(text)


def test_tables() -> None:
    """Columns are as wide as their widest cell."""
    assert table([("A", "B"), ("long", "c")]) == ["A     B", "long  c"]


def test_where_the_image_store_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """The option wins over ENTREPOT_STORE, that over XDG_DATA_HOME, that over the home directory."""
    monkeypatch.delenv("ENTREPOT_STORE", raising=False)
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setenv("HOME", "/home/me")
    assert Options().image_store == Path("/home/me/.local/share/entrepot/images")
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert Options().image_store == Path("/data/entrepot/images")
    monkeypatch.setenv("ENTREPOT_STORE", "/store")
    assert Options().image_store == Path("/store")
    assert Options(store=Path("/given")).image_store == Path("/given")
