"""Chance that can be repeated: everything that a proof chooses at random follows from its seed."""

from __future__ import annotations

import random

__all__ = ["chance_of"]


def chance_of(*purpose: object) -> random.Random:
    """Return a source of chance of its own for each purpose, the same one every time."""
    return random.Random("/".join(map(str, purpose)))  # noqa: S311 - nothing secret is made of it
