"""A secret key and the streams derived from it, identical on every machine.

    block j = SHAKE256("onnxnnw/stream/1\\0" | secret | u16le(len label) | label | context[32] | u64le(j)).digest(32768)

A stream is the concatenation of its blocks. Each purpose has its own label, so no two purposes share a bit. Published
test vectors: docs/reference/keys.md.
"""

import hashlib
import secrets
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from onnxnnw.errors import CapacityError, UsageError

__all__ = ["SECRET_BYTES", "Key", "Stream", "key_digest"]

SECRET_BYTES = 32
BLOCK_BYTES = 32768

_PREFIX = b"onnxnnw/stream/1\0"
_DIGEST = b"onnxnnw/positions-key/1\0"
_SUMMANDS = 16
_SUM_MEAN = 34359738360.0  # 16 * (2**32 - 1) / 2
_SUM_STD = 4959401049.012478  # sqrt(16 * (2**64 - 1) / 12)


_FEW = 64
"""So many indices are drawn one by one, which is faster than arrays of them."""


@dataclass(frozen=True)
class Key:
    """A secret of 32 bytes.

    Raises:
        UsageError: The secret has another length.
    """

    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.secret, bytes) or len(self.secret) != SECRET_BYTES:
            raise UsageError(f"a secret has {SECRET_BYTES} bytes")

    @classmethod
    def generate(cls) -> "Key":
        """A new key from the operating system's generator. Never draw again because of a result."""
        return cls(secrets.token_bytes(SECRET_BYTES))

    def stream(self, label: str, context: bytes) -> "Stream":
        """The stream of one purpose in one context (32 bytes, see records.py on binding)."""
        assert len(context) == 32
        name = label.encode()
        return Stream(_PREFIX + self.secret + len(name).to_bytes(2, "little") + name + context)


def key_digest(key: Key) -> str:
    """The digest by which a record binds a key that is not its own; it reveals neither the key nor a stream."""
    return hashlib.sha256(_DIGEST + key.secret).hexdigest()


@dataclass(frozen=True)
class Stream:
    """Numbers from one seed; every call starts at the beginning of the stream."""

    seed: bytes = field(repr=False)

    def take(self, count: int) -> bytes:
        """The first ``count`` bytes."""
        blocks = []
        for j in range(-(-count // BLOCK_BYTES)):
            length = min(BLOCK_BYTES, count - j * BLOCK_BYTES)  # SHAKE: a shorter output is a prefix of a longer one
            blocks.append(hashlib.shake_256(self.seed + j.to_bytes(8, "little")).digest(length))
        return b"".join(blocks)

    def indices(self, count: int, below: int, excluded: Iterable[int] = ()) -> NDArray[np.int64]:
        """Distinct indices below a limit, in the order of their acceptance.

        Words of 8 bytes; those from ``floor(2**64 / below) * below`` on are rejected, repeats and excluded values
        skipped.

        Raises:
            CapacityError: There are not ``count`` indices to draw.
        """
        taken = set(excluded)
        if count > below - len(taken):
            raise CapacityError(
                f"{count} distinct positions were wanted, but only {max(0, below - len(taken))} are left"
            )
        if count == 0:
            return np.empty(0, np.int64)
        limit = 2**64 // below * below - 1
        words = count + count // 4 + 16
        while count <= _FEW:
            out: dict[int, None] = {}
            for word in struct.unpack(f"<{words}Q", self.take(words * 8)):
                index = word % below
                if word <= limit and index not in taken:
                    out[index] = None
                    if len(out) == count:
                        return np.array(list(out), np.int64)
            words *= 2
        barred = np.array(sorted(taken), np.int64)  # np.unique would import numpy.ma
        while True:
            drawn = np.frombuffer(self.take(words * 8), "<u8")
            values = (drawn[drawn <= np.uint64(limit)] % np.uint64(below)).astype(np.int64)
            if barred.size:
                place = np.searchsorted(barred, values).clip(max=barred.size - 1)
                values = values[barred[place] != values]
            _, first = np.unique(values, return_index=True)
            if first.size >= count:
                first.sort()
                return values[first[:count]]
            words *= 2

    def normals(self, count: int) -> NDArray[np.float64]:
        """Nearly standard normal numbers, bit-identical everywhere: sums of 16 uniform 32-bit words, |z| <= 6.93."""
        words = np.frombuffer(self.take(count * 4 * _SUMMANDS), "<u4").reshape(count, _SUMMANDS)
        sums = words.sum(axis=1, dtype=np.uint64).astype(np.float64)
        z: NDArray[np.float64] = (sums - _SUM_MEAN) / _SUM_STD
        return z

    def bits(self, count: int) -> NDArray[np.uint8]:
        """Bits: the lowest of each byte."""
        bits: NDArray[np.uint8] = np.frombuffer(self.take(count), np.uint8) & np.uint8(1)
        return bits

    def signs(self, count: int) -> NDArray[np.float64]:
        """-1 and 1, as the bits say."""
        signs: NDArray[np.float64] = 2.0 * self.bits(count).astype(np.float64) - 1.0
        return signs

    def labels(self, count: int, classes: int) -> NDArray[np.int64]:
        """Uniform labels below ``classes``; repeats are allowed."""
        limit = 2**64 // classes * classes - 1
        words = count + count // 4 + 16
        while True:
            drawn = np.frombuffer(self.take(words * 8), "<u8")
            values = drawn[drawn <= np.uint64(limit)]
            if values.size >= count:
                return (values[:count] % np.uint64(classes)).astype(np.int64)
            words *= 2
