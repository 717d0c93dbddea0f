"""References: which the shared grammar takes and refuses, and where a refusal points."""

from __future__ import annotations

import pickle
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.errors import InvalidReference, NameInvalid, TagInvalid
from entrepot.oci import Digest
from entrepot.reference import Reference, RefName, RepositoryName, Tag, referrers_tag

HEX = "86e0e091d0da6bde2456dbb48306f3956bbeb2eae1b5b9a43045843f69fe4aaa"
SHA256 = f"sha256:{HEX}"
SHA512 = f"sha512:{HEX}{HEX}"

# Facts about github.com/distribution/reference: text → registry, repository, tag, digest.
TAKEN = [
    ("test_com", "docker.io", "library/test_com", None, None),
    ("test_com/foo", "docker.io", "test_com/foo", None, None),
    ("test.com:tag", "docker.io", "library/test.com", "tag", None),
    ("test.com:5000", "docker.io", "library/test.com", "5000", None),
    ("localhost:8080", "docker.io", "library/localhost", "8080", None),
    ("test.com/repo:tag", "test.com", "repo", "tag", None),
    ("test:5000/repo", "test:5000", "repo", None, None),
    ("test:5000/repo:tag", "test:5000", "repo", "tag", None),
    (f"test:5000/repo@{SHA256}", "test:5000", "repo", None, SHA256),
    (f"test:5000/repo:tag@{SHA256}", "test:5000", "repo", "tag", SHA256),
    ("lowercase:Uppercase", "docker.io", "library/lowercase", "Uppercase", None),
    ("sub-dom1.foo.com/bar/baz/quux", "sub-dom1.foo.com", "bar/baz/quux", None, None),
    ("b.gcr.io/test.example.com/my-app:v1.example.com", "b.gcr.io", "test.example.com/my-app", "v1.example.com", None),
    ("xn--n3h.com/myimage:xn--n3h.com", "xn--n3h.com", "myimage", "xn--n3h.com", None),
    (f"xn--7o8h.com/myimage:t@{SHA512}", "xn--7o8h.com", "myimage", "t", SHA512),
    ("foo_bar.com:8080", "docker.io", "library/foo_bar.com", "8080", None),
    ("foo/foo_bar.com:8080", "docker.io", "foo/foo_bar.com", "8080", None),
    ("192.168.1.1", "docker.io", "library/192.168.1.1", None, None),
    ("192.168.1.1:5000/repo:5050", "192.168.1.1:5000", "repo", "5050", None),
    ("[2001:db8::1]/repo", "[2001:db8::1]", "repo", None, None),
    ("[2001:db8:1:2:3:4:5:6]/repo:tag", "[2001:db8:1:2:3:4:5:6]", "repo", "tag", None),
    (f"[2001:db8::1]:5000/repo:tag@{SHA256}", "[2001:db8::1]:5000", "repo", "tag", SHA256),
    ("[::1]:5000/repo", "[::1]:5000", "repo", None, None),
    ("localhost/name", "localhost", "name", None, None),
    (f"localhost@{SHA256}", "docker.io", "library/localhost", None, SHA256),
    ("docker.io/debian", "docker.io", "library/debian", None, None),
    ("docker.io/library/foo/bar", "docker.io", "library/foo/bar", None, None),
    ("index.docker.io/library/debian", "docker.io", "library/debian", None, None),
    ("index.docker.io/debian", "docker.io", "library/debian", None, None),
    ("other/library", "docker.io", "other/library", None, None),
    (f"docker.io/{HEX}", "docker.io", f"library/{HEX}", None, None),
    (HEX[:-1], "docker.io", f"library/{HEX[:-1]}", None, None),
    ("Docker/docker", "Docker", "docker", None, None),
    ("FOO/bar", "FOO", "bar", None, None),
    ("0101.com/a", "0101.com", "a", None, None),
    ("d/docker", "docker.io", "d/docker", None, None),
    ("docker---rules/docker", "docker.io", "docker---rules/docker", None, None),
    ("dock__er/docker", "docker.io", "dock__er/docker", None, None),
    ("registry.io/foo/project--id.module.ver---sion", "registry.io", "foo/project--id.module.ver---sion", None, None),
    ("docker://quay.io/a/b:c", "quay.io", "a/b", "c", None),
]  # fmt: skip

# Text → the character that cannot be there (None: it is the whole that is wrong).
REFUSED = [
    ("", None),
    ("docker://", None),
    (":justtag", 0),
    (f"@{SHA256}", 0),
    ("repo@sha256:ffffffffffffffffffffffffffffffffff", 46),
    (f"repo@sha256:{HEX.upper()}", 14),
    (f"repo@{SHA256}0", 76),
    ("repo@bad", 8),
    ("repo@2bad", 9),
    (f"repo@{SHA256}\n", 76),
    ("Uppercase:tag", 0),
    ("test:5000/Uppercase/lowercase:tag", 10),
    ("docker/Docker", 7),
    ("a/" * 128 + "a:tag", None),
    ("aa/asdf$$^/aa", 7),
    ("a^a", 1),
    ("a//a/a", 2),
    ("a/a/", 4),
    ("[2001:db8::1]", 13),
    ("[2001:db8::1]:5000", 13),
    ("[fe80::1%eth0]:5000/repo", 8),
    ("[fd00123123123]:75/repo", 1),
    ("[fd00:1:2::3]75050/repo", 13),
    ("[fd00:1:2::3]::75050/repo", 14),
    ("[2001:db8:3:4::192.0.2.33]:5000/debian", 18),
    ("fc00::1:5000/debian", 5),
    ("https://github.com/docker/docker", 5),
    ("http://localhost:5000", 4),
    ("-docker.io/docker/docker", 0),
    ("-docker", 0),
    ("docker-/docker", 7),
    ("docker./docker", 7),
    (".docker/docker", 0),
    ("____/____", 0),
    ("_docker/_docker", 0),
    ("dock..er/docker", 5),
    ("dock_.er/docker", 4),
    ("dock___er/docker", 6),
    ("do__cker:8080/docker", 2),
    ("foo_bar.com:8080/app", 3),
    ("ab-.com/a", 3),
    ("example.com/.dots/myimage", 12),
    ("foo.com:http/bar", 8),
    ("foo.com:0/bar", 8),
    ("192.168.1.1:75050/a", 12),
    ("registry.com:8080/myapp:invalid~tag", 31),
    ("a:" + "t" * 129, 130),
    ("a:.b", 2),
    ("a:", 2),
    (HEX, 0),
    (SHA256, 0),
    ("caf\N{LATIN SMALL LETTER E WITH ACUTE}/a", 3),
    ("a b", 1),
    ("a\n", 1),
    ("a:\N{ARABIC-INDIC DIGIT ONE}", 2),
    ("x" * 100_000, 906),
]

_component = st.from_regex(r"[a-z0-9]{1,6}((\.|_|__|-{1,3})[a-z0-9]{1,4}){0,2}", fullmatch=True)
_repository = st.lists(_component, min_size=1, max_size=4).map("/".join)
_label = st.from_regex(r"[a-zA-Z0-9]{1,5}(-{1,2}[a-zA-Z0-9]{1,3}){0,1}", fullmatch=True)
_host = st.one_of(
    st.lists(_label, min_size=2, max_size=3).map(".".join),
    st.just("localhost"),
    st.ip_addresses(v=6).map(lambda address: f"[{address.exploded}]"),
)
_port = st.one_of(st.just(""), st.integers(1, 65535).map(lambda port: f":{port}"))
_tag = st.one_of(st.just(""), st.from_regex(r":[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}", fullmatch=True))
_digest = st.sampled_from(
    ["", f"@{SHA256}", f"@{SHA512}", "@multihash+base58:QmRZxt2b1FVZPNqd8hsiykDL3TdBDeTSPX9K"]
)


@pytest.mark.parametrize(("text", "registry", "repository", "tag", "digest"), TAKEN)
def test_takes(text: str, registry: str, repository: str, tag: str | None, digest: str | None) -> None:
    """A reference of the shared grammar comes apart as it does in docker and containerd."""
    found = Reference.parse(text, default_tag=None)
    assert (found.registry, found.repository, found.tag, found.digest) == (registry, repository, tag, digest)


@pytest.mark.parametrize(("text", "position"), REFUSED)
def test_refuses(text: str, position: int | None) -> None:
    """What the grammar refuses is refused, at the character that cannot be there."""
    with pytest.raises(InvalidReference) as caught:
        Reference.parse(text)
    assert caught.value.position == position
    assert caught.value.text == text
    assert len(caught.value.message) < 600


def test_message_names_character_and_value() -> None:
    """A refusal says which character is wrong, in what, and what to do about it."""
    with pytest.raises(InvalidReference) as caught:
        Reference.parse("quay.io/Team/app")
    assert str(caught.value) == "'T' cannot be here in a repository name: 'quay.io/Team/app'"
    assert caught.value.hint == "repository names are lower case"
    assert caught.value.pointer() == "quay.io/Team/app\n        ^"


def test_digest_message_is_whole() -> None:
    """A bad digest is named with its reason, not cut at its colon."""
    with pytest.raises(
        InvalidReference, match=r"^a sha256 digest has 64 lower-case hexadecimal digits: 'a@sha256:ff'$"
    ):
        Reference.parse("a@sha256:ff")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("alpine", "docker.io/library/alpine:latest"),
        (f"alpine@{SHA256}", f"docker.io/library/alpine@{SHA256}"),
        (f"alpine:3@{SHA256}", f"docker.io/library/alpine:3@{SHA256}"),
        ("localhost:5000/a", "localhost:5000/a:latest"),
    ],
)
def test_default_tag(text: str, expected: str) -> None:
    """Without tag and digest it is `latest`; with a digest no tag is made up."""
    assert str(Reference.parse(text)) == expected


@given(host=_host, port=_port, repository=_repository, tag=_tag, digest=_digest)
def test_written_and_read_again(host: str, port: str, repository: str, tag: str, digest: str) -> None:
    """A reference reads back from its text unchanged, and its text is what was read."""
    text = f"{host}{port}/{repository}{tag}{digest}"
    reference = Reference.parse(text, default_tag=None)
    assert str(reference) == text
    assert Reference.parse(str(reference), default_tag=None) == reference
    assert RefName(str(reference)) == text


@given(st.text(max_size=40) | st.text(alphabet="aA0./:@_-[]%s", max_size=40))
def test_any_text_is_taken_or_refused(text: str) -> None:
    """Any text is a reference that reads back, or is refused with a place inside it; nothing else happens."""
    refusal = None
    try:
        reference = Reference.parse(text)
    except InvalidReference as error:
        refusal = error
    if refusal is None:
        assert Reference.parse(str(reference)) == reference
    else:
        assert refusal.position is None or 0 <= refusal.position <= len(text)
        assert refusal.pointer().count("^") >= (refusal.position is not None)


def test_255_characters_include_the_registry() -> None:
    """Registry, slash and repository have at most 255 characters together; tag and digest do not count."""
    fits = "r.example/" + "a" * 245
    assert Reference.parse(f"{fits}:{'t' * 128}@{SHA512}").name == fits
    with pytest.raises(InvalidReference, match="more than 255 characters"):
        Reference.parse(f"{fits}a")


@pytest.mark.parametrize(
    "text", ["a" * 200_000, "a-" * 100_000, "a." * 100_000, "-" * 200_000, "a" + "_" * 200_000]
)
def test_long_names_are_refused_quickly(text: str) -> None:
    """However long a text is, it is refused in no time: the grammar never looks twice."""
    began = time.process_time()
    with pytest.raises(InvalidReference):
        Reference.parse(text)
    with pytest.raises(NameInvalid):
        RepositoryName(text)
    with pytest.raises(TagInvalid):
        Tag(f"{text}!")
    assert time.process_time() - began < 0.1


def test_target_and_api_host() -> None:
    """The digest decides what is asked for; Docker Hub answers under another name than its references have."""
    both = Reference.parse(f"alpine:3@{SHA256}")
    assert both.target == SHA256
    assert both.without_digest().target == "3"
    assert both.api_host == "registry-1.docker.io"
    assert Reference.parse("localhost:5000/a").api_host == "localhost:5000"
    assert Reference.parse("a/b").with_digest(Digest(SHA256)).digest == SHA256
    with pytest.raises(InvalidReference, match="neither tag nor digest"):
        _ = Reference.parse("a/b", default_tag=None).target


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the repository is missing: ''"),
        ("A", "'A' cannot be here in a repository name: 'A'"),
        ("a/", "a repository name ends with a letter or digit: 'a/'"),
        ("a\n", r"'\n' cannot be here in a repository name: 'a\n'"),
        ("a/../b", "'.' cannot be here in a repository name: 'a/../b'"),
    ],
)
def test_repository_names(text: str, message: str) -> None:
    """A repository name that does not follow the grammar is refused with the character."""
    with pytest.raises(NameInvalid) as caught:
        RepositoryName(text)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "text", ["", ".a", "-a", "a" * 129, "a\n", "a/b", "a:b", "\N{DIGIT ONE}\N{SUPERSCRIPT TWO}"]
)
def test_tags(text: str) -> None:
    """A tag that does not follow the grammar cannot be made."""
    with pytest.raises(TagInvalid, match="not a tag"):
        Tag(text)


@pytest.mark.parametrize("text", ["", "/a", "a b", "a\n", "a" * 1025])
def test_ref_names(text: str) -> None:
    """A layout's names are wider than tags, and not without bounds."""
    assert RefName("docker.io/library/alpine:latest")
    with pytest.raises(TagInvalid, match="not a name"):
        RefName(text)


def test_names_are_strings_that_survive_copying() -> None:
    """A parsed name is a string, equal to its text, is not parsed twice, and survives pickling."""
    name, tag = RepositoryName("a/b"), Tag("latest")
    assert (name, tag) == ("a/b", "latest")
    assert RepositoryName(name) is name
    assert Tag(tag) is tag
    assert type(pickle.loads(pickle.dumps(tag))) is Tag
    assert isinstance(tag, RefName)


def test_referrers_tag() -> None:
    """The referrers tag is the one in the specification's table: cut, and with hyphens for what no tag has."""
    assert referrers_tag(Digest(SHA256)) == f"sha256-{HEX}"
    assert referrers_tag(Digest(SHA512)) == f"sha512-{HEX}"
    long = Digest(
        "test+algorithm+using+algorithm+separators+and+lots+of+characters+to+excercise+overall+truncation:"
        "alsoSome=InTheEncodedSectionToShowHyphenReplacementAndLotsAndLotsOfCharactersToExcerciseEncodedTruncation"
    )
    assert referrers_tag(long) == (
        "test-algorithm-using-algorithm-s-alsoSome-InTheEncodedSectionToShowHyphenReplacementAndLotsAndLot"
    )
