"""Answers to make evidence of: of the shipped ResNet8 and its copies, and of a file whose every name is hostile."""

import dataclasses
from pathlib import Path

import pytest

from onnxnnw.evidence.answer import Answer
from onnxnnw.evidence.question import Question, ask
from onnxnnw.evidence.rules import RULES, Problem
from onnxnnw.evidence.subject import FileDigest, NetworkFiles
from onnxnnw.verification.findings.base import Finding
from onnxnnw.verification.verdict import SearchResult

HOSTILE = "</style><script>alert(1)</script>\x1b[31m\u202e&quot;\"'`${x}{0}[a](javascript:1)\0\udcff\n]]>é漢"
"""What a name may hold that ends markup, moves text, links, or is no text at all."""


@pytest.fixture(scope="session")
def answers(enrolled, tmp_path_factory) -> list[Answer]:
    """A yes with a watermark, a no, and a file that cannot be read."""
    folder = tmp_path_factory.mktemp("answers")
    (folder / "broken.onnx").write_bytes(b"\x08\x0a")
    candidates = [enrolled.marked, enrolled.original, folder / "broken.onnx"]
    return ask(Question((enrolled.record,)), candidates, True, True)[0]


@pytest.fixture(scope="session")
def fingerprinted(enrolled) -> Answer:
    """A yes with a fingerprint."""
    return ask(Question((enrolled.fingerprint,)), [enrolled.original], True)[0][0]


@pytest.fixture(scope="session")
def hostile(answers) -> Answer:
    """A no in which every text that a file could bring is hostile."""
    best = answers[0].best
    finding = Finding(HOSTILE, HOSTILE, {HOSTILE: HOSTILE, "n": 1}, {HOSTILE: {HOSTILE: HOSTILE, "n": 2.5}}, True)
    verdict = dataclasses.replace(
        best,
        record=HOSTILE,
        actor=HOSTILE,
        source_id=HOSTILE,
        destination_id=HOSTILE,
        findings=(finding, *best.findings),
        not_understood=(HOSTILE,),
        evidence=dataclasses.replace(best.evidence, sentence=HOSTILE),
    )
    search = SearchResult((verdict, best), (HOSTILE,), 0.01)
    subject = NetworkFiles(FileDigest(Path(HOSTILE.replace("\0", "").replace("/", "")), "ab" * 32, 7), (), "cd" * 32)
    problems = (Problem(RULES["FindingNotAllowed"], HOSTILE, (HOSTILE,)), Problem(RULES["NotTraced"], HOSTILE))
    path = Path(HOSTILE.replace("\0", ""))
    return Answer(path, HOSTILE, search, problems, subject, notes=(HOSTILE,), unit=HOSTILE)
