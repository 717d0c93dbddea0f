"""The error tree: drawn as it is, exported whole, one class for each code, and safe to copy."""

from __future__ import annotations

import copy
import inspect
import pickle
import re

import pytest

from entrepot import errors
from entrepot.errors import EntrepotError, InvalidReference, RegistryError, SizeMismatch

CLASSES = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, EntrepotError)]

INSTANCES: list[EntrepotError] = [
    EntrepotError("no", hint="do", peer="r.example"),
    errors.InvalidReference("no", text="a b", position=1),
    errors.InvalidDocument("expected integer", path="layers[2].size"),
    errors.DigestMismatch(expected="sha256:a", actual="sha256:b", peer="r.example"),
    errors.SizeMismatch(expected=1, actual=2, digest="sha256:a"),
    errors.CopyError("no", side="source", digest="sha256:a"),
    errors.ConfigError(["one", "two"]),
    errors.ManifestBlobUnknown(missing=["sha256:a"], detail={"a": [1]}, status=404),
    errors.TooManyRequests(retry_after=2.5, status=429),
    errors.RangeInvalid(size=7),
    errors.Unavailable("full", retry_after=1, peer="r.example"),
    errors.Unknown("odd", received_code="TEAPOT"),
]


def test_docstring_draws_the_tree() -> None:
    """The tree in the docstring names every class once, and no other."""
    drawing = (errors.__doc__ or "").split("The classes state facts")[0]
    drawn = re.findall(r"(?:[├└]── |^    )([A-Z]\w+)", drawing, re.MULTILINE)
    assert sorted(drawn) == sorted(kind.__name__ for kind in CLASSES)


def test_everything_is_exported() -> None:
    """Every class of the tree can be imported by its name."""
    assert {kind.__name__ for kind in CLASSES} | {"BY_CODE"} == set(errors.__all__)


def test_every_code_has_its_class() -> None:
    """The way back from a code leads to the class that states it, for the specification's codes and ours."""
    assert set(errors.BY_CODE) == {kind.code for kind in CLASSES if issubclass(kind, RegistryError)}
    assert all(kind.code == code for code, kind in errors.BY_CODE.items())
    specified = """BLOB_UNKNOWN BLOB_UPLOAD_INVALID BLOB_UPLOAD_UNKNOWN DIGEST_INVALID MANIFEST_BLOB_UNKNOWN
        MANIFEST_INVALID MANIFEST_UNKNOWN NAME_INVALID NAME_UNKNOWN SIZE_INVALID UNAUTHORIZED DENIED UNSUPPORTED
        TOOMANYREQUESTS"""
    assert set(specified.split()) <= set(errors.BY_CODE)


@pytest.mark.parametrize("error", INSTANCES, ids=lambda error: type(error).__name__)
def test_survives_pickling_and_copying(error: EntrepotError) -> None:
    """An error crosses a process boundary, or a copy, with everything that it knows."""
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(twin) is type(error)
        assert vars(twin) == vars(error)
        assert str(twin) == str(error)


def test_facts_have_their_places() -> None:
    """What a caller passes is found under its name; a message defaults to the code in words."""
    error = errors.TooManyRequests(retry_after=2.5, hint="wait", peer="r.example", status=429, detail=[1])
    assert (error.retry_after, error.hint, error.peer, error.status, error.detail) == (
        2.5,
        "wait",
        "r.example",
        429,
        [1],
    )
    assert str(error) == "toomanyrequests"
    assert str(errors.BlobUnknown()) == "blob unknown"
    assert errors.ManifestBlobUnknown(missing=["a", "b"]).missing == ("a", "b")


def test_messages() -> None:
    """A document's path comes first; a size says whether there was too much or too little."""
    assert str(errors.InvalidDocument("expected integer", path="a.b")) == "a.b: expected integer"
    assert str(SizeMismatch(expected=5, actual=3, digest="d")) == "the content has 3 of 5 bytes: d"
    assert str(SizeMismatch(expected=5, actual=6, digest="d")) == "the content has more than 5 bytes: d"
    assert str(errors.ConfigError(["one", "two"])) == "one; two"


def test_pointer_shows_the_surroundings_of_a_long_text() -> None:
    """The caret stands under the wrong character, in a window when the text is long."""
    error = InvalidReference("no", text="a" * 500 + "\t" + "b" * 500, position=500)
    line, caret = error.pointer().splitlines()
    assert len(line) < 120
    assert line[caret.index("^")] == "\N{REPLACEMENT CHARACTER}"
    assert line.startswith("…aaa")
    assert line.endswith("bbb…")
    assert InvalidReference("no", text="abc").pointer() == "abc"
