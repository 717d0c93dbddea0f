"""Errors on their way out: one table, driven through and back."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import pytest

from entrepot import errors
from entrepot.server.problems import STATUS, render

KINDS = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, errors.RegistryError) and kind is not errors.RegistryError
]
DOCUMENTATION = Path(__file__).parents[3] / "docs" / "reference" / "errors.md"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_there_and_back(kind):
    """Every error becomes a status and a code, and the code becomes the same error again."""
    response = render(kind("something is wrong: x", detail={"digest": "d"}))
    assert response.status == STATUS[kind]
    [entry] = json.loads(response.body)["errors"]
    assert entry == {"code": kind.code, "message": "something is wrong: x", "detail": {"digest": "d"}}
    assert errors.BY_CODE[entry["code"]] in kind.__mro__
    headers = dict(response.headers)
    assert headers[b"content-type"] == b"application/json"
    assert headers[b"content-length"] == str(len(response.body)).encode()


def test_every_status_is_an_error():
    """Statuses that the specification's clients understand: 4xx, and 5xx for what is not their fault."""
    assert set(STATUS) == set(KINDS)
    assert {kind.__name__ for kind, status in STATUS.items() if status >= 500} == {"Unknown", "Unavailable"}


@pytest.mark.parametrize(
    "error",
    [
        errors.BlobUnknown("over there", peer="other.example"),
        errors.Unauthorized("over there", peer="other.example", status=401),
        errors.ConnectionFailed("over there", peer="other.example"),
        errors.StoreError("over there", peer="other.example"),
        errors.DigestMismatch(expected="over there", actual="b"),
        RuntimeError("over there"),
        KeyError("over there"),
        OSError(5, "over there"),
    ],
    ids=repr,
)
def test_what_is_not_for_clients(error):
    """What another registry said, and what is a mistake of ours, is 500 without its words."""
    response = render(error)
    assert response.status == 500
    assert b"over there" not in response.body
    assert json.loads(response.body)["errors"][0]["code"] == "UNKNOWN"


def test_store():
    """A store that cannot is 503, and its words, which have paths in them, stay here."""
    response = render(errors.StoreError("cannot write: /srv/secret"))
    assert (response.status, b"secret" in response.body) == (503, False)
    assert dict(response.headers)[b"retry-after"] == b"5"


def test_missing():
    """One error for each digest that is missing."""
    response = render(errors.ManifestBlobUnknown("not here: a:b, c:d", missing=["a:b", "c:d"]))
    entries = json.loads(response.body)["errors"]
    assert [digest in entry["message"] for entry in entries for digest in ("a:b", "c:d")] == [
        True,
        False,
        False,
        True,
    ]
    assert [entry["detail"] for entry in entries] == [{"digest": "a:b"}, {"digest": "c:d"}]
    assert {entry["code"] for entry in entries} == {"MANIFEST_BLOB_UNKNOWN"}


def test_retry_after():
    """Clients are told when to come back, in whole seconds."""
    error = errors.TooManyRequests("slow down")
    error.retry_after = 1.2
    assert dict(render(error).headers)[b"retry-after"] == b"2"


def test_hint():
    """A hint goes along with the message."""
    response = render(errors.Unsupported("no", hint="do that instead"))
    assert json.loads(response.body)["errors"][0]["message"] == "no (do that instead)"


def test_documentation():
    """Every code and its status is in the documentation."""
    rows = {
        line.replace("`", "") for line in DOCUMENTATION.read_text().splitlines() if line.startswith("| `")
    }
    documented = {tuple(part.strip() for part in row.strip("|").split("|")[:2]) for row in rows}
    assert {(kind.code, str(status)) for kind, status in STATUS.items()} == documented
