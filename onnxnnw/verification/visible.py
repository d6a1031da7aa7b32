"""Findings with all texts from files made visible."""

from dataclasses import replace

from onnxnnw import texts
from onnxnnw.verification.findings.base import Finding

__all__ = ["clean", "visible"]

_LONGEST_NAME, _LONGEST_SENTENCE = 200, 600


def visible(text: str) -> str:
    """A name or a reason from a file, visible and of bounded length."""
    return texts.visible(text, _LONGEST_NAME)


def clean(finding: Finding) -> Finding:
    """A finding with every text that may come from a file made visible."""
    slots = {
        visible(name): {key: visible(value) if isinstance(value, str) else value for key, value in evidence.items()}
        for name, evidence in finding.slots.items()
    }
    told = {key: texts.visible(value) if isinstance(value, str) else value for key, value in finding.evidence.items()}
    return replace(finding, sentence=texts.visible(finding.sentence, _LONGEST_SENTENCE), slots=slots, evidence=told)
