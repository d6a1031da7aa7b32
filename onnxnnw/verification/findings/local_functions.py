"""Local functions: operators that the candidate defines itself."""

from onnxnnw.verification.findings.base import Examination, Finding

__all__ = ["find"]

_SHOWN, _LENGTH = 4, 80


def find(examination: Examination) -> list[Finding]:
    """Local functions that are called and were read as the file defines them."""
    calls = examination.view.flow.calls
    if not calls:
        return []
    names = [f"{domain}::{name}"[:_LENGTH] for domain, name in calls[:_SHOWN]]
    shown = ", ".join([*names, "…"] if len(calls) > _SHOWN else names)
    sentence = f"local functions ({shown}): a runtime with its own operator of that name runs that instead"
    return [Finding("local functions", sentence, {"functions": len(calls)})]
