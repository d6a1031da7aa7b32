"""Operators differ: the candidate computes with other operators than the network did at enrolment."""

from collections import Counter

from onnxnnw.verification.findings.base import Examination, Finding

__all__ = ["find"]

_SHOWN = 8
_LISTED = 64


def find(examination: Examination) -> list[Finding]:
    """One finding that names added and removed operators, for networks whose weights were recognised."""
    kept = examination.record.account
    if kept is None or not examination.matched() or not examination.both_have_graphs:
        return []
    nodes = examination.view.possible
    now = Counter(f"{node.domain}.{node.op}".removeprefix(".")[:200] for node in nodes)
    before = Counter(kept["operators"])
    came, went = sorted(set(now) - set(before)), sorted(set(before) - set(now))
    if not came and not went:
        return []
    parts = [f"+ {', '.join(came[:_SHOWN])}"] * bool(came) + [f"- {', '.join(went[:_SHOWN])}"] * bool(went)
    evidence: dict[str, float | int | str] = {"came": len(came), "went": len(went)}
    evidence |= {"added": ",".join(came[:_LISTED]), "removed": ",".join(went[:_LISTED])}
    return [Finding("operators differ", f"operators differ: {' '.join(parts)}", evidence)]
