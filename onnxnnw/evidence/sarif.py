"""Answers as SARIF 2.1.0, as code scanning takes it: a location with a line for every result, and nothing that is null.

A result is a reason why the gate stays shut; where it opens there is none, which closes alerts of earlier runs.
Source: OASIS SARIF 2.1.0 Errata 01; GitHub's rules for uploads.
"""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from onnxnnw.evidence.answer import Answer
from onnxnnw.evidence.rules import RULES, YES, Problem, Rule, worst
from onnxnnw.evidence.subject import absolute
from onnxnnw.verification.visible import visible

__all__ = ["SCHEMA", "sarif_of", "uri_of"]

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
MAX_TEXT, MAX_WEIGHTS, MAX_RESULTS = 900, 50, 25_000
"""Characters of a message, weights named beside a result, results that one upload may have."""


def sarif_of(answers: Sequence[Answer], version: str, root: Path) -> dict[str, Any]:
    """The log of one run.

    Args:
        root: The folder that addresses are relative to: the repository's.
    """
    rules = list(RULES.values())
    uris = list(dict.fromkeys(uri_of(answer.path, root) for answer in answers))
    results = [
        _result(answer, problem, rules.index(problem.rule), uris.index(uri_of(answer.path, root)), root)
        for answer in answers
        for problem in answer.problems
    ]
    driver = {"name": "onnxnnw", "version": version, "rules": [_rule(rule) for rule in rules]}
    code = worst([answer.code for answer in answers])
    run: dict[str, Any] = {
        "tool": {"driver": driver},
        "automationDetails": {"id": "onnxnnw/"},
        "columnKind": "unicodeCodePoints",
        "artifacts": _artifacts(answers, uris, root),
        "invocations": [{"executionSuccessful": True, "exitCode": code}],
        "results": results[:MAX_RESULTS],
    }
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def uri_of(path: Path | str, root: Path) -> str:
    """A file's address: relative to the repository, with everything that is not plain percent-encoded; one without secrets."""
    if "://" in str(path):
        from onnxnnw.sources.addresses import shown_place

        return quote(shown_place(path), safe=":/@")
    whole = absolute(Path(path))
    inside = os.path.relpath(whole, root)
    if inside == ".." or inside.startswith(f"..{os.sep}"):
        return "file://" + quote(os.fsencode(whole))
    return quote(os.fsencode(inside.replace(os.sep, "/")))


def _rule(rule: Rule) -> dict[str, Any]:
    level = "error" if rule.code else "note"
    return {
        "id": rule.id,
        "name": rule.name,
        "shortDescription": {"text": rule.sentence},
        "fullDescription": {"text": rule.sentence},
        "help": {"text": rule.advice},
        "defaultConfiguration": {"level": level},
        "properties": {"tags": ["provenance"], "precision": "very-high", "problem.severity": "error"},
    }


def _artifacts(answers: Sequence[Answer], uris: Sequence[str], root: Path) -> list[dict[str, Any]]:
    known = {uri_of(a.path, root): a.subject.model for a in answers if a.subject is not None}
    out: list[dict[str, Any]] = []
    for uri in uris:
        artifact: dict[str, Any] = {"location": {"uri": uri}}
        if uri in known:
            artifact |= {"length": known[uri].size, "hashes": {"sha-256": known[uri].sha256}}
        out.append(artifact)
    return out


def _result(answer: Answer, problem: Problem, rule: int, place: int, root: Path) -> dict[str, Any]:
    uri = uri_of(answer.path, root)
    physical = {"artifactLocation": {"uri": uri, "index": place}, "region": {"startLine": 1}}
    location: dict[str, Any] = {"physicalLocation": physical}
    names = [visible(name) for name in problem.weights[:MAX_WEIGHTS]]
    if names:
        location["logicalLocations"] = [{"fullyQualifiedName": name, "kind": "resource"} for name in names]
    fingerprint = hashlib.sha256(
        "\0".join([problem.rule.id, uri, answer.asked]).encode("utf-8", "backslashreplace")
    ).hexdigest()
    best = answer.best
    properties: dict[str, Any] = {"wanted": visible(answer.asked), "exit_code": problem.rule.code}
    if best is not None:
        said = best.to_json()
        properties |= {name: said[name] for name in ("decision", "log10_p", "effect", "coverage", "explained")}
        properties["findings"] = [finding.id for finding in best.findings]
    return {
        "ruleId": problem.rule.id,
        "ruleIndex": rule,
        "level": "error" if answer.enforced and problem.rule.code > YES else "warning",
        "kind": "fail",
        "message": {"text": _escaped(f"{answer.name}: {problem.sentence}. {problem.rule.advice}")},
        "locations": [location],
        "partialFingerprints": {"primaryLocationLineHash": f"{fingerprint[:16]}:1", "onnxnnw/v1": fingerprint},
        "properties": properties,
    }


def _escaped(text: str) -> str:
    """A message of plain text: brackets would be links, braces placeholders [SARIF 3.11.5, 3.11.6]."""
    text = text[:MAX_TEXT].replace("\\", "\\\\").replace("[", "\\[").replace("]", "\\]")
    return text.replace("{", "{{").replace("}", "}}")
