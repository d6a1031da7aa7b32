"""No graph: the candidate holds tensors and does not say what is computed from them."""

from onnxnnw.verification.findings.base import Examination, Finding

__all__ = ["find"]


def find(examination: Examination) -> list[Finding]:
    """One finding, whatever the verdict: it is about numbers alone."""
    if examination.view.flow.has_graph:
        return []
    sentence = "a file of tensors without a graph: what is computed from them was not looked at"
    return [Finding("no graph", sentence, {"tensors": len(examination.view.flow.tensors)})]
