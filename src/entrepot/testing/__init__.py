"""For tests, yours included: the conformance suite of a store, and builders of small images."""

from entrepot.testing.check import (
    PROMISES,
    Elsewhere,
    Failure,
    MakeStore,
    Promise,
    Report,
    StoreCheckFailed,
    check_store,
)
from entrepot.testing.images import Content, Tree, artifact, blob, content, image, index, layer

__all__ = [
    "PROMISES",
    "Content",
    "Elsewhere",
    "Failure",
    "MakeStore",
    "Promise",
    "Report",
    "StoreCheckFailed",
    "Tree",
    "artifact",
    "blob",
    "check_store",
    "content",
    "image",
    "index",
    "layer",
]
