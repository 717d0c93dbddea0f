"""JSON: what is refused, with which words, and where."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.errors import InvalidDocument
from entrepot.oci import ImageConfig, ImageManifest, Index, parse_manifest
from entrepot.oci.codec import decode, decode_object, encode

DIGEST = "sha256:" + "f" * 64
DOCUMENT = '{"schemaVersion":2,"config":{"mediaType":"a/b","digest":"%s","size":2},"layers":[%s]%s}'
LAYER = f'{{"mediaType":"a/b","digest":"{DIGEST}","size":1}}'


def document(layers: str = "", more: str = "") -> bytes:
    return (DOCUMENT % (DIGEST, layers, more)).encode("utf-8", "surrogatepass")


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (
            document(",".join([LAYER, LAYER, LAYER.replace("1}", '"1"}')])),
            "layers[2].size: expected integer, got string",
        ),
        (document(LAYER.replace("1}", "1.0}")), "layers[0].size: expected integer, got number"),
        (document(LAYER.replace("1}", "-1}")), "layers[0].size: expected integer >= 0"),
        (
            document(LAYER.replace("1}", f"{2**63}}}")),
            "layers[0].size: expected integer <= 9223372036854775807",
        ),
        (document(LAYER.replace("1}", "null}")), "layers[0].size: expected integer, got null"),
        (document(LAYER.replace("1}", "true}")), "layers[0].size: expected integer, got boolean"),
        (document(LAYER.replace('"a/b"', '"a/b\\r\\nX: y"')), "layers[0].mediaType: expected a media type"),
        (document(LAYER.replace('"a/b"', f'"{"a" * 256}"')), "layers[0].mediaType: expected a media type"),
        (
            document(LAYER.replace(DIGEST, "sha256:ff")),
            "layers[0].digest: a sha256 digest has 64 lower-case hexadecimal digits: 'sha256:ff'",
        ),
        (
            document(LAYER.replace(DIGEST, "x - at `$.y`")),
            "layers[0].digest: not a digest (algorithm:encoded): 'x - at `$.y`'",
        ),
        (document(f'{{"digest":"{DIGEST}","size":1}}'), "layers[0].mediaType: is missing"),
        (document("[]"), "layers[0]: expected object, got array"),
        (document(more=',"annotations":{"a":"b","c":5}'), "annotations['c']: expected string, got integer"),
        (
            document(LAYER.replace("1}", '1,"annotations":{"k":null}}')),
            "layers[0].annotations['k']: expected string, got null",
        ),
        (document(more=',"artifactType":"a\\u0000b"'), "artifactType: expected a media type"),
        (document().replace(b":2,", b":3,"), "schemaVersion: invalid value 3"),
        (document().replace(b'"layers":[]', b'"layers":""'), "layers: expected array or null, got string"),
        (b'{"schemaVersion":2,"layers":[]}', "config: is missing"),
        (b"[]", "expected object, got array"),
        (b"", "not JSON: input data was truncated"),
        (document()[:-1], "not JSON: input data was truncated"),
        (document() + b"x", "not JSON: trailing characters (byte 153)"),
    ],
)
def test_message_points_at_the_place(raw: bytes, message: str) -> None:
    """A refusal names the path inside the document, what was expected there and what was found."""
    with pytest.raises(InvalidDocument) as caught:
        decode(raw, ImageManifest)
    assert str(caught.value) == message
    assert message.startswith(caught.value.path)


@pytest.mark.parametrize(
    "raw",
    [
        b"\xef\xbb\xbf" + document(),
        document().decode().encode("utf-16"),
        document().decode().encode("utf-32"),
        document(more=',"x":Infinity'),
        document(more=',"x":-Infinity'),
        document(more=',"x":NaN'),
        document(more=f',"x":{"9" * 100_000}'),
        document(more=',"x":1e999'),
        document(more=',"x":"\\ud800"'),
        document(more=',"\\udfff":1'),
        document(more=',"x":"\ud800"'),
        document(more=',"x":"').replace(b'"}', b'\xff"}'),
        document(more=',"x":"\n"'),
        document(more=',"x":' + "[" * 100_000 + "]" * 100_000),
        document(more=',"x":' + '{"a":' * 50_000 + "1" + "}" * 50_000),
        document(more=',"layers":[]'),
        document(more=',"x":[{"a":1,"b":2,"a":3}]'),
        document(more=',"annotations":{"a":"b","a":"c"}'),
        b'{"a":1,"\\u0061":2}',
        b"null",
        b'"a"',
        b"{",
        b"\0" * 10,
    ],
    ids=lambda raw: repr(raw[100:140]),
)
def test_what_parsers_disagree_about(raw: bytes) -> None:
    """What another parser may read differently is no document: odd Unicode, numbers, depth, twin keys."""
    with pytest.raises(InvalidDocument) as caught:
        decode_object(raw)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "behind",
    [
        ',"x":' + "[" * 100_000,
        ',"annotations":{}',
        ',"annotations":[]',
        ',"x":"\\ud800"',
        ',"annotations":{"b":""}',
    ],
)
def test_fault_behind_a_fault(behind: str) -> None:
    """A second fault further on, an ambiguous key included, does not disturb the message about the first."""
    raw = document(more=f',"annotations":{{"a":1}}{behind}')
    with pytest.raises(InvalidDocument, match=r"^annotations\[...\]: expected string, got integer$"):
        decode(raw, ImageManifest)


def test_key_of_a_fault_in_an_ambiguous_document() -> None:
    """Where the path to a fault leads elsewhere in a second reading, the message stays without the key."""
    raw = document(LAYER.replace("1}", '1,"annotations":{"a":1}}'), ',"layers":[]')
    with pytest.raises(
        InvalidDocument, match=r"^layers\[0\].annotations\[...\]: expected string, got integer$"
    ):
        decode(raw, ImageManifest)


def test_a_large_document_is_read_in_linear_time() -> None:
    """4 MiB are read or refused in well under a second, many equal keys included."""
    layers = document(",".join([LAYER] * 30_000))
    keys = ",".join(f'"k{number}":""' for number in range(250_000))
    began = time.process_time()
    assert len(parse_manifest(layers).raw) > 3_000_000
    with pytest.raises(InvalidDocument, match="a key comes twice in one object: 'k249999'"):
        decode_object(document(more=f',"annotations":{{{keys},"k249999":""}}'))
    assert time.process_time() - began < 3


@given(st.binary(max_size=60) | st.text(alphabet='{}[]",:\\u0e1d-. ntl', max_size=60).map(str.encode))
def test_any_bytes(raw: bytes) -> None:
    """Any bytes are a document or an `InvalidDocument`; no other error comes out."""
    for read in (decode_object, parse_manifest, ImageConfig.parse):
        try:
            read(raw)
        except InvalidDocument:
            continue
        assert raw.strip().startswith(b"{")


_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from(["schemaVersion", "config", "layers", "manifests", "subject"]), _json))
def test_any_object(tree: dict[str, Any]) -> None:
    """Fields of any type are read or refused, and nothing else happens."""
    for kind in (ImageManifest, Index, ImageConfig):
        with suppress(InvalidDocument):
            decode(encode(tree), kind)


def test_encode_is_compact_and_in_order() -> None:
    """What we build is written without spaces, in the specification's order, absent fields left out."""
    manifest = decode(document(LAYER), ImageManifest)
    assert encode(manifest) == document(LAYER)
    assert encode(Index(schema_version=2, manifests=())) == b'{"schemaVersion":2,"manifests":[]}'
    with pytest.raises(NotImplementedError, match="cannot be written as JSON: object"):
        encode({"a": object()})
