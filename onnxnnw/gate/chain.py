"""A chain of attestations: from a file to the network that its record was made of, and on, to a record that the policy names.

Each link is a verdict that a trusted key signed: its subject is the file, its record was made of the network of the next link, by
canonical digest. The last link's record is one whose commitment the policy names. So a gate needs no record, which is a secret.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnxnnw.errors import CannotLook
from onnxnnw.evidence.attested import Attested, read_statements
from onnxnnw.evidence.keys import load_public_key
from onnxnnw.evidence.rules import RULES, Problem
from onnxnnw.evidence.statements import VERDICT
from onnxnnw.evidence.subject import NetworkFiles
from onnxnnw.gate.places import expand
from onnxnnw.gate.policy import Chained
from onnxnnw.gate.requirements import AllOf
from onnxnnw.verification.findings.base import Finding
from onnxnnw.verification.verdict import Evidence
from onnxnnw.verification.visible import visible

__all__ = ["Chain", "load_chain"]

MAX_LINKS = 32


@dataclass(frozen=True)
class _Told:
    """A verdict as an attestation tells it."""

    decision: str
    record: str
    explained: float
    findings: tuple[Finding, ...]
    evidence: Evidence


@dataclass(frozen=True)
class Chain:
    """The attestations that may form a chain.

    Attributes:
        links: Verdicts that a trusted key signed.
        roots: Commitments of the records at which a chain may end.
        unreadable: Why some files could not be read.
    """

    links: tuple[Attested, ...]
    roots: frozenset[str]
    unreadable: tuple[str, ...]

    def follow(self, subject: NetworkFiles, require: AllOf) -> tuple[str, tuple[Problem, ...]]:
        """The chain that starts at a file, as a sentence; or why there is none.

        Args:
            require: What is asked of each link's verdict.
        """
        wanted = [file.sha256 for file in subject.files]
        waiting = [
            ([link], _name(link, wanted[0])) for link in self.links if all(sha in link.subjects for sha in wanted)
        ]
        reasons: list[Problem] = []
        seen: set[int] = set()
        while waiting:
            links, words = waiting.pop()
            link = links[-1]
            if id(link) in seen or len(links) > MAX_LINKS:
                continue
            seen.add(id(link))
            for told in _verdicts(link):
                problems = require.verify(told)
                if problems:
                    reasons += problems
                    continue
                commitment = told.evidence.commitment
                if commitment in self.roots:
                    return f"{words} ← record {visible(told.record)} ({commitment[:16]}…)", ()
                digest = _digest_of_record(link, commitment)
                nexts = [one for one in self.links if digest and _network(one) == digest]
                waiting += [([*links, one], f"{words} ← {_name(one)}") for one in nexts]
        if self.unreadable:
            return "", tuple(Problem(RULES["AttestationUnusable"], reason) for reason in self.unreadable[:20])
        none = f"no chain of signed attestations leads from {subject.model.name} to a record that is named"
        return "", (Problem(RULES["NotTraced"], none), *reasons[:20])


def load_chain(chained: Chained, folder: Path) -> Chain:
    """The attestations that a policy names, as far as a trusted key signed them.

    Raises:
        CannotLook: A key cannot be read.
    """
    keys = [load_public_key(folder / key) for key in chained.keys]
    links, unreadable = [], []
    for glob in chained.statements:
        for path in expand(folder, glob):
            try:
                found = read_statements(path)
            except CannotLook as error:
                unreadable.append(visible(str(error)))
                continue
            links += [one for one in found if one.kind == VERDICT and one.positive and one.signer(keys) is not None]
    return Chain(tuple(links), frozenset(chained.roots), tuple(unreadable))


def _verdicts(link: Attested) -> list[_Told]:
    """Its verdicts, as far as they can be read."""
    given = link.predicate.get("verdicts")
    out = []
    for one in given if isinstance(given, list) else ():
        try:
            findings = tuple(_finding(finding) for finding in one["findings"])
            evidence = Evidence("", str(one["evidence"]["commitment"]), None, "")
            out.append(
                _Told(str(one["decision"]), visible(str(one["record"])), float(one["explained"]), findings, evidence)
            )
        except (KeyError, TypeError, ValueError, AttributeError):
            continue  # of another version, or damaged: it proves nothing
    return out


def _finding(said: Any) -> Finding:
    slots = {str(name): dict(evidence) for name, evidence in said["slots"].items()}
    accuses = said["class"] != "describes"
    sentence = visible(str(said["sentence"]))
    return Finding(visible(str(said["name"])), sentence, dict(said["evidence"]), slots, accuses, own_id=str(said["id"]))


def _digest_of_record(link: Attested, commitment: str) -> str:
    records = link.predicate.get("records")
    said = records.get(commitment) if isinstance(records, dict) else None
    return str(said.get("digest") or "") if isinstance(said, dict) else ""


def _network(link: Attested) -> str:
    said = link.predicate.get("network")
    return str(said.get("digest") or "") if isinstance(said, dict) else ""


def _name(link: Attested, sha256: str = "") -> str:
    return visible(link.subjects.get(sha256) or next(iter(link.subjects.values()), "?"))
