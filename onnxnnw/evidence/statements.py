"""An answer as in-toto statements: one that others understand, and the verdict itself.

What passed is a Simple Verification Result v0.2, everything else a test result v0.1; the subject is the file by its SHA-256.
Source: in-toto attestation framework, Statement v1, predicates SVR v0.2 and test-result v0.1.
"""

import datetime
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onnxnnw.evidence.answer import WORDS, Answer
from onnxnnw.evidence.rules import YES
from onnxnnw.evidence.subject import NetworkFiles
from onnxnnw.verification.visible import visible

__all__ = ["STATEMENT", "SVR", "TEST_RESULT", "VERDICT", "Lineage", "now", "payload_of", "statements_of"]

STATEMENT = "https://in-toto.io/Statement/v1"
SVR = "https://in-toto.io/attestation/svr/v0.2"
TEST_RESULT = "https://in-toto.io/attestation/test-result/v0.1"
VERDICT = "urn:onnxnnw:verdict:v1"
"""Our own predicate: the answer with its verdicts, and the digests by which one statement leads to the next."""

Lineage = Mapping[str, str]
"""Commitment of a record -> canonical digest of the network that it was made of."""


def statements_of(
    answer: Answer, version: str, lineage: Lineage, policy: tuple[Path, str] | None = None, time: str = ""
) -> list[dict[str, Any]]:
    """The statements about one file.

    Args:
        answer: It names its subject by digest.
        lineage: Where the records come from, as far as they say so.
        policy: File and SHA-256 of the policy that was applied.
        time: When it was verified; now by default.
    """
    assert answer.subject is not None, "an answer that is attested has a subject"
    time = time or now()
    policies = [{"name": visible(policy[0].name), "digest": {"sha256": policy[1]}}] if policy is not None else []
    passed = answer.found == YES and answer.best is not None
    first = (
        _statement(answer.subject, SVR, _svr(answer, version, policies, time))
        if passed
        else _statement(answer.subject, TEST_RESULT, _test_result(answer, policies))
    )
    return [first, _statement(answer.subject, VERDICT, _verdict(answer, version, lineage, policies, time))]


def payload_of(statement: Mapping[str, Any]) -> bytes:
    """The bytes of a statement that are signed."""
    return json.dumps(statement, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()


def now() -> str:
    """The time in UTC, as RFC 3339 has it."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _statement(subject: NetworkFiles, kind: str, predicate: Mapping[str, Any]) -> dict[str, Any]:
    files = [{"name": file.name, "digest": {"sha256": file.sha256}} for file in subject.files]
    return {"_type": STATEMENT, "subject": files, "predicateType": kind, "predicate": dict(predicate)}


def _svr(answer: Answer, version: str, policies: list[dict[str, Any]], time: str) -> dict[str, Any]:
    best = answer.best
    assert best is not None
    properties = {"identical": ["NNW_IDENTICAL", "NNW_TRACED"], "traced": ["NNW_TRACED"]}.get(best.decision, [])
    if best.decision == "not traced":  # asked for, or it would not have passed
        properties = ["NNW_NONE_OF"]
    verifier = {"id": f"pkg:pypi/onnxnnw@{version}"}
    return {"verifier": {**verifier, "policies": policies}, "timeCreated": time, "properties": properties}


def _test_result(answer: Answer, policies: list[dict[str, Any]]) -> dict[str, Any]:
    names = list(dict.fromkeys(f"{problem.rule.id} {problem.rule.name}" for problem in answer.problems))
    result = "PASSED" if answer.found == YES else "FAILED" if answer.enforced else "WARNED"
    configuration = policies or [{"name": "command line", "digest": {"sha256": _sha256(answer.asked)}}]
    return {
        "result": result,
        "configuration": configuration,
        "passedTests": ["onnxnnw verify"] if result == "PASSED" else [],
        "warnedTests": names if result == "WARNED" else [],
        "failedTests": names if result == "FAILED" else [],
    }


def _verdict(
    answer: Answer, version: str, lineage: Lineage, policies: list[dict[str, Any]], time: str
) -> dict[str, Any]:
    assert answer.subject is not None
    verdicts = answer.search.verdicts if answer.search is not None else ()
    known = {v.evidence.commitment: lineage.get(v.evidence.commitment, "") for v in verdicts}
    return {
        "answer": WORDS[answer.found],
        "wanted": visible(answer.asked),
        "problems": [{"rule": p.rule.id, "name": p.rule.name, "sentence": p.sentence} for p in answer.problems],
        "verifier": {"id": f"pkg:pypi/onnxnnw@{version}", "policies": policies},
        "timeCreated": time,
        "network": {"digest": answer.subject.digest} if answer.subject.digest else {},
        **_parent(answer),
        "records": {commitment: {"digest": digest} for commitment, digest in known.items() if digest},
        "verdicts": [verdict.to_json() for verdict in verdicts[:20]],
    }


def _parent(answer: Answer) -> dict[str, Any]:
    """The network that the record was made of, where that was asked and holds."""
    if answer.parent is None:
        return {}
    files = [{"name": file.name, "digest": {"sha256": file.sha256}} for file in answer.parent.subject.files]
    return {"parent": {"files": files, "signature": {"root": answer.parent.root, "key": answer.parent.signer}}}


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()
