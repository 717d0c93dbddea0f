"""JSON read into typed documents, with the path of what is wrong, and written in one fixed form.

Nothing here writes back what it has read: `encode` is for documents that we have built ourselves.
"""

from __future__ import annotations

import json
import re
from collections.abc import Hashable, Sequence
from functools import cache
from typing import Any, Final, TypeVar, cast

import msgspec

from entrepot.errors import DigestInvalid, InvalidDocument
from entrepot.oci.digest import Digest

__all__ = ["decode", "decode_object", "encode"]

_T = TypeVar("_T")


def decode(raw: bytes, kind: type[_T]) -> _T:
    """Read a JSON document into a typed one. Unknown fields are passed over; null means absent where it may.

    Raises:
        InvalidDocument: It is not JSON, or not of this type; says where.
    """
    try:
        return cast("_T", _decoder(cast("Hashable", kind)).decode(raw))
    except msgspec.ValidationError as error:
        raise _invalid(str(error), raw) from None
    except msgspec.DecodeError as error:
        reason = str(error).removeprefix("JSON is malformed: ")
        raise InvalidDocument(f"not JSON: {_uncapitalised(reason)}") from None
    except UnicodeDecodeError:
        raise InvalidDocument("not JSON: not UTF-8") from None
    except RecursionError:
        raise InvalidDocument("nested too deeply") from None


def decode_object(raw: bytes) -> dict[str, Any]:
    """Read a JSON object, refusing what parsers disagree about: a key that comes twice, NaN, odd Unicode.

    Raises:
        InvalidDocument: It is not JSON, not an object, or can be read in two ways.
    """
    tree = decode(raw, dict[str, Any])
    try:
        json.loads(raw.decode(), object_pairs_hook=_refuse_twins)
    except RecursionError:
        raise InvalidDocument("nested too deeply") from None
    except ValueError as error:
        raise InvalidDocument(f"not JSON: {_uncapitalised(str(error))}") from None
    return tree


def encode(document: Any) -> bytes:  # noqa: ANN401 - any struct or tree
    """Write a document that we have built: UTF-8, no spaces, fields in the order of the specification."""
    return msgspec.json.encode(document, enc_hook=_to_builtin)


@cache
def _decoder(kind: Hashable) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind, dec_hook=_from_builtin)


def _from_builtin(kind: type[Any], value: Any) -> Any:  # noqa: ANN401 - msgspec's hook
    if kind is Digest and isinstance(value, str):
        try:
            return Digest(value)
        except DigestInvalid as error:
            raise ValueError(error.message) from None
    raise TypeError(f"Expected `str`, got `{type(value).__name__}`")


def _to_builtin(value: Any) -> Any:  # noqa: ANN401 - msgspec's hook
    if isinstance(value, str):
        return str(value)
    raise NotImplementedError(f"cannot be written as JSON: {type(value).__name__}")


def _refuse_twins(pairs: Sequence[tuple[str, Any]]) -> None:
    seen = set()
    for key, _ in pairs:
        if key in seen:
            raise InvalidDocument(f"a key comes twice in one object: {key[:200]!r}")
        seen.add(key)


_MISSING: Final = re.compile(r"Object missing required field `([^`]*)`")
_QUOTED: Final = re.compile(r"`([^`]*)`")
_NAMELESS_KEYS: Final = re.compile(r"\A(?:\[\.\.\.\])+")
_STEP: Final = re.compile(r"([^.\[\]]+)|\[([0-9]+)\]")
_JSON_TYPES: Final[dict[str, type]] = {
    "integer": int,
    "string": str,
    "boolean": bool,
    "number": float,
    "array": list,
    "object": dict,
    "null": type(None),
}
_SECOND_FAULTS: Final = (
    msgspec.DecodeError,
    UnicodeDecodeError,
    RecursionError,
    LookupError,
    TypeError,
    AttributeError,
    StopIteration,
)
"""What a document can do to us when we look for the place of a first fault: be broken or ambiguous behind it."""
_NAMES: Final = {kind.__name__: name for name, kind in _JSON_TYPES.items()}


def _invalid(text: str, raw: bytes) -> InvalidDocument:
    """Turn msgspec's ``Expected `int`, got `str` - at `$.layers[2].size` `` into the form of our messages."""
    message, found, path = text.rpartition(" - at `")
    if not found:
        message, path = text, ""
    path = path.removesuffix("`").removeprefix("$").removeprefix(".")
    missing = _MISSING.fullmatch(message)
    if missing:
        return InvalidDocument("is missing", path=f"{path}.{missing[1]}".removeprefix("."))
    if " matching regex " in message:
        return InvalidDocument("expected a media type", path=path)
    if not message.startswith("Expected "):
        message = message.replace("Invalid enum value", "Invalid value", 1)
        return InvalidDocument(_uncapitalised(message), path=_NAMELESS_KEYS.sub("", path))
    message = _QUOTED.sub(_in_words_of_json, message)
    wrong = _JSON_TYPES.get(message.rpartition("got ")[2])
    return InvalidDocument(_uncapitalised(message), path=_with_key(path, raw, wrong) if wrong else path)


def _in_words_of_json(quoted: re.Match[str]) -> str:
    return " or ".join(_NAMES.get(word, word) for word in quoted[1].split(" | "))


def _with_key(path: str, raw: bytes, wrong: type) -> str:
    """Put the key of the first value of the wrong type into the place where msgspec says only `[...]`."""
    before, found, after = path.partition("[...]")
    if not found or after:
        return path
    try:
        value = msgspec.json.decode(raw)
        for name, position in _STEP.findall(before):
            value = value[int(position)] if position else value[name]
        key = next(key for key, entry in value.items() if type(entry) is wrong)
    except _SECOND_FAULTS:
        return path
    return f"{before}[{key[:200]!r}]"


def _uncapitalised(text: str) -> str:
    return text[:1].lower() + text[1:]
