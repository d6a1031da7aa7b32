"""A payload: a text as binary Symbols, and back [NNW-TEC 3, "Watermark Payload"]."""

import numpy as np
from numpy.typing import NDArray

from onnxnnw.errors import UsageError

__all__ = ["decode_text", "encode_text"]

Bits = NDArray[np.uint8]


def encode_text(text: str, count: int) -> Bits:
    """The bits of a text in UTF-8, most significant first, filled up with zeros.

    Args:
        text: May be empty: all bits are zero then, and the pad alone makes the mark.
        count: T, the number of bits that the mark carries.

    Raises:
        UsageError: The text needs more than ``count`` bits.
    """
    content = text.encode()
    if 8 * len(content) > count:
        raise UsageError(
            f"the payload {text[:40]!r} needs {8 * len(content)} bits, but the mark carries {count}, "
            f"which is room for {count // 8} bytes"
        )
    bits = np.zeros(count, np.uint8)
    bits[: 8 * len(content)] = np.unpackbits(np.frombuffer(content, np.uint8))
    return bits


def decode_text(bits: Bits) -> str:
    """The text that bits stand for; what is no UTF-8 is shown as U+FFFD, zeros at the end are filling."""
    content = np.packbits(bits[: bits.size // 8 * 8]).tobytes().rstrip(b"\0")
    return content.decode(errors="replace")
