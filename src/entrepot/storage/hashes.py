"""Hash states of uploads in progress, kept by the worker that received the bytes.

A state is worth nothing to another worker and everything to the next request of the same upload here: it saves
reading back what was received. A file only grows, so a state for its beginning stays true whoever appends.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from entrepot.oci.digest import Hasher, new_hasher
from entrepot.storage.content import UploadId

__all__ = ["HashState", "HashStates"]


@dataclass(slots=True)
class HashState:
    """A hasher that has seen the first `offset` bytes."""

    algorithm: str
    offset: int
    hasher: Hasher

    def update(self, *pieces: bytes) -> None:
        """Take in the bytes at `offset`, one piece after the other."""
        for piece in pieces:
            self.hasher.update(piece)
            self.offset += len(piece)


class HashStates:
    """The newest states, by upload.

    Args:
        limit: How many are kept.
    """

    def __init__(self, limit: int = 4096) -> None:
        self._limit = limit
        self._states: OrderedDict[UploadId, HashState] = OrderedDict()

    def take(self, upload: UploadId, algorithm: str) -> HashState:
        """Return the state of an upload, or a new one; the caller has it alone until it gives it back."""
        state = self._states.pop(upload, None)
        if state is not None and state.algorithm == algorithm:
            return state
        return HashState(algorithm, 0, new_hasher(algorithm))

    def give_back(self, upload: UploadId, state: HashState) -> None:
        """Keep a state for the next request."""
        self._states[upload] = state
        if len(self._states) > self._limit:
            self._states.popitem(last=False)

    def drop(self, upload: UploadId) -> None:
        """Forget an upload that has ended."""
        self._states.pop(upload, None)
