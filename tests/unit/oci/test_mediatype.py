"""Media types: names, kinds, and headers' parameters."""

from __future__ import annotations

import pytest

from entrepot.oci import mediatype


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("application/vnd.oci.image.index.v1+json", True),
        ("a/b", True),
        ("text/plain; charset=utf-8", False),
        ("application", False),
        ("application/", False),
        ("/json", False),
        ("a/b\n", False),
        ("a b/c", False),
        (f"a/{'b' * 127}", True),
        (f"a/{'b' * 128}", False),
        ("\N{DIGIT ONE}/\N{SUPERSCRIPT TWO}", False),
    ],
)
def test_is_valid(text: str, expected: bool) -> None:
    """A media type follows RFC 6838, section 4.2."""
    assert mediatype.is_valid(text) is expected


def test_kinds() -> None:
    """Indexes and images are manifests; configs and layers are not."""
    assert mediatype.is_index(mediatype.IMAGE_INDEX)
    assert mediatype.is_index(mediatype.DOCKER_MANIFEST_LIST)
    assert mediatype.is_image(mediatype.DOCKER_MANIFEST)
    assert not mediatype.is_image(mediatype.IMAGE_INDEX)
    assert mediatype.is_manifest(mediatype.ARTIFACT_MANIFEST)
    assert not mediatype.is_manifest(mediatype.IMAGE_CONFIG)
    assert all(mediatype.is_valid(known) for known in mediatype.MANIFESTS)


def test_accept_names_every_manifest_and_anything() -> None:
    """The Accept header that we send names all that we read, and takes what we do not."""
    offered = mediatype.MANIFEST_ACCEPT.split(", ")
    assert set(offered) == mediatype.MANIFESTS | {"*/*"}
    assert len(offered) == len(set(offered))


def test_parameters_are_ignored() -> None:
    """A Content-Type's parameters, spaces and case do not count."""
    assert mediatype.without_parameters(' Application/JSON ; charset="utf-8"') == "application/json"
