"""Image configuration (image-spec `config.md`)."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from entrepot.oci.codec import decode
from entrepot.oci.digest import Digest
from entrepot.oci.platform import Platform

__all__ = ["History", "ImageConfig", "Process", "RootFS"]


class Process(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="pascal"):
    """The `config` object: how a container of this image is run."""

    user: str | None = None
    exposed_ports: dict[str, Any] | None = None
    env: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    volumes: dict[str, Any] | None = None
    working_dir: str | None = None
    labels: dict[str, str] | None = None
    stop_signal: str | None = None


class RootFS(msgspec.Struct, frozen=True, kw_only=True):
    """The layers, each by the digest of its uncompressed tar, the lowest first; always written in full."""

    type: Literal["layers"] = "layers"
    diff_ids: tuple[Digest, ...] | None = ()

    def __post_init__(self) -> None:
        # Go's encoder writes an empty list as null, as in images without a layer
        if self.diff_ids is None:
            msgspec.structs.force_setattr(self, "diff_ids", ())


class History(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How one layer, or a step without a layer, came to be."""

    created: str | None = None
    author: str | None = None
    created_by: str | None = None
    comment: str | None = None
    empty_layer: bool | None = None


class ImageConfig(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What `config` of an image manifest points at."""

    created: str | None = None
    author: str | None = None
    architecture: str
    os: str
    os_version: str | None = msgspec.field(default=None, name="os.version")
    os_features: tuple[str, ...] | None = msgspec.field(default=None, name="os.features")
    variant: str | None = None
    config: Process | None = None
    rootfs: RootFS
    history: tuple[History, ...] | None = None

    @classmethod
    def parse(cls, raw: bytes) -> ImageConfig:
        """Read a config blob.

        Raises:
            InvalidDocument: It is not one; says where.
        """
        return decode(raw, cls)

    @property
    def platform(self) -> Platform:
        """Return what the image runs on."""
        return Platform(
            os=self.os,
            architecture=self.architecture,
            variant=self.variant,
            os_version=self.os_version,
            os_features=self.os_features,
        )
