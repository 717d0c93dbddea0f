from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.oci import Digest
from entrepot.wire import Action, Cause, Decision, Exchange, LineRenderer, Times, render_lines

BASE = "http://127.0.0.1:5000"
DIGEST = Digest.of(b"layer")


def exchange(number: int, method: str, url: str, status: int | None, **facts: object) -> Exchange:
    end = facts.pop("end", 0.0042)
    return Exchange(
        id=number, began=0.0, method=method, url=url, status=status, times=Times(end=end), **facts
    )


PUSH_AND_PULL = [
    exchange(1, "HEAD", f"{BASE}/v2/demo/app/blobs/{DIGEST}", 404, phase="there already?"),
    exchange(2, "POST", f"{BASE}/v2/demo/app/blobs/uploads/", 202, phase="begin an upload"),
    exchange(
        3,
        "PATCH",
        f"{BASE}/v2/demo/app/blobs/uploads/3f2a-77c1e?_state=…",
        202,
        phase="send bytes 0-8388607",
        bytes_sent=8 << 20,
        end=0.05,
    ),
    exchange(
        4,
        "PATCH",
        f"{BASE}/v2/demo/app/blobs/uploads/3f2a-77c1e",
        None,
        failure="broke",
        phase="send bytes 8388608-8400000",
        end=1.25,
    ),
    exchange(
        5,
        "GET",
        f"{BASE}/v2/demo/app/blobs/uploads/3f2a-77c1e",
        204,
        phase="where did it stop?",
        cause=Cause.RESUME,
        response_headers=(("range", "0-8388607"),),
    ),
    exchange(
        6,
        "PUT",
        f"{BASE}/v2/demo/app/blobs/uploads/3f2a-77c1e?digest={DIGEST}",
        201,
        phase="close the upload",
        attempt=2,
        cause=Cause.RETRY,
    ),
    Decision(
        at=0.0,
        digest=DIGEST,
        media_type="x/y",
        size=8400001,
        kind="blob",
        role="layer",
        action=Action.UPLOADED,
        reason="it was not there",
    ),
    exchange(
        7,
        "POST",
        f"{BASE}/v2/demo/other/blobs/uploads/?mount={DIGEST}&from=demo/app",
        201,
        phase="mount it from demo/app?",
        cause=Cause.MOUNT,
    ),
    exchange(
        8,
        "PUT",
        f"{BASE}/v2/demo/app/manifests/v1",
        400,
        phase="write it",
        bytes_sent=512,
        error_body='{"errors":[{"code":"MANIFEST_INVALID","message":"no\\u001b[31m layers"}]}',
    ),
    exchange(
        9,
        "HEAD",
        f"{BASE}/v2/demo/app/manifests/v1",
        200,
        phase="what is it?",
        response_headers=(("docker-content-digest", DIGEST),),
    ),
    exchange(10, "GET", f"{BASE}/v2/demo/app/blobs/{DIGEST}", 307, phase="read it"),
    exchange(
        11,
        "GET",
        "https://cdn.example/some/where?sig=…",
        200,
        phase="read it",
        cause=Cause.REDIRECT,
        parent=10,
        bytes_received=3 << 30,
        end=75.5,
    ),
    exchange(12, "GET", f"{BASE}/v2/demo/app/tags/list", 401, phase="which tags?"),
]

GOLDEN = (Path(__file__).parent / "push-and-pull.txt").read_text(encoding="utf-8")


def test_the_lines_of_a_conversation() -> None:
    """The golden sample: one aligned line each, the host named once."""
    lines = "\n".join(render_lines(PUSH_AND_PULL)) + "\n"
    assert lines == GOLDEN


def test_columns_are_aligned() -> None:
    """Status, time and the words begin at the same column in every line of an exchange."""
    lines = "\n".join(render_lines(PUSH_AND_PULL)).splitlines()[1:]
    exchanges = [line for line in lines if not line.strip().startswith("=")]
    assert {len(re.match(r".{60}(\d{3}|---)", line)[0]) for line in exchanges} == {63}
    assert all(line[:5].strip().isdigit() for line in exchanges)


def test_colour_only_when_it_is_asked_for() -> None:
    """Without colour there is no escape; with it, taking the escapes out gives the same lines."""
    plain, coloured = (
        "\n".join(render_lines(PUSH_AND_PULL)),
        "\n".join(render_lines(PUSH_AND_PULL, colour=True)),
    )
    assert "\x1b" not in plain
    assert "\x1b[" in coloured
    assert re.sub(r"\x1b\[\d+m", "", coloured) == plain


def test_a_long_name_keeps_its_ends() -> None:
    """What it is and which one stay readable; the middle goes."""
    name = "organisation/department/team/project/component"
    line = (
        LineRenderer().render(exchange(1, "HEAD", f"{BASE}/v2/{name}/manifests/v1.2.3", 200)).splitlines()[1]
    )
    assert "manifest organisa…" in line
    assert "component:v1.2.3" in line
    assert line.index("200") == 60


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/v2/", "the registry"),
        ("/v2/_catalog?n=1", "catalog"),
        ("/v2/a/tags/list", "tags a"),
        (f"/v2/a/referrers/{DIGEST}", f"referrers a@sha256:{DIGEST.encoded[:12]}"),
        (f"/v2/a/manifests/sha256-{DIGEST.encoded}", f"manifest a:sha256-{DIGEST.encoded[:12]}…"),
        ("/v2/a/manifests/blobs/blobs/uploads/x12345", "upload a/manifests/blobs …12345"),
        ("/token?scope=x", "/token"),
    ],
)
def test_what_a_url_is_in_words(path: str, words: str) -> None:
    """The endpoints of the specification are named, other paths shown."""
    assert words in LineRenderer().render(exchange(1, "GET", BASE + path, 200))


@given(st.text(), st.text(), st.text(), st.text(), st.text())
def test_no_text_of_a_peer_reaches_the_terminal_as_it_is(
    url: str, phase: str, body: str, failure: str, method: str
) -> None:
    """Whatever is in a record, a line is one line, and printable."""
    record = Exchange(
        id=1,
        began=0.0,
        method=method,
        url=BASE + "/" + url,
        status=400,
        phase=phase,
        error_body=body,
        failure=failure or None,
    )
    lines = LineRenderer().render(record).split("\n")
    assert len(lines) == 2
    assert all(line.isprintable() for line in lines)


@given(st.text(), st.text(), st.none() | st.text())
def test_no_text_of_a_decision_either(role: str, reason: str, platform: str | None) -> None:
    """Annotations and platforms come from peers too."""
    record = Decision(
        at=0.0,
        digest=DIGEST,
        media_type="",
        size=1,
        kind="blob",
        role=role,
        action=Action.COPIED,
        reason=reason,
        platform=platform,
    )
    assert LineRenderer().render(record).isprintable()


@pytest.mark.parametrize("url", ["http://[::1", "", "nonsense", "http://h:x/", "…"])
def test_a_url_that_is_none(url: str) -> None:
    """A trace that somebody has edited can be drawn all the same."""
    assert LineRenderer().render(exchange(1, "GET", url, 200))
