"""Repositories that have been opened."""

from __future__ import annotations

from dataclasses import dataclass

from entrepot.client.locations import InImageStore, Location, OnRegistry
from entrepot.errors import InvalidReference
from entrepot.oci.digest import Digest
from entrepot.reference import RefName
from entrepot.store import Origin, Store

__all__ = ["Place"]


@dataclass(frozen=True, slots=True)
class Place:
    """A repository that has been opened, and what in it is meant.

    Attributes:
        location: As it was written.
        store: The repository.
        origin: Where its blobs are, for a registry that can mount them.
    """

    location: Location
    store: Store
    origin: Origin | None = None

    @property
    def target(self) -> RefName | Digest:
        """Return the name or digest that is meant.

        Raises:
            InvalidReference: None was written.
        """
        target = self.location.target
        if target is None:
            text = str(self.location)
            raise InvalidReference(
                f"neither name nor digest: {text!r}", text=text, hint="add :NAME or @DIGEST"
            )
        return target

    @property
    def names(self) -> tuple[RefName, ...]:
        """Return what an image that is written here is to be called.

        Only the image store has names for what is meant by its digest alone.
        """
        where = self.location
        if isinstance(where, InImageStore):
            return (where.name,)
        if isinstance(where, OnRegistry):
            return () if where.reference.tag is None else (where.reference.tag,)
        return () if where.target is None or isinstance(where.target, Digest) else (where.target,)
