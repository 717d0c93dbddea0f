from __future__ import annotations

import json

import pytest

from entrepot.errors import (
    BY_CODE,
    BlobUnknown,
    BlobUploadInvalid,
    Denied,
    DigestInvalid,
    ManifestBlobUnknown,
    ManifestInvalid,
    ManifestTooLarge,
    ManifestUnknown,
    NameUnknown,
    RangeInvalid,
    RegistryError,
    SizeInvalid,
    TooManyRequests,
    Unauthorized,
    Unavailable,
    Unknown,
    Unsupported,
    UnsupportedMediaType,
)
from entrepot.remote.problems import Refusal, problem

A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64


def errors(*entries: dict[str, object]) -> bytes:
    return json.dumps({"errors": entries}).encode()


def refused(
    status: int, body: bytes = b"", *, headers: dict[str, str] | None = None, **more: object
) -> RegistryError:
    facts = {"peer": "registry.example", "subject": "registry.example/a:v1", **more}
    return problem(Refusal(status=status, headers=headers or {}, body=body, **facts))


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("BLOB_UNKNOWN", 404),
        ("BLOB_UPLOAD_INVALID", 400),
        ("BLOB_UPLOAD_UNKNOWN", 404),
        ("DIGEST_INVALID", 400),
        ("MANIFEST_BLOB_UNKNOWN", 400),
        ("MANIFEST_INVALID", 400),
        ("MANIFEST_UNKNOWN", 404),
        ("NAME_INVALID", 400),
        ("NAME_UNKNOWN", 404),
        ("SIZE_INVALID", 400),
        ("UNAUTHORIZED", 401),
        ("DENIED", 403),
        ("UNSUPPORTED", 405),
        ("TOOMANYREQUESTS", 429),
        ("RANGE_INVALID", 416),
        ("TAG_INVALID", 400),
        ("PAGINATION_NUMBER_INVALID", 400),
        ("UNAVAILABLE", 503),
    ],
)
def test_every_code_with_its_own_status(code: str, status: int) -> None:
    """A code that comes with the status it belongs to is its class, with the peer's words."""
    error = refused(status, errors({"code": code, "message": "some words", "detail": {"a": 1}}))
    assert type(error) is BY_CODE[code]
    assert (error.peer, error.status, error.detail) == ("registry.example", status, {"a": 1})
    assert error.message == "some words: registry.example/a:v1"


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (401, "MANIFEST_UNKNOWN", Unauthorized),
        (403, "MANIFEST_UNKNOWN", Denied),
        (403, "UNAUTHORIZED", Denied),
        (401, "DENIED", Unauthorized),
        (404, "UNAUTHORIZED", ManifestUnknown),
        (404, "NOT_FOUND", ManifestUnknown),
        (404, "UNKNOWN", ManifestUnknown),
        (404, "BLOB_UPLOAD_INVALID", BlobUploadInvalid),
        (404, "name_unknown", NameUnknown),
        (416, "BLOB_UPLOAD_INVALID", RangeInvalid),
        (429, "DENIED", TooManyRequests),
        (500, "MANIFEST_UNKNOWN", Unknown),
        (503, "NAME_UNKNOWN", Unavailable),
        (400, "TOOMANYREQUESTS", Unknown),
        (415, "UNSUPPORTED", UnsupportedMediaType),
        (418, "TEAPOT", Unknown),
    ],
)
def test_a_code_that_contradicts_its_status(status: int, code: str, expected: type[RegistryError]) -> None:
    """Absent and forbidden stay different answers, and a fault of the server is never an absence."""
    assert type(refused(status, errors({"code": code}), absent=ManifestUnknown)) is expected


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (400, Unknown),
        (401, Unauthorized),
        (403, Denied),
        (404, BlobUnknown),
        (405, Unsupported),
        (413, SizeInvalid),
        (415, UnsupportedMediaType),
        (416, RangeInvalid),
        (429, TooManyRequests),
        (500, Unknown),
        (502, Unavailable),
        (503, Unavailable),
        (504, Unavailable),
    ],
)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"\xff\xfe",
        b"[" * 3000,
        b'{"errors":[]}',
        b'{"errors":null}',
        b'{"errors":[1,null]}',
        b"<html>",
    ],
)
def test_the_status_alone(status: int, expected: type[RegistryError], body: bytes) -> None:
    """Where the body says nothing, the status decides, and a 404 is what was asked for."""
    assert type(refused(status, body, absent=BlobUnknown)) is expected


@pytest.mark.parametrize(
    ("body", "content_type", "words"),
    [
        (b'{"message": "not here"}', "application/json", "not here"),
        (b'{"error": "no such thing"}', "application/json", "no such thing"),
        (b'{"errors": [{"status": 404, "message": "Not found."}]}', "application/json", "Not found"),
        (
            b'{"errors": [{"code":"X","message":"one"},{"code":"Y","message":"two"},{"message":"one"}]}',
            "",
            "one; two",
        ),
        (b"404 page not found\n", "text/plain", "404 page not found"),
        (
            b"<!DOCTYPE html><html><head><title>Sign in\n to <b>corp</b></title>",
            "text/html",
            "status 404 with a web page titled 'Sign in to corp'",
        ),
        (b"<html><body>", "text/html", "status 404 with a web page"),
        (b'{"errors": [{"message": "\\u001b[31mred\\u202e"}]}', "", "\\x1b[31mred\\u202e"),
        (b"", "", "name unknown"),
    ],
)
def test_the_words_of_the_peer(body: bytes, content_type: str, words: str) -> None:
    """Whatever form the words come in, they are found, on one line, harmless to a terminal."""
    assert (
        refused(404, body, headers={"content-type": content_type}).message
        == f"{words}: registry.example/a:v1"
    )


def test_long_words_are_cut() -> None:
    """A peer does not get to fill the screen."""
    assert len(refused(400, errors({"code": "UNKNOWN", "message": "x" * 9000})).message) < 600


@pytest.mark.parametrize(
    "body",
    [
        errors(
            {"code": "MANIFEST_BLOB_UNKNOWN", "detail": {"digest": A}},
            {"code": "MANIFEST_BLOB_UNKNOWN", "detail": {"digest": B}},
        ),
        errors(
            {"code": "MANIFEST_BLOB_UNKNOWN", "detail": A}, {"code": "MANIFEST_BLOB_UNKNOWN", "detail": B}
        ),
        errors({"code": "MANIFEST_BLOB_UNKNOWN", "detail": [{"Digest": A}, {"Digest": B}]}),
        errors({"code": "BLOB_UNKNOWN", "message": f"missing {A} and {B}"}),
        errors({"code": "MANIFEST_UNKNOWN", "detail": f"{A}, {B}"}),
    ],
)
def test_everything_that_a_manifest_misses_is_gathered(body: bytes) -> None:
    """Each missing digest is named, wherever the registry put it."""
    error = refused(400, body, manifest=True)
    assert isinstance(error, ManifestBlobUnknown)
    assert error.missing == (A, B)


def test_a_manifest_that_is_refused_for_itself() -> None:
    """An invalid or too large manifest is not a missing blob."""
    assert type(refused(400, errors({"code": "MANIFEST_INVALID"}), manifest=True)) is ManifestInvalid
    assert type(refused(400, errors({"code": "DIGEST_INVALID"}), manifest=True)) is DigestInvalid
    assert type(refused(413, b"", manifest=True)) is ManifestTooLarge


def test_facts_beside_the_code() -> None:
    """The class's own attributes are filled from the response."""
    ranged = refused(416, headers={"Content-Range": "bytes */1234"})
    assert isinstance(ranged, RangeInvalid)
    assert ranged.size == 1234
    offset = refused(416, headers={"Range": "0-99"})
    assert isinstance(offset, RangeInvalid)
    assert offset.size == 100
    busy = refused(429, retry_after=3.0)
    assert isinstance(busy, TooManyRequests)
    assert busy.retry_after == 3.0
    odd = refused(418, errors({"code": "teapot"}))
    assert isinstance(odd, Unknown)
    assert odd.received_code == "TEAPOT"


def test_who_is_not_logged_in_is_told_what_to_do() -> None:
    """A 401 hints at logging in and shows the challenge."""
    error = refused(
        401, headers={"WWW-Authenticate": 'Bearer realm="https://auth.example/token",service="r"'}
    )
    assert error.hint is not None
    assert "log in to registry.example" in error.hint
    assert "auth.example/token" in error.hint


def test_credentials_in_a_message_are_withheld() -> None:
    """A registry that repeats a token or a signed URL in its words does not get it into our message."""
    jwt = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJjYW5hcnkifQ.canary"
    said = f"token {jwt} at https://s3.example/x?sig=canary, Bearer canarycanary"
    error = refused(400, errors({"code": "UNKNOWN", "message": said}))
    assert "canary" not in error.message
    assert "https://s3.example/x?sig=…" in error.message
