"""Parameters changed: biases, normalisations or slopes differ from those at enrolment."""

from onnxnnw.verification.findings.base import Examination, Finding

__all__ = ["find"]

_MIN_SHARE = 0.05


def find(examination: Examination) -> list[Finding]:
    """One finding if more than one in twenty of the parameters that were looked at changed."""
    share = examination.parameters_changed
    if share <= _MIN_SHARE or not examination.matched():
        return []
    sentence = (
        f"parameters changed: {share:.0%} of the biases, normalisations and slopes that were looked at are others"
    )
    return [Finding("parameters changed", sentence, {"share": round(share, 4)})]
