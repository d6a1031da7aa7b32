"""What a file of a log shows, checked offline."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnxnnw.errors import UnreadableData, UsageError
from onnxnnw.files import read_regular
from onnxnnw.records.record_file import load_record
from onnxnnw.registry.log.checkpoints import Checkpoint, VerifierKey, parse_checkpoint
from onnxnnw.registry.log.evidence import TOKEN_ENDING, read_roots
from onnxnnw.registry.log.proofs import MAX_BYTES, check_consistency, check_inclusion, is_consistency_file
from onnxnnw.registry.log.timestamps import MAX_BYTES as MAX_TOKEN
from onnxnnw.registry.log.timestamps import check_stamp

__all__ = ["CheckedProof", "check_file"]

FORMAT = "onnxnnw/logged/1"


@dataclass(frozen=True)
class CheckedProof:
    """What was found.

    Attributes:
        holds: Whether the file proves what it should.
        what: ``checkpoint``, ``inclusion`` or ``consistency``.
        checkpoint: The state of the log that it refers to.
        index: Place of the entry, for an inclusion that holds.
        existed_before: As a checked timestamp says; None without one.
        sentence: The same in words.
    """

    holds: bool
    what: str
    checkpoint: Checkpoint | None
    index: int | None
    existed_before: str | None
    sentence: str

    def to_json(self) -> dict[str, Any]:
        """The documented form, see docs/reference/json-formats.md."""
        return {
            "format": FORMAT,
            "holds": int(self.holds),
            "what": self.what,
            "origin": self.checkpoint.origin if self.checkpoint else None,
            "size": self.checkpoint.size if self.checkpoint else None,
            "root": self.checkpoint.root.hex() if self.checkpoint else None,
            "index": self.index,
            "existed_before": self.existed_before,
            "sentence": self.sentence,
        }


def check_file(
    path: Path,
    key_text: str,
    commitment: str = "",
    record: Path | None = None,
    older: Path | None = None,
    token: Path | None = None,
    roots: Path | None = None,
) -> CheckedProof:
    """Check a proof of inclusion (of a commitment or record), a proof that the log only grew (since ``older``), or a checkpoint.

    Args:
        key_text: The log's public key.
        token, roots: A timestamp of the checkpoint and trusted certificates; the token lies beside the file by default.

    Raises:
        UnreadableData: The file is none of these, or its signature or timestamp is not what it should be.
        UsageError: What is asked for does not go with the file.
    """
    key = VerifierKey.from_text(key_text)
    if record is not None:
        if commitment:
            raise UsageError("give the record or its commitment, one of the two")
        commitment = load_record(record).commitment
    content = read_regular(path, UnreadableData, MAX_BYTES)
    found = _checked(content, key, commitment, older)
    if not found.holds or found.checkpoint is None:
        return found
    beside = path.with_name(path.name + TOKEN_ENDING)
    token = beside if token is None and roots is not None and beside.exists() else token
    if token is None:
        return found
    if roots is None:
        raise UsageError("a timestamp is checked with the root certificate of its authority: give --tsa-root")
    stamp = check_stamp(read_regular(token, UnreadableData, MAX_TOKEN), found.checkpoint.note, read_roots(roots))
    said = f"{found.sentence}; it existed before {stamp.text}"
    return CheckedProof(True, found.what, found.checkpoint, found.index, stamp.text, said)


def _checked(content: bytes, key: VerifierKey, commitment: str, older: Path | None) -> CheckedProof:
    if is_consistency_file(content):
        if older is None:
            raise UsageError("a proof that a log only grew needs the older checkpoint: give --older")
        before = parse_checkpoint(read_regular(older, UnreadableData, MAX_BYTES), key)
        newer = check_consistency(content, before, key)
        if newer is None:
            said = f"the log {key.name} did not only grow: its entries do not begin with the older {before.size:,}"
            return CheckedProof(False, "consistency", None, None, None, said)
        said = f"the log {key.name} only grew, from {before.size:,} to {newer.size:,} entries"
        return CheckedProof(True, "consistency", newer, None, None, said)
    if older is not None:
        raise UsageError("--older goes with a proof that a log only grew (registry log --since)")
    if content.startswith(b"c2sp.org/tlog-proof@"):
        if not commitment:
            raise UsageError("a proof of inclusion is about a record: give --record or --commitment")
        included = check_inclusion(content, commitment, key)
        if included is None:
            said = f"the proof does not show that {commitment[:16]}… is in the log {key.name}"
            return CheckedProof(False, "inclusion", None, None, None, said)
        said = f"{commitment[:16]}… is entry {included.index:,} of the log {key.name} with {included.checkpoint.size:,} entries"
        return CheckedProof(True, "inclusion", included.checkpoint, included.index, None, said)
    if commitment:
        raise UsageError("a checkpoint alone says nothing of a record; bring a proof (registry log --prove)")
    checkpoint = parse_checkpoint(content, key)
    said = (
        f"the log {key.name} signed that it has {checkpoint.size:,} entries with the head {checkpoint.root.hex()[:16]}…"
    )
    return CheckedProof(True, "checkpoint", checkpoint, None, None, said)
