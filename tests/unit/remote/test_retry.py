from __future__ import annotations

import pytest

from entrepot.remote.retry import Retries, parse_retry_after

NOW = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        (" 7 ", 7.0),
        ("0", 0.0),
        ("Tue, 14 Nov 2023 22:13:50 GMT", 30.0),
        ("Tuesday, 14-Nov-23 22:13:50 GMT", 30.0),
        ("Tue Nov 14 22:13:50 2023", 30.0),
        ("Tue, 14 Nov 2023 22:00:00 GMT", 0.0),
        ("soon", None),
        ("-1", None),
        ("1.5", None),
        ("", None),
        (None, None),
        ("٣", None),
        ("9" * 400, 999999999999.0),
    ],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    """Retry-After is a number of seconds or a date; anything else says nothing."""
    assert parse_retry_after(value, now=NOW) == seconds


def test_pauses_grow_and_are_jittered() -> None:
    """Each pause is twice the one before, half of it random, up to the longest."""
    least = Retries(max_attempts=9, first_wait_seconds=1, max_wait_seconds=4, random=lambda: 0.0)
    most = Retries(max_attempts=9, first_wait_seconds=1, max_wait_seconds=4, random=lambda: 1.0)
    assert [least.wait_before(n) for n in range(2, 7)] == [0.5, 1.0, 2.0, 2.0, 2.0]
    assert [most.wait_before(n) for n in range(2, 7)] == [1.0, 2.0, 4.0, 4.0, 4.0]


def test_attempts_are_bounded() -> None:
    """After the last attempt there is no pause but an end."""
    retries = Retries(max_attempts=3)
    assert retries.wait_before(3) is not None
    assert retries.wait_before(4) is None
    assert Retries(max_attempts=1).wait_before(2) is None


def test_a_peer_is_obeyed_within_bounds() -> None:
    """Retry-After is the least that is waited, and too long a pause is none."""
    retries = Retries(max_retry_after_seconds=60, random=lambda: 0.0)
    assert retries.wait_before(2, 30.0) == 30.0
    assert retries.wait_before(2, 0.0) == 0.125
    assert retries.wait_before(2, 61.0) is None
