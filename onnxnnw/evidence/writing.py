"""Write evidence files: paths are checked before any work is done, files are written atomically."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnxnnw import __version__
from onnxnnw.errors import UsageError
from onnxnnw.evidence.answer import Answer
from onnxnnw.evidence.keys import Signer, load_signer
from onnxnnw.evidence.statements import Lineage, now
from onnxnnw.network_file.writing import PAGE, refuse_place, write_whole

__all__ = ["Outputs", "Writer"]

MAX_UP = 64


@dataclass(frozen=True)
class Outputs:
    """Files that evidence is written to; None for what nobody asked for.

    Attributes:
        sign: Private key for the attestation.
        merge: A bill of materials that the networks are added to.
    """

    sarif: Path | None = None
    junit: Path | None = None
    attestation: Path | None = None
    sbom: Path | None = None
    html: Path | None = None
    log: Path | None = None
    sign: Path | None = None
    merge: Path | None = None

    def prepare(self, inputs: Sequence[Path] = ()) -> Signer | None:
        """Refuse what cannot be done, before anything is examined.

        Args:
            inputs: Files that no evidence may replace.

        Returns:
            The key that statements are signed with.

        Raises:
            UsageError: A place cannot be written to, or is that of something else.
            CannotLook: The key cannot be read.
        """
        if self.sign is not None and self.attestation is None:
            raise UsageError("--sign signs an attestation: say where it goes with --attestation")
        if self.merge is not None and self.sbom is None:
            raise UsageError("--merge adds to a bill of materials: say where the result goes with --sbom")
        written = [
            p for p in (self.sarif, self.junit, self.attestation, self.sbom, self.html, self.log) if p is not None
        ]
        real = [os.path.realpath(place) for place in written]
        kept = {os.path.realpath(path) for path in (*inputs, *([self.sign] if self.sign else []))}
        for place, whole in zip(written, real, strict=True):
            if real.count(whole) > 1:
                raise UsageError(f"{place}: two kinds of evidence cannot be one file")
            if whole in kept:
                raise UsageError(f"{place}: would replace a file that is read")
            refuse_place(place, PAGE if place == self.html else b"", text=True)
        return load_signer(self.sign) if self.sign is not None else None


class Writer:
    """Writes all that was asked for, once the answers are there.

    Args:
        outputs: Where to; what cannot be done is refused here, before anything is examined.
        inputs: Files that no evidence may replace.
        policy: File and SHA-256 of the policy.
    """

    def __init__(self, outputs: Outputs, inputs: Sequence[Path], policy: tuple[Path, str] | None = None) -> None:
        self.outputs, self.policy = outputs, policy
        self.signer = outputs.prepare(inputs)

    def write(self, answers: Sequence[Answer], lineage: Lineage, command: Sequence[str]) -> None:
        """Write it.

        Args:
            lineage: Commitment of each record -> digest of the network that it was made of.
            command: What was typed.
        """
        _write(self.outputs, answers, self.signer, lineage, command, self.policy)


def _write(
    outputs: Outputs,
    answers: Sequence[Answer],
    signer: Signer | None,
    lineage: Lineage,
    command: Sequence[str],
    policy: tuple[Path, str] | None,
) -> None:
    time = now()
    if outputs.sarif is not None:
        from onnxnnw.evidence.sarif import sarif_of

        _json(outputs.sarif, sarif_of(answers, __version__, repository()))
    if outputs.junit is not None:
        from onnxnnw.evidence.junit import junit_of

        write_whole(outputs.junit, junit_of(answers).encode())
    if outputs.attestation is not None:
        write_whole(outputs.attestation, _statements(answers, signer, lineage, policy, time))
    if outputs.sbom is not None:
        from onnxnnw.evidence.cyclonedx import bom_of, merged

        bom = bom_of(answers, __version__, outputs.attestation, time)
        _json(outputs.sbom, bom if outputs.merge is None else merged(outputs.merge, bom))
    if outputs.html is not None:
        from onnxnnw.evidence.page import page_of

        write_whole(outputs.html, page_of(answers, __version__, time, command).encode("utf-8", "backslashreplace"))
    if outputs.log is not None:
        from onnxnnw.evidence.log import append

        append(outputs.log, answers, __version__, policy)


def _statements(
    answers: Sequence[Answer], signer: Signer | None, lineage: Lineage, policy: tuple[Path, str] | None, time: str
) -> bytes:
    from onnxnnw.evidence.envelope import IN_TOTO, Envelope
    from onnxnnw.evidence.statements import payload_of, statements_of

    lines = []
    for answer in answers:
        if answer.subject is None:
            continue  # what could not be read has no digest that a statement could be about
        for statement in statements_of(answer, __version__, lineage, policy, time):
            payload = payload_of(statement)
            if signer is None:
                lines.append(payload)
            else:
                lines.append(json.dumps(Envelope(IN_TOTO, payload).signed(signer).to_json()).encode())
    return b"".join(line + b"\n" for line in lines)


def repository() -> Path:
    """The folder that addresses are relative to: the repository that this one lies in, or this one."""
    here = Path.cwd()
    return next((place for place in [here, *here.parents][:MAX_UP] if (place / ".git").exists()), here)


def _json(path: Path, content: Any) -> None:
    write_whole(path, json.dumps(content, indent=2, ensure_ascii=True, allow_nan=False).encode() + b"\n")
