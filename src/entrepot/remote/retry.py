"""When a request is sent again, and after how long."""

from __future__ import annotations

import email.utils
import math
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC

import anyio

__all__ = ["RETRIED_STATUSES", "Retries", "parse_retry_after"]

RETRIED_STATUSES = frozenset({408, 429, 500, 502, 503, 504})
"""What may be different in a moment; the request was not carried out, or can be repeated."""


@dataclass(frozen=True, slots=True)
class Retries:
    """How often and how patiently. Only what is idempotent, with a body that can be reopened, is sent again.

    Attributes:
        max_attempts: Sendings in all; 1 means that nothing is sent again.
        first_wait_seconds: Before the second attempt; doubled before each one after that.
        max_wait_seconds: The longest pause of our own choice.
        max_retry_after_seconds: The longest pause that a peer can ask for; longer ones end the attempts.
        sleep: Pauses for so many seconds.
        random: A number from 0 up to 1, for jitter.
        wall: Seconds since the epoch, which dates are compared with.
    """

    max_attempts: int = 5
    first_wait_seconds: float = 0.25
    max_wait_seconds: float = 10.0
    max_retry_after_seconds: float = 60.0
    sleep: Callable[[float], Awaitable[object]] = field(default=anyio.sleep, repr=False)
    random: Callable[[], float] = field(default=random.random, repr=False)
    wall: Callable[[], float] = field(default=time.time, repr=False)

    def wait_before(self, attempt: int, retry_after: float | None = None) -> float | None:
        """Return the seconds to wait before an attempt (2 is the first that is a repetition), None to give up.

        A peer's `Retry-After` is the least that we wait. Without it the pause grows exponentially, and half of
        it is random, so that many clients that failed together do not come back together.
        """
        if attempt > self.max_attempts or (retry_after or 0) > self.max_retry_after_seconds:
            return None
        longest = min(self.max_wait_seconds, self.first_wait_seconds * 2.0 ** (attempt - 2))
        return max(retry_after or 0.0, longest * (0.5 + self.random() / 2))

    def retry_after(self, headers: Mapping[str, str]) -> float | None:
        """Return the seconds that a response asks us to wait."""
        return parse_retry_after(headers.get("Retry-After"), now=self.wall())


def parse_retry_after(value: str | None, *, now: float) -> float | None:
    """Return the seconds that a `Retry-After` field means (RFC 9110, section 10.2.3), None if it means nothing.

    Retry-After ::= HTTP-date | [0-9]+
    """
    if not value:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text[:12])
    try:
        date = email.utils.parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return max(0.0, math.ceil(date.timestamp() - now))
