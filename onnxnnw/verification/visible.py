"""Texts from files, with control characters made visible."""

import re
from dataclasses import replace

from onnxnnw.verification.findings.base import Finding

__all__ = ["clean", "visible"]

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def visible(text: str) -> str:
    """Text from a file with control characters made visible."""
    return _CONTROL.sub(lambda match: f"\\x{ord(match.group()):02x}", text)[:200]


def clean(finding: Finding) -> Finding:
    """A finding with every text that may come from a file made visible."""
    slots = {
        visible(name): {key: visible(value) if isinstance(value, str) else value for key, value in evidence.items()}
        for name, evidence in finding.slots.items()
    }
    sentence = _CONTROL.sub(lambda m: f"\\x{ord(m.group()):02x}", finding.sentence)[:600]
    told = {
        k: _CONTROL.sub(lambda m: f"\\x{ord(m.group()):02x}", v) if isinstance(v, str) else v
        for k, v in finding.evidence.items()
    }
    return replace(finding, sentence=sentence, slots=slots, evidence=told)
