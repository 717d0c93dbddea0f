"""Warnings that a registry sends with its answers (distribution-spec, "Warnings").

    Warning       ::= warning-value ( "," warning-value )*
    warning-value ::= "299" SP "-" SP quoted-string

Other codes and agents, and dates, are not the specification's and are passed over. Nothing is ever done about
a warning but to report it, once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from entrepot.text import printable

__all__ = ["Notices", "parse_warnings"]

MAX_WARNING_BYTES = 4096
"""Of one answer: "A registry MUST NOT send more"."""

MAX_NOTICES = 100

_WARNING = re.compile(r'299 - "((?:[^"\\]|\\.)*)"')
_ESCAPED = re.compile(r"\\(.)")


def parse_warnings(values: Iterable[str]) -> list[str]:
    """Return the texts of `Warning` fields, what a terminal might act upon escaped."""
    fields = ", ".join(values)[:MAX_WARNING_BYTES]
    return [printable(_ESCAPED.sub(r"\1", found[1])) for found in _WARNING.finditer(fields)]


class Notices:
    """Collects a registry's warnings and reports each once.

    Args:
        peer: The registry.
        report: Called with the registry and the text.
    """

    def __init__(self, peer: str, report: Callable[[str, str], object] | None = None) -> None:
        self.peer = peer
        self._report = report
        self._seen: dict[str, None] = {}

    def collect(self, values: Iterable[str]) -> None:
        """Take the `Warning` fields of an answer."""
        for text in parse_warnings(values):
            if text not in self._seen and len(self._seen) < MAX_NOTICES:
                self._seen[text] = None
                if self._report is not None:
                    self._report(self.peer, text)

    @property
    def texts(self) -> tuple[str, ...]:
        """Return what was collected, in order."""
        return tuple(self._seen)
