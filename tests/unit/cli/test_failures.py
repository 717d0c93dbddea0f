"""Errors as people and programs see them."""

from __future__ import annotations

import pytest

from entrepot import errors
from entrepot.cli.failures import describe, exit_code, render

PEER = "registry.example"


def caused(error: errors.EntrepotError, cause: BaseException) -> errors.EntrepotError:
    error.__cause__ = cause
    return error


def copy_error() -> errors.CopyError:
    return errors.CopyError("cannot read at the source: sha256:0", side="source", digest="sha256:0")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.InvalidReference("no", text="x"), 2),
        (errors.ConfigError(["no"]), 2),
        (errors.DigestInvalid("no"), 2),
        (errors.DigestInvalid("no", peer=PEER), 1),
        (errors.ManifestUnknown("no", peer=PEER), 3),
        (errors.NameUnknown("no"), 3),
        (errors.BlobUnknown("no"), 3),
        (errors.Unauthorized("no", peer=PEER), 4),
        (errors.Denied("no", peer=PEER), 4),
        (errors.ConnectionFailed("no", peer=PEER), 1),
        (errors.StoreError("no"), 1),
        (caused(copy_error(), errors.BlobUnknown("no")), 1),
        (caused(copy_error(), errors.Denied("no", peer=PEER)), 4),
    ],
)
def test_exit_codes(error: errors.EntrepotError, code: int) -> None:
    """Usage is 2, absent 3, denied 4, all else 1; something absent below what was found is a failure."""
    assert exit_code(error) == code


def test_a_copy_that_failed() -> None:
    """The sentence comes first, then what the registry said, then the hint."""
    denied = errors.Denied("not for you", peer=PEER, status=403, hint="log in")
    assert render(caused(copy_error(), denied)).splitlines() == [
        "error: cannot read at the source: sha256:0",
        "  because: registry.example said: not for you (DENIED, status 403)",
        "hint: log in",
    ]


def test_all_problems_of_a_configuration() -> None:
    """Each problem of a configuration is a line of its own."""
    assert render(errors.ConfigError(["one", "two"])) == "error: one\nerror: two"


def test_a_peer_does_not_move_the_cursor() -> None:
    """Characters that a terminal would act upon are shown as text."""
    assert "\x1b" not in render(errors.Denied("\x1b[2Jgone", peer=PEER))


def test_for_programs() -> None:
    """The document has what the lines have, and nothing that is not known."""
    error = caused(copy_error(), errors.Denied("no", peer=PEER, status=403))
    assert describe(error) == {
        "kind": "CopyError",
        "message": "cannot read at the source: sha256:0",
        "side": "source",
        "digest": "sha256:0",
        "cause": {"kind": "Denied", "message": "no", "code": "DENIED", "status": 403, "peer": PEER},
    }
    assert describe(caused(copy_error(), OSError(28, "full")))["cause"]["kind"] == "OSError"
