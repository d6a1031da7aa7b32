"""Proofs as files: that a commitment is in a log [C2SP tlog-proof], and that a log only grew; checked without the log.

The latter has the form that witnesses of logs take [C2SP tlog-witness]: ``old SIZE``, hashes, an empty line, the newer checkpoint.
"""

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass

from onnxnnw.errors import UnreadableData, UsageError
from onnxnnw.registry.log.checkpoints import Checkpoint, VerifierKey, base64_of, parse_checkpoint
from onnxnnw.registry.log.merkle import HASH_BYTES, leaf_hash, verify_consistency, verify_inclusion

__all__ = [
    "Included",
    "check_consistency",
    "check_inclusion",
    "consistency_file",
    "entry_of",
    "inclusion_file",
    "is_consistency_file",
]

MAX_BYTES = 2**17
_MAX_HASHES = 64
_FIRST = "c2sp.org/tlog-proof@v1"


@dataclass(frozen=True)
class Included:
    """What a proof of inclusion showed.

    Attributes:
        index: Place of the entry in the log, from 0.
        checkpoint: The state of the log that it is in.
    """

    index: int
    checkpoint: Checkpoint


def entry_of(commitment: str) -> bytes:
    """The entry of a record: the 32 bytes of its commitment.

    Raises:
        UsageError: It is no SHA-256 in hexadecimal.
    """
    text = commitment.strip().lower()
    if not re.fullmatch(r"[0-9a-f]{64}", text):
        raise UsageError(f"a commitment has 64 hexadecimal digits, not {commitment[:80]!r}")
    return bytes.fromhex(text)


def inclusion_file(index: int, proof: Sequence[bytes], checkpoint: Checkpoint) -> bytes:
    """The proof that an entry is in the log that a checkpoint shows."""
    return "\n".join([_FIRST, f"index {index}", *map(_packed, proof), "", ""]).encode() + checkpoint.note


def check_inclusion(content: bytes, commitment: str, key: VerifierKey) -> Included | None:
    """Whether a proof shows that a commitment is in the log of a key; None where it does not.

    Raises:
        UnreadableData: It is no proof, or of another log.
    """
    head, checkpoint = _parts(content, key)
    lines = head[1:]
    if lines and lines[0].startswith("extra "):
        lines = lines[1:]
    index = re.fullmatch(r"index (0|[1-9][0-9]{0,18})", lines[0]) if lines else None
    if head[0] != _FIRST or index is None:
        raise UnreadableData("no proof that something is in a log")
    leaf = leaf_hash(entry_of(commitment))
    if not verify_inclusion(int(index[1]), checkpoint.size, leaf, _hashes(lines[1:]), checkpoint.root):
        return None
    return Included(int(index[1]), checkpoint)


def consistency_file(old: int, proof: Sequence[bytes], newer: Checkpoint) -> bytes:
    """The proof that the log of a checkpoint began with its first ``old`` entries."""
    return "\n".join([f"old {old}", *map(_packed, proof), "", ""]).encode() + newer.note


def is_consistency_file(content: bytes) -> bool:
    """Whether this is a proof that a log only grew."""
    return content.startswith(b"old ")


def check_consistency(content: bytes, older: Checkpoint, key: VerifierKey) -> Checkpoint | None:
    """The newer checkpoint, where a proof shows that the log only grew since an older one; None where it does not.

    Raises:
        UnreadableData: It is no proof, or of another log or checkpoint.
    """
    head, newer = _parts(content, key)
    old = re.fullmatch(r"old (0|[1-9][0-9]{0,18})", head[0])
    if old is None:
        raise UnreadableData("no proof that a log only grew")
    if int(old[1]) != older.size:
        raise UnreadableData(f"the proof begins at {int(old[1]):,} entries, the older checkpoint at {older.size:,}")
    if not verify_consistency(older.size, newer.size, _hashes(head[1:]), older.root, newer.root):
        return None
    return newer


def _parts(content: bytes, key: VerifierKey) -> tuple[list[str], Checkpoint]:
    """The lines of a proof, and the checkpoint under it."""
    if len(content) > MAX_BYTES:
        raise UnreadableData(f"a proof has at most {MAX_BYTES:,} bytes, not {len(content):,}")
    head, separator, note = content.partition(b"\n\n")
    if not separator:
        raise UnreadableData("no proof: an empty line and a checkpoint were wanted")
    try:
        lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError:
        raise UnreadableData("no proof: not ASCII") from None
    return lines, parse_checkpoint(note, key)


def _hashes(lines: Sequence[str]) -> list[bytes]:
    found = [base64_of(line) for line in lines[: _MAX_HASHES + 1]]
    hashes = [each for each in found if each is not None and len(each) == HASH_BYTES]
    if len(hashes) != len(lines) or len(lines) > _MAX_HASHES:
        raise UnreadableData("no proof: a line is no hash of 32 bytes in base64")
    return hashes


def _packed(content: bytes) -> str:
    return base64.b64encode(content).decode()
