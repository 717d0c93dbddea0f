"""From an error to a response: status, code, body and headers. There is no other place that decides them.

    { "errors": [ { "code": …, "message": …, "detail": … }, … ] }        (distribution-spec, "Error Codes")

An error that another registry sent us carries its `peer`, and never gets out of here as our own: whoever talks to
other registries says what their errors mean for our clients. Anything that is not for clients is 500, without its
words.
"""

from __future__ import annotations

import math
from typing import Any, Final

import msgspec

from entrepot import errors
from entrepot.server.responses import Response

__all__ = ["RETRY_SECONDS", "STATUS", "render"]

STATUS: Final[dict[type[errors.RegistryError], int]] = {
    errors.BlobUnknown: 404,
    errors.BlobUploadInvalid: 400,
    errors.BlobUploadUnknown: 404,
    errors.Denied: 403,
    errors.DigestInvalid: 400,
    errors.ManifestBlobUnknown: 400,
    errors.ManifestInvalid: 400,
    errors.ManifestTooLarge: 413,
    errors.ManifestUnknown: 404,
    errors.MethodNotAllowed: 405,
    errors.NameInvalid: 400,
    errors.NameUnknown: 404,
    errors.PaginationNumberInvalid: 400,
    errors.RangeInvalid: 416,
    errors.RequestTooLong: 414,
    errors.SizeInvalid: 400,
    errors.TagInvalid: 400,
    errors.TooManyRequests: 429,
    errors.Unauthorized: 401,
    errors.Unavailable: 503,
    errors.Unknown: 500,
    errors.Unsupported: 405,
    errors.UnsupportedMediaType: 415,
}

RETRY_SECONDS: Final = 5
"""What clients are told to wait when nobody knows better."""


def render(error: Exception) -> Response:
    """Return the response that says what went wrong."""
    if isinstance(error, errors.StoreError) and error.peer is None:
        # What the store says is for whoever runs the registry: it has paths in it.
        return render(errors.Unavailable("the registry's storage cannot do this now"))
    if not isinstance(error, errors.RegistryError) or error.peer is not None:
        return render(errors.Unknown("the registry has failed; its log says why"))
    status = next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)
    # Details may hold digests and names, which are strings of their own types.
    body = msgspec.json.encode({"errors": _entries(error)}, enc_hook=str)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
        *_headers(error, status),
    ]
    return Response(status, headers, body)


def _entries(error: errors.RegistryError) -> list[dict[str, Any]]:
    """Return one entry, or one for each digest that is missing."""
    if isinstance(error, errors.ManifestBlobUnknown) and error.missing:
        # the error's own message names them all: repeated for each of them, it would be megabytes
        return [
            {
                "code": error.code,
                "message": f"the repository does not have what the manifest is made of: {digest}",
                "detail": {"digest": digest},
            }
            for digest in error.missing
        ]
    message = f"{error.message} ({error.hint})" if error.hint else error.message
    entry = {"code": error.code, "message": message}
    return [entry if error.detail is None else {**entry, "detail": error.detail}]


def _headers(error: errors.RegistryError, status: int) -> list[tuple[bytes, bytes]]:
    if isinstance(error, errors.MethodNotAllowed):
        return [(b"allow", ", ".join(error.allowed).encode("ascii"))]
    if isinstance(error, errors.TooManyRequests | errors.Unavailable):
        seconds = RETRY_SECONDS if error.retry_after is None else math.ceil(error.retry_after)
        return [(b"retry-after", b"%d" % seconds)]
    # "MUST generate an Allow header field in a 405 response" (RFC 9110, section 15.5.6); what we were told not to
    # do is never reading.
    return [(b"allow", b"GET, HEAD")] if status == 405 else []
