"""By when a record existed, from three files: a proof that it is in a log, a timestamp of that log, the authority's root."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from onnxnnw.errors import UnreadableData
from onnxnnw.files import read_regular
from onnxnnw.registry.log.checkpoints import VerifierKey
from onnxnnw.registry.log.kept import KeptLog
from onnxnnw.registry.log.proofs import MAX_BYTES, check_inclusion
from onnxnnw.registry.log.timestamps import MAX_BYTES as MAX_TOKEN
from onnxnnw.registry.log.timestamps import Stamp, check_stamp
from onnxnnw.verification.verdict import SearchResult, Verdict
from onnxnnw.verification.visible import visible

__all__ = ["TOKEN_ENDING", "dated", "earliest", "existed_before", "read_roots", "with_dates", "with_existed_before"]

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
    return replace(search, verdicts=(dated(best, stamp, key.name), *others))


def dated(verdict: Verdict, stamp: Stamp, log: str) -> Verdict:
    """A verdict that says by when its record existed.

    Args:
        log: Name of the log that was timestamped.
    """
    said = f"{verdict.evidence.sentence}; the record existed before {stamp.text}, says a timestamp of the log {visible(log)}"
    return replace(verdict, evidence=replace(verdict.evidence, sentence=said, existed_before=stamp.text))


def earliest(log: KeptLog, commitment: str, roots: bytes) -> tuple[Stamp | None, tuple[str, ...]]:
    """The earliest timestamp that a log keeps of a state with a commitment, and why others do not count.

    Each is held against a proof that the state which was timestamped holds the commitment, so a registry that was written to since
    cannot say more than its authority did.

    Args:
        roots: Certificates of trusted authorities, PEM.
    """
    found: list[Stamp] = []
    reasons: list[str] = []
    for proof in log.stamped(commitment):
        try:
            if check_inclusion(proof.content, commitment, log.key()) is None:
                reasons.append(f"the log of {proof.checkpoint.size:,} entries that was timestamped does not hold it")
            elif proof.stamp is not None:
                found.append(check_stamp(proof.stamp.token, proof.stamp.note, roots))
        except UnreadableData as error:
            reasons.append(str(error))
    return min(found, key=lambda stamp: stamp.before, default=None), tuple(reasons)


def with_dates(search: SearchResult, log: KeptLog, roots: bytes, seen: Callable[[str], None]) -> SearchResult:
    """The result of a search with the time by which each record that matches existed, where a timestamp says so.

    Args:
        log: Of the registry that was searched.
        seen: Told why a timestamp does not count.
    """
    verdicts = []
    for verdict in search.verdicts:
        if verdict.decision in ("identical", "traced"):
            stamp, reasons = earliest(log, verdict.evidence.commitment, roots)
            for reason in reasons:
                seen(f"{verdict.record}: {reason}")
            if stamp is not None:
                verdict = dated(verdict, stamp, log.key().name)
        verdicts.append(verdict)
    return replace(search, verdicts=tuple(verdicts))
