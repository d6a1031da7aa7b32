"""By when a record existed, from three files: a proof that it is in a log, a timestamp of that log, the authority's root."""

from dataclasses import replace
from pathlib import Path

from onnxnnw.errors import UnreadableData
from onnxnnw.files import read_regular
from onnxnnw.registry.log.checkpoints import VerifierKey
from onnxnnw.registry.log.proofs import MAX_BYTES, check_inclusion
from onnxnnw.registry.log.timestamps import MAX_BYTES as MAX_TOKEN
from onnxnnw.registry.log.timestamps import Stamp, check_stamp
from onnxnnw.verification.verdict import SearchResult, Verdict

__all__ = ["TOKEN_ENDING", "existed_before", "read_roots", "with_existed_before"]

TOKEN_ENDING = ".tsr"
"""What a timestamp's file is called after the proof that it goes with."""


def existed_before(commitment: str, proof: Path, key: VerifierKey, roots: Path, token: Path | None = None) -> Stamp:
    """The checked timestamp of a log that holds a commitment.

    Args:
        commitment: Of the record.
        proof: That it is in the log.
        key: Of the log.
        roots: Certificates of trusted authorities, PEM.
        token: The timestamp of the proof's checkpoint; by default the file beside the proof, with ``.tsr`` after its name.

    Raises:
        UnreadableData: One of the files does not show what it should.
    """
    included = check_inclusion(read_regular(proof, UnreadableData, MAX_BYTES), commitment, key)
    if included is None:
        raise UnreadableData(f"{proof}: does not show that {commitment[:16]}… is in the log {key.name[:80]!r}")
    token = token or proof.with_name(proof.name + TOKEN_ENDING)
    content = read_regular(token, UnreadableData, MAX_TOKEN)
    return check_stamp(content, included.checkpoint.note, read_roots(roots))


def read_roots(path: Path) -> bytes:
    """Certificates in PEM."""
    return read_regular(path, UnreadableData, 2**20)


def with_existed_before(search: SearchResult, proof: Path, key: VerifierKey, roots: Path) -> SearchResult:
    """The result of a verification with the time by which its best record existed.

    Raises:
        UnreadableData: See ``existed_before``.
    """
    best, *others = search.verdicts
    stamp = existed_before(best.evidence.commitment, proof, key, roots)
    said = f"{best.evidence.sentence}; the record existed before {stamp.text}, says a timestamp of the log {key.name}"
    evidence = replace(best.evidence, sentence=said, existed_before=stamp.text)
    verdicts: tuple[Verdict, ...] = (replace(best, evidence=evidence), *others)
    return replace(search, verdicts=verdicts)
