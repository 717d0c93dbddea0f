"""Which variant of an architecture runs images that were built for which other one.

The specification names variants but not their order (image-spec `image-index.md`, "Platform Variants"). The
rules are those of containerd's platform package (https://pkg.go.dev/github.com/containerd/platforms), which
nerdctl and docker's containerd store follow, so that all of them pick the same image out of an index:

- a variant runs what was built for itself and for lower numbers of the same shape (`v3` runs `v2`, `power10`
  runs `power9`, `rva23u64` runs `rva20u64`; `rva20s64` is another shape);
- amd64 without a variant is v1, arm is v7, arm64 is v8; elsewhere no variant means no requirement;
- arm64 v9.n runs v9.0 to v9.n and v8.0 to v8.(n+5), of which v8.9 is the last;
- arm64 also runs arm up to v8, and amd64 runs 386, but only when there is nothing better.
"""

from __future__ import annotations

import re
from typing import Final, TypeAlias

__all__ = ["DEFAULTS", "Rank", "rank"]

Rank: TypeAlias = tuple[int, ...]
"""The higher, the better; comparable among the offers to one machine."""

DEFAULTS: Final = {"amd64": "v1", "arm": "v7", "arm64": "v8"}
"""The variant that an architecture has when none is written."""

_LOWEST: Final = {"amd64": (1,), "arm": (5,)}
_LAST_MINOR_OF_8: Final = 9
# At most six digits: nobody's variant needs more, and int() of a million digits is not free.
_SHAPE: Final = re.compile(r"([^0-9]*)([0-9]{1,6}(?:\.[0-9]{1,6})*)(?![0-9])(.*)", re.DOTALL)


def rank(machine: tuple[str, str], offer: tuple[str, str]) -> Rank | None:
    """Say how well a machine runs an offer; None if not at all.

    Both are (architecture, variant) in lower case, the default variant filled in.
    """
    architecture, variant = machine
    if architecture == offer[0]:
        found = _rank_variant(architecture, variant, offer[1])
        return None if found is None else (1, *found)
    if (architecture, *offer) == ("amd64", "386", ""):
        return (0,)
    if architecture == "arm64" and offer[0] == "arm" and re.match(r"v[89]\b", variant):
        found = _rank_variant("arm", "v8", offer[1])
        return None if found is None else (0, *found)
    return None


def _rank_variant(architecture: str, own: str, offered: str) -> Rank | None:
    if own == offered:
        return (2,)
    if not offered:
        return (0,)
    mine, theirs = _shape(own), _shape(offered)
    if mine is None or theirs is None or (mine[0], mine[2]) != (theirs[0], theirs[2]):
        return None
    runs = _arm64_runs if architecture == "arm64" else _runs
    lowest = _LOWEST.get(architecture, (0,))
    return (1, *theirs[1]) if lowest <= theirs[1] and runs(mine[1], theirs[1]) else None


def _shape(variant: str) -> tuple[str, tuple[int, ...], str] | None:
    """Take `rva23u64` apart into `rva`, (23,) and `u64`; zeros at the end of the numbers do not count."""
    matched = _SHAPE.fullmatch(variant)
    if matched is None:
        return None
    numbers = [int(number) for number in matched[2].split(".")]
    while len(numbers) > 1 and numbers[-1] == 0:
        numbers.pop()
    return matched[1], tuple(numbers), matched[3]


def _runs(own: tuple[int, ...], offered: tuple[int, ...]) -> bool:
    return offered <= own


def _arm64_runs(own: tuple[int, ...], offered: tuple[int, ...]) -> bool:
    if len(own) > 2 or len(offered) > 2:
        return False
    major, minor = (*own, 0)[:2]
    offered_major, offered_minor = (*offered, 0)[:2]
    if major == offered_major:
        return offered_minor <= minor
    return (major, offered_major) == (9, 8) and offered_minor <= min(minor + 5, _LAST_MINOR_OF_8)
