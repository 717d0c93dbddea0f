from __future__ import annotations

from entrepot.oci import Descriptor, Digest
from entrepot.wire import Action, Cause, Decision, Exchange, Record, Recorder, Times


class Clock:
    """A clock that goes on by a second each time that it is read."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


def test_an_exchange_is_recorded_when_it_is_finished() -> None:
    """All that was reported of it is in one record, redacted, with its times since it began."""
    records: list[Record] = []
    recorder = Recorder([records.append], wall=lambda: 1000.0, monotonic=Clock())
    recording = recorder.begin(
        "GET",
        "https://r.example/x?sig=canary",
        phase="read it",
        cause=Cause.REDIRECT,
        parent=7,
        attempt=2,
        headers=[("Authorization", "Bearer canary")],
    )
    recording.mark("dns")
    recording.mark("connect")
    recording.asked([("Authorization", "Bearer canary"), ("Accept", "*/*")])
    recording.carried_by(3, reused=False)
    recording.sent(1)
    recording.sent(5)
    recording.answered(404, [("Content-Type", "text/plain"), ("Set-Cookie", "canary")])
    recording.received(9)
    recording.refused(b"not ")
    recording.refused(b"here")
    assert records == []
    recording.finish()
    recording.finish()
    assert records == [
        Exchange(
            id=1,
            parent=7,
            cause=Cause.REDIRECT,
            phase="read it",
            began=1000.0,
            method="GET",
            url="https://r.example/x?sig=…",
            request_headers=(("authorization", "Bearer …"), ("accept", "*/*")),
            status=404,
            response_headers=(("content-type", "text/plain"),),
            error_body="not here",
            times=Times(dns=1.0, connect=2.0, send=3.0, first_byte=4.0, end=5.0),
            bytes_sent=5,
            bytes_received=9,
            connection=3,
            reused=False,
            attempt=2,
        )
    ]


def test_ids_follow_the_beginning_and_records_the_end() -> None:
    """Two exchanges at once are numbered as they began and arrive as they ended."""
    records: list[Record] = []
    recorder = Recorder([records.append])
    first, second = recorder.begin("GET", "http://r/1"), recorder.begin("GET", "http://r/2")
    second.finish()
    first.fail("the connection broke\x1b")
    first.finish()
    assert [(r.id, r.failure) for r in records if isinstance(r, Exchange)] == [
        (2, None),
        (1, "the connection broke\\x1b"),
    ]


def test_every_sink_gets_every_record() -> None:
    """Sinks are independent of each other."""
    one: list[Record] = []
    two: list[Record] = []
    recorder = Recorder([one.append, two.append], wall=lambda: 5.0)
    descriptor = Descriptor(media_type="x/y", digest=Digest.of(b"a"), size=1)
    recorder.decide(
        descriptor,
        kind="blob",
        role="layer",
        action=Action.EXISTS,
        reason="it is there",
        platform="linux/amd64",
    )
    assert one == two
    assert one == [
        Decision(
            at=5.0,
            digest=descriptor.digest,
            media_type="x/y",
            size=1,
            kind="blob",
            role="layer",
            action=Action.EXISTS,
            reason="it is there",
            platform="linux/amd64",
        )
    ]


def test_connections_are_numbered() -> None:
    """A connection keeps its number, and says from the second time on that it is reused."""

    class Connection:
        pass

    recorder = Recorder([lambda _: None])
    one, two = Connection(), Connection()
    assert [recorder.connection(c) for c in (one, two, one)] == [(1, False), (2, False), (1, True)]


def test_nobody_looks() -> None:
    """Without a sink nothing is made, and everything can be called all the same."""
    recorder = Recorder()
    assert not recorder.active
    recording = recorder.begin("GET", "http://r/")
    assert recording is recorder.begin("PUT", "http://r/2")
    assert recording.id is None
    recording.mark("dns")
    recording.asked([])
    recording.carried_by(1, reused=True)
    recording.sent(1)
    recording.answered(200, [])
    recording.received(1)
    recording.refused(b"x")
    recording.fail("x")
    recording.finish()
    recorder.decide(
        Descriptor(media_type="x/y", digest=Digest.of(b"a"), size=1),
        kind="blob",
        role="layer",
        action=Action.EXISTS,
        reason="",
    )
