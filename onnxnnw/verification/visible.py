"""Texts from files, with control characters made visible."""

import re
from dataclasses import replace

from onnxnnw.verification.findings.base import Finding

__all__ = ["clean", "spelled", "visible"]

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def spelled(text: str) -> str:
    """Text from a file with control characters and marks of direction made visible, in full."""
    return _CONTROL.sub(lambda match: f"\\x{ord(match.group()):02x}", text)


def visible(text: str) -> str:
    """The same, at most 200 characters of it."""
    return spelled(text)[:200]


def clean(finding: Finding) -> Finding:
    """A finding with every text that may come from a file made visible."""
    slots = {
        visible(name): {key: visible(value) if isinstance(value, str) else value for key, value in evidence.items()}
        for name, evidence in finding.slots.items()
    }
    told = {key: spelled(value) if isinstance(value, str) else value for key, value in finding.evidence.items()}
    return replace(finding, sentence=spelled(finding.sentence)[:600], slots=slots, evidence=told)
