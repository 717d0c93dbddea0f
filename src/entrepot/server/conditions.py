"""Conditional requests (RFC 9110, section 13) on content whose validator is its digest.

entity-tag ::= [ "W/" ] DQUOTE digest DQUOTE
"""

from __future__ import annotations

import re

from entrepot.oci.digest import Digest

__all__ = ["entity_tag", "is_unchanged", "may_send_range"]

_ENTITY_TAG = re.compile(r'(?:W/)?("[^"]*")')


def entity_tag(digest: Digest) -> bytes:
    """Return the strong validator of content: equal digests are equal bytes."""
    return f'"{digest}"'.encode("ascii")


def is_unchanged(if_none_match: str, digest: Digest) -> bool:
    """Tell whether the client has the content already, so that 304 is the answer. The comparison is the weak one."""
    if if_none_match.strip() == "*":
        return True
    return f'"{digest}"' in _ENTITY_TAG.findall(if_none_match)


def may_send_range(if_range: str, digest: Digest) -> bool:
    """Tell whether a range may be sent: what the client has of the content is of the same content.

    The comparison is the strong one. A date never matches, since content here has none.
    """
    return if_range.strip() == f'"{digest}"'
