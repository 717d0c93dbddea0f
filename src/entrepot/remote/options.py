"""How a registry is reached and how much of its answers is believed."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from entrepot import __version__

__all__ = ["Limits", "RemoteOptions", "UploadMode"]


class UploadMode(StrEnum):
    """How a blob is pushed (distribution-spec, "Pushing blobs")."""

    PUT = "put"
    """POST for a location, then one PUT with the whole blob."""

    SINGLE = "single"
    """One POST with the whole blob; a registry that does not do this answers 202, and a PUT follows."""

    CHUNKS = "chunks"
    """POST for a location, PATCHes one after the other, an empty PUT to close."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on what a peer can make us do."""

    max_manifest_bytes: int = 8 << 20
    max_error_bytes: int = 64 << 10
    max_list_bytes: int = 64 << 20
    max_list_pages: int = 10_000
    max_header_bytes: int = 64 << 10
    max_redirects: int = 10
    max_attempts: int = 5
    max_retry_after_seconds: float = 60.0
    connect_timeout_seconds: float = 30.0
    read_timeout_seconds: float = 60.0
    cancel_timeout_seconds: float = 3.0


@dataclass(frozen=True, slots=True)
class RemoteOptions:
    """Settings of the client's side, the same for every registry that it talks to.

    Attributes:
        plain_http: Speak http, not https.
        insecure: Do not verify certificates. Nothing else follows from it, no plain http in particular.
        cacert: A file with certificates (PEM) that are trusted besides the system's.
        upload: How blobs are pushed.
        chunk_bytes: Size of a PATCH's body with `UploadMode.CHUNKS`; a registry may ask for more.
        user_agent: What we say we are.
        limits: Bounds on what a peer can make us do.
    """

    plain_http: bool = False
    insecure: bool = False
    cacert: Path | None = None
    upload: UploadMode = UploadMode.PUT
    chunk_bytes: int = 16 << 20
    user_agent: str = f"entrepot/{__version__}"
    limits: Limits = field(default_factory=Limits)
