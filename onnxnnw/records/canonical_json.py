"""Canonical JSON with arrays: one content, one sequence of bytes. No floats, no repeated keys; arrays are base64, little-endian."""

import base64
import binascii
import json
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxnnw.errors import UnreadableRecord

__all__ = ["ARRAY_TYPES", "array_from_json", "array_to_base64", "canonical", "integer", "parse", "quoted", "text"]

ARRAY_TYPES = ("<f2", "<f4", "<f8", "<i8", "|u1")


def canonical(document: Any) -> bytes:
    """The one way to write a document: sorted keys, no spaces, ASCII."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()


_SHORT = 40


def quoted(name: str) -> bytes:
    """A text as it stands in a document; records have the same few names again and again."""
    return _quoted(name) if len(name) <= _SHORT else canonical(name)


@lru_cache(256)
def _quoted(name: str) -> bytes:
    return canonical(name)


def parse(content: bytes) -> Any:
    """A document without floats and repeated keys.

    Raises:
        UnreadableRecord: It has one.
        ValueError, RecursionError: It is no JSON, or nested too deeply.
    """
    return json.loads(
        content.decode("utf-8"),
        object_pairs_hook=_without_repeats,
        parse_float=_no_float,
        parse_constant=_no_float,
    )


def array_to_base64(array: NDArray[Any]) -> tuple[str, bytes]:
    """Element type and values, little-endian."""
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return little.dtype.str, binascii.b2a_base64(little.data, newline=False)


def array_from_json(document: Any) -> NDArray[Any]:
    """An array of ``{"dtype", "data"}``, read-only.

    Raises:
        UnreadableRecord: Its type is unknown, or it is not written the one way there is.
        KeyError, TypeError, ValueError: It is something else.
    """
    if document["dtype"] not in ARRAY_TYPES:
        raise UnreadableRecord(f"an array of the unknown type {str(document['dtype'])[:20]!r}")
    data = document["data"]
    content = base64.b64decode(data, validate=True)
    last = base64.b64encode(content[(len(content) - 1) // 3 * 3 :]).decode() if content else ""
    if "=" in data[:-4] or last != data[-4:]:  # spare bits of the last character bind nothing
        raise UnreadableRecord("an array that is not written the one way there is")
    return np.frombuffer(content, document["dtype"])


def integer(value: Any) -> int:
    """An integer of 64 bits.

    Raises:
        UnreadableRecord: It is something else.
    """
    if type(value) is not int or abs(value) >= 2**63:
        raise UnreadableRecord("a number that is no integer of 64 bits")
    return value


def text(value: Any) -> str:
    """A text that can be shown.

    Raises:
        UnreadableRecord, UnicodeEncodeError: It is something else, or holds half a surrogate pair.
    """
    if not isinstance(value, str):
        raise UnreadableRecord("something else where a text belongs")
    value.encode()  # raises on half a surrogate pair, which could not be shown
    return value


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) != len(pairs):
        raise UnreadableRecord("a key is given twice")
    return out


def _no_float(number: str) -> Any:
    raise UnreadableRecord(f"a number that is no integer: {number[:20]}")
