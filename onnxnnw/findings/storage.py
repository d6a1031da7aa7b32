"""Unchanged: all positions hold exactly what was kept."""

import numpy as np

from onnxnnw.findings.base import Examination, Finding

__all__ = ["find"]


def find(examination: Examination) -> list[Finding]:
    """One finding when nothing at the key's positions has changed; it says nothing of any other weight."""
    reads = examination.reads
    count = reads.found.size
    if not count or not np.array_equal(reads.found, reads.enrolled):
        return []
    return [Finding("unchanged", f"unchanged at all {count:,} positions of the key", {"positions": count})]
