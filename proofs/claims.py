"""What a proof is given and what it hands back: claims with their figures, and a control that must break them."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from proofs.chance import chance_of

__all__ = ["Claim", "Control", "Finding", "Trial", "at_least", "at_most", "equal"]


@dataclass(frozen=True, slots=True)
class Trial:
    """One run of one proof.

    Attributes:
        quick: Whether to use the smaller counts and sizes.
        seed: Of everything that is chosen by chance.
        directory: On tmpfs where there is one; the caller removes it.
    """

    quick: bool
    seed: int
    directory: Path

    def random(self, purpose: str) -> random.Random:
        """Return a source of chance of its own for each purpose, so that one proof's choices repeat."""
        return chance_of(self.seed, purpose)

    def place(self, name: str) -> Path:
        """Make a directory for one server."""
        made = self.directory / name
        made.mkdir()
        return made


@dataclass(frozen=True, slots=True)
class Claim:
    """A sentence, the figure that was found, and the bound that it has to keep."""

    what: str
    figure: Any
    bound: str
    holds: bool

    def __str__(self) -> str:
        verdict = "holds " if self.holds else "BROKEN"
        return f"{verdict} {self.what}: {self.figure} ({self.bound})"


def at_most(what: str, figure: float, bound: float) -> Claim:
    """Claim that a figure is no higher than its bound."""
    return Claim(what, round(figure, 3), f"at most {bound:g}", figure <= bound)


def at_least(what: str, figure: float, bound: float) -> Claim:
    """Claim that a figure is no lower than its bound."""
    return Claim(what, round(figure, 3), f"at least {bound:g}", figure >= bound)


def equal(what: str, figure: object, wanted: object) -> Claim:
    """Claim that something is exactly what it should be."""
    return Claim(what, figure, f"is {wanted}", figure == wanted)


@dataclass(frozen=True, slots=True)
class Control:
    """The same check on something that is wrong.

    Attributes:
        what: What is wrong with it.
        claims: Every one of these must be broken.
    """

    what: str
    claims: Sequence[Claim]

    @property
    def failed_as_it_must(self) -> bool:
        """Whether the check has noticed."""
        return bool(self.claims) and not any(claim.holds for claim in self.claims)


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of a proof.

    Attributes:
        claims: Every one of these must hold.
        controls: Every one of these must fail.
        samples: The measurements under the figures.
        conditions: What else has to be known to repeat it.
        problems: What was seen to be wrong, in words, for whoever has to mend it.
    """

    claims: Sequence[Claim]
    controls: Sequence[Control]
    samples: Mapping[str, Any] = field(default_factory=dict)
    conditions: str = ""
    problems: Sequence[str] = ()

    @property
    def passed(self) -> bool:
        """Whether everything is as it must be, the controls' failures included."""
        return (
            bool(self.claims)
            and all(claim.holds for claim in self.claims)
            and all(control.failed_as_it_must for control in self.controls)
        )
