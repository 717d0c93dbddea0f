"""Platforms: how they are written, and which image of an index a machine takes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.errors import InvalidReference
from entrepot.oci import Platform

# Facts about github.com/containerd/platforms: a machine, what it runs, what it does not run.
RUNS = [
    ("amd64", "amd64 amd64/v1 386", "amd64/v2 arm/v7 arm64"),
    ("amd64/v2", "amd64 amd64/v1 amd64/v2 amd64/v2.0 386", "amd64/v3 amd64/v4 arm/v7 arm64"),
    ("386", "386", "amd64 arm/v7 arm64"),
    ("arm/v8", "arm arm/v5 arm/v6 arm/v7 arm/v8", "amd64 arm/v4 arm64"),
    ("arm/v7", "arm arm/v5 arm/v6 arm/v7", "amd64 arm/v4 arm/v8 arm64"),
    ("arm/v6", "arm/v5 arm/v6", "arm arm/v4 arm/v7 arm/v8 arm64"),
    ("arm/v5", "arm/v5", "arm arm/v4 arm/v6 arm64"),
    ("arm/v4", "arm/v4", "arm arm/v5 arm64"),
    ("arm64", "arm arm/v5 arm/v8 arm64 arm64/v8", "amd64 arm/v4 arm/v9 arm64/v8.1 arm64/v9"),
    ("arm64/v8.1", "arm arm/v5 arm/v8 arm64 arm64/v8 arm64/v8.1", "arm/v4 arm/v9 arm64/v9 arm64/v8.2"),
    (
        "arm64/v9",
        "arm arm/v8 arm64 arm64/v8.1 arm64/v8.5 arm64/v9 arm64/v9.0",
        "arm/v4 arm64/v8.6 arm64/v9.1",
    ),
    ("arm64/v9.6", "arm64/v8.9 arm64/v9.5", "arm64/v8.10 arm64/v8.9.1"),
    ("arm64/v9.8", "arm64/v9.0 arm64/v8.9", "arm64/v9.9"),
    ("ppc64le/power10", "ppc64le ppc64le/power8 ppc64le/power10", "ppc64le/rva20u64 ppc64"),
    ("ppc64le/power8", "ppc64le ppc64le/power8", "ppc64le/power10"),
    ("ppc64le", "ppc64le", "ppc64le/power8"),
    ("riscv64/rva23u64", "riscv64 riscv64/rva20u64", "riscv64/rva20s64 riscv64/rva24u64"),
    ("s390x", "s390x", "amd64"),
]
_CASES = [(machine, offer, True) for machine, runs, _ in RUNS for offer in runs.split()] + [
    (machine, offer, False) for machine, _, others in RUNS for offer in others.split()
]


@pytest.mark.parametrize(("machine", "offer", "expected"), _CASES)
def test_matches(machine: str, offer: str, expected: bool) -> None:
    """A machine runs what containerd would run on it."""
    assert Platform.parse(f"linux/{machine}").matches(Platform.parse(f"linux/{offer}")) == expected
    assert not Platform.parse(f"linux/{machine}").matches(Platform.parse(f"windows/{offer}"))


@pytest.mark.parametrize(
    ("machine", "offers", "chosen"),
    [
        ("linux/amd64/v3", "linux/386 linux/amd64 linux/amd64/v2 linux/amd64/v4 linux/amd64/v3", 4),
        ("linux/amd64/v3", "linux/386 linux/amd64 linux/amd64/v2", 2),
        ("linux/amd64", "linux/386 windows/amd64", 0),
        ("linux/arm64", "linux/arm/v7 linux/arm/v8 linux/arm64", 2),
        ("linux/arm64", "linux/arm/v6 linux/arm/v8 linux/arm/v7", 1),
        ("linux/arm64/v9.2", "linux/arm64 linux/arm64/v8.7 linux/arm64/v9 linux/arm64/v9.1", 3),
        ("linux/arm64/v9.2", "linux/arm64 linux/arm64/v8.7 linux/arm64/v8.2", 1),
        ("linux/arm/v7", "linux/arm/v5 linux/arm/v6", 1),
        ("linux/ppc64le/power10", "linux/ppc64le linux/ppc64le/power9 linux/ppc64le/power8", 1),
        ("linux/amd64", "linux/amd64 linux/amd64/v1 linux/amd64", 0),
        ("linux/amd64", "linux/arm64 linux/s390x", None),
        ("linux/amd64", "", None),
    ],
)
def test_selects_the_best_and_of_equals_the_first(machine: str, offers: str, chosen: int | None) -> None:
    """The nearest variant wins, another architecture only as a last resort, and among equals the first."""
    offered = [Platform.parse(offer) for offer in offers.split()]
    assert Platform.parse(machine).select(offered) == chosen
    assert Platform.parse(machine).select([None, *offered]) == (None if chosen is None else chosen + 1)


@pytest.mark.parametrize(
    ("offer", "expected"),
    [
        (Platform(os="linux", architecture="x86_64"), True),
        (Platform(os="Linux", architecture="AMD64", variant="V1"), True),
        (Platform(os="linux", architecture="i386"), True),
        (Platform(os="linux", architecture="amd64", os_features=("gpu",)), False),
        (Platform(os="linux", architecture="amd64", os_features=()), True),
        (Platform(os="linux", architecture="amd64", variant="v" + "9" * 100_000), False),
        (Platform(os="unknown", architecture="unknown"), False),
        (Platform(os="", architecture=""), False),
    ],
)
def test_offers_as_they_come(offer: Platform, expected: bool) -> None:
    """Offers are taken under the names that people write; a feature that nobody named is a hindrance."""
    assert Platform.parse("linux/amd64").matches(offer) == expected


def test_windows_builds() -> None:
    """Where a build is named, only that build fits, whatever its revision; where none is named, all do."""
    server = Platform(os="windows", architecture="amd64", os_version="10.0.17763.1", os_features=("win32k",))
    revision = Platform(os="windows", architecture="amd64", os_version="10.0.17763.99")
    other = Platform(os="windows", architecture="amd64", os_version="10.0.20348.1")
    assert server.matches(revision)
    assert not server.matches(other)
    assert Platform.parse("windows/amd64").matches(other)
    assert server.matches(Platform(os="windows", architecture="amd64", os_features=("win32k",)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("linux/arm64", "linux/arm64"),
        ("linux/arm64/v8", "linux/arm64/v8"),
        ("linux/arm/7", "linux/arm/v7"),
        ("Linux/x86_64", "linux/amd64"),
        ("linux/x86-64", "linux/amd64"),
        ("arm", "linux/arm"),
        ("armel", "linux/arm/v6"),
        ("armhf", "linux/arm/v7"),
        ("Aarch64", "linux/arm64"),
        ("i386", "linux/386"),
        ("s390x", "linux/s390x"),
        ("macOS/arm64", "darwin/arm64"),
        ("plan10/unheard", "plan10/unheard"),
    ],
)
def test_parse(text: str, expected: str) -> None:
    """A platform is read under any of its names, and written under Go's."""
    assert str(Platform.parse(text)) == expected


def test_a_system_alone_is_this_machine() -> None:
    """A system alone means this machine's architecture, which is also the default to pull for."""
    machine = Platform.of_this_machine()
    assert Platform.parse("linux").architecture == machine.architecture
    assert (machine.os, machine.known) == ("linux", True)
    assert not Platform(os="unknown", architecture="unknown").known


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("", 0),
        ("/linux/arm", 0),
        ("linux/arm/", 10),
        ("linux//v8", 6),
        ("linux /arm", 5),
        ("linux/&arm", 6),
        ("linux/arm/foo/bar", 13),
        ("linux/*", 6),
        ("linux/arm\n", 9),
        ("linuks", None),
    ],
)
def test_refuses(text: str, position: int | None) -> None:
    """What is no platform is refused at the character, with the form to write."""
    with pytest.raises(InvalidReference) as caught:
        Platform.parse(text)
    assert caught.value.position == position
    assert caught.value.hint


_word = st.from_regex(r"[a-z0-9_.-]{1,8}", fullmatch=True)


@given(_word, _word, st.none() | _word)
def test_written_and_read_again(system: str, architecture: str, variant: str | None) -> None:
    """Reading what was written gives the same platform, and a platform runs on itself."""
    platform = Platform.parse("/".join(filter(None, (system, architecture, variant))))
    assert Platform.parse(str(platform)) == platform
    assert platform.matches(platform)


_offer = st.builds(
    Platform,
    os=st.just("linux"),
    architecture=st.sampled_from(["amd64", "arm64", "arm", "x"]),
    variant=st.none() | st.from_regex(r"v?[0-9]{0,3}(\.[0-9]{0,8}){0,2}x?", fullmatch=True),
)


@given(st.lists(_offer))
def test_selection_is_a_match(offered: list[Platform]) -> None:
    """Whatever is offered, the selection is an offer that matches, and there is one when any of them does."""
    for machine in (
        Platform.parse("linux/amd64/v3"),
        Platform.parse("linux/arm64/v9.3"),
        Platform.parse("arm"),
    ):
        chosen = machine.select(offered)
        assert any(machine.matches(offer) for offer in offered) == (chosen is not None)
        assert chosen is None or machine.matches(offered[chosen])
