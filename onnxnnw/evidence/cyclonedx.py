"""An answer as a CycloneDX bill of materials, on its own or merged into one that exists.

What a fingerprint or nothing but a p-value proves has no direction: `pedigree.variants`. A mark that was there before the
candidate was made points back: `pedigree.ancestors`. Source: CycloneDX 1.6 and 1.7.
"""

import hashlib
import json
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from onnxnnw.errors import UnreadableData
from onnxnnw.evidence.answer import WORDS, Answer
from onnxnnw.evidence.envelope import parse_json
from onnxnnw.evidence.statements import now
from onnxnnw.evidence.subject import NetworkFiles
from onnxnnw.files import read_regular
from onnxnnw.verification.evidence import FORGEABLE
from onnxnnw.verification.verdict import Verdict
from onnxnnw.verification.visible import visible

__all__ = ["SPECIFICATIONS", "bom_of", "is_ancestor", "merged"]

SPECIFICATIONS = ("1.6", "1.7")
MAX_BYTES = 2**26
_PREFIX = "onnxnnw:"


def is_ancestor(verdict: Verdict) -> bool:
    """Whether the evidence points back in time: a watermark that nobody could have made a record for after the fact."""
    trials = verdict.evidence.after_the_fact_trials_log10
    return verdict.kind == "watermark" and trials is not None and trials >= FORGEABLE


def bom_of(answers: Sequence[Answer], version: str, attestation: Path | None = None, time: str = "") -> dict[str, Any]:
    """A bill of materials with one component for each file that has a subject.

    Args:
        attestation: File with the statements about them, to be referred to.
    """
    return {
        "bomFormat": "CycloneDX",
        "specVersion": SPECIFICATIONS[0],
        "serialNumber": f"urn:uuid:{uuid.uuid4()}",
        "version": 1,
        "metadata": {"timestamp": time or now(), "tools": {"components": [_tool(version)]}},
        "components": [_component(answer, attestation) for answer in _once(answers)],
    }


def _once(answers: Sequence[Answer]) -> list[Answer]:
    """One answer for each file: of several units that a file is part of, the worst."""
    worst: dict[str, Answer] = {}
    for answer in answers:
        if answer.subject is not None:
            known = worst.setdefault(answer.subject.model.sha256, answer)
            if answer.found > known.found:
                worst[answer.subject.model.sha256] = answer
    return list(worst.values())


def merged(path: Path, bom: dict[str, Any]) -> dict[str, Any]:
    """A bill of materials that exists, with what is known of the networks added.

    A component with the SHA-256 of a file gets what it lacks, whatever it says itself stays; a new one is added at the end.

    Raises:
        UnreadableData: It is no CycloneDX 1.6 or 1.7 in JSON.
    """
    try:
        old = parse_json(read_regular(path, UnreadableData, MAX_BYTES))
    except UnreadableData as error:
        raise UnreadableData(f"{path}: {error}" if not str(error).startswith(str(path)) else str(error)) from None
    if not isinstance(old, dict) or old.get("bomFormat") != "CycloneDX" or old.get("specVersion") not in SPECIFICATIONS:
        raise UnreadableData(f"{path}: CycloneDX {' or '.join(SPECIFICATIONS)} in JSON was wanted, to be added to")
    components = old.get("components", [])
    if not isinstance(components, list) or not all(isinstance(one, dict) for one in components):
        raise UnreadableData(f"{path}: its components are no list of objects")
    out = dict(old)
    out["components"] = kept = [dict(one) for one in components]
    for component in bom["components"]:
        sha256 = component["hashes"][0]["content"]
        known = next((one for one in kept if _has_hash(one, sha256)), None)
        if known is None:
            kept.append(component)
        else:
            _complete(known, component)
    version = old.get("version", 1)
    out["version"] = version + 1 if isinstance(version, int) else 2
    return out


def _tool(version: str) -> dict[str, Any]:
    return {"type": "application", "name": "onnxnnw", "version": version, "purl": f"pkg:pypi/onnxnnw@{version}"}


def _component(answer: Answer, attestation: Path | None) -> dict[str, Any]:
    subject = answer.subject
    assert subject is not None
    model = subject.model
    component: dict[str, Any] = {
        "type": "machine-learning-model" if subject.network else "file",
        "bom-ref": f"{_PREFIX}{model.sha256}",
        "name": model.name,
        "hashes": [{"alg": "SHA-256", "content": model.sha256}],
        "properties": _properties(answer, subject),
    }
    best = answer.best
    if best is not None and best.decision in ("traced", "identical"):
        parents = "ancestors" if is_ancestor(best) else "variants"
        component["pedigree"] = {parents: [_parent(best, answer)], "notes": f"{visible(best.evidence.sentence)}"}
        technique = {"technique": "binary-analysis", "confidence": 1.0 - best.rate, "value": best.decision}
        component["evidence"] = {
            "identity": [
                {
                    "field": "hash",
                    "confidence": 1.0 - best.rate,
                    "concludedValue": model.sha256,
                    "methods": [technique],
                }
            ]
        }
    if attestation is not None:
        component["externalReferences"] = [_reference(attestation)]
    return component


def _parent(verdict: Verdict, answer: Answer) -> dict[str, Any]:
    commitment = verdict.evidence.commitment
    properties = {"record": verdict.record, "commitment": commitment, "method": f"{verdict.method} {verdict.kind}"}
    if verdict.actor:
        properties["actor"] = f"{verdict.role} {verdict.actor}".strip()
    sha256 = answer.subject.model.sha256 if answer.subject is not None else ""
    known: dict[str, Any] = {"name": verdict.record}
    if answer.parent is not None:
        model = answer.parent.subject.model
        known = {"name": model.name, "hashes": [{"alg": "SHA-256", "content": model.sha256}]}
        properties |= {"signed_by": answer.parent.signer, "signature_root": answer.parent.root}
    return {
        "type": "machine-learning-model",
        "bom-ref": f"{_PREFIX}{sha256}:record:{commitment}",
        **known,
        "properties": [{"name": f"{_PREFIX}{name}", "value": value} for name, value in properties.items()],
    }


def _properties(answer: Answer, subject: NetworkFiles) -> list[dict[str, str]]:
    said = {"answer": WORDS[answer.found], "wanted": visible(answer.asked)}
    best = answer.best
    if best is not None:
        said |= {
            "decision": best.decision,
            "record": best.record,
            "log10_p": f"{best.to_json()['log10_p']:g}",
            "false_positive_rate": f"{best.rate:g}",
            "explained": f"{best.explained:.6f}",
            "findings": " ".join(finding.id for finding in best.findings),
        }
    if subject.digest:
        said["canonical_digest"] = subject.digest
    for file in subject.external:
        said[f"external_data:{file.name}"] = file.sha256
    said |= {f"problem:{problem.rule.id}": problem.sentence for problem in answer.problems}
    return [{"name": f"{_PREFIX}{name}", "value": value} for name, value in said.items()]


def _reference(attestation: Path) -> dict[str, Any]:
    from urllib.parse import quote

    reference: dict[str, Any] = {"type": "attestation", "url": quote(attestation.name)}
    if attestation.is_file():
        digest = hashlib.sha256(read_regular(attestation, UnreadableData, MAX_BYTES)).hexdigest()
        reference["hashes"] = [{"alg": "SHA-256", "content": digest}]
    return reference


def _has_hash(component: dict[str, Any], sha256: str) -> bool:
    hashes = component.get("hashes")
    wanted = {"alg": "SHA-256", "content": sha256}
    return isinstance(hashes, list) and any(
        isinstance(one, dict) and {**one, "content": str(one.get("content", "")).lower()} == wanted for one in hashes
    )


def _complete(known: dict[str, Any], ours: dict[str, Any]) -> None:
    """Add to a component what we know; where it holds lists of such things already, ours of an earlier run are replaced."""
    lists = (("properties", "name"), ("externalReferences", "url"))
    for name, key in lists:
        if name in ours:
            kept = [one for one in known.get(name, []) if not _is_ours(one, key, ours[name])]
            known[name] = kept + ours[name]
    for name in ("pedigree", "evidence"):
        if name not in ours:
            continue
        place = dict(known[name]) if isinstance(known.get(name), dict) else {}
        for part, value in ours[name].items():
            if isinstance(value, list):
                before = place.get(part, [])
                before = before if isinstance(before, list) else [before]
                place[part] = [one for one in before if not _same(one, value)] + value
            else:
                place.setdefault(part, value)
        known[name] = place


def _is_ours(one: Any, key: str, ours: list[dict[str, Any]]) -> bool:
    if key == "name":
        return isinstance(one, dict) and str(one.get("name", "")).startswith(_PREFIX)
    return isinstance(one, dict) and one.get("url") in [other["url"] for other in ours]


def _same(one: Any, ours: list[dict[str, Any]]) -> bool:
    if isinstance(one, dict) and "bom-ref" in one:
        return one["bom-ref"] in [other.get("bom-ref") for other in ours]
    return any(json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True) for other in ours)
