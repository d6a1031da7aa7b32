"""Disguise: channels in another order hide a mark without changing what a network computes."""

from onnxnnw.verification.disguised import LEAST_SKETCHES, Disguise
from onnxnnw.verification.findings.base import Examination, Finding

__all__ = ["find"]


def find(examination: Examination) -> list[Finding]:
    """The network in disguise, or that it was not excluded."""
    disguise = examination.disguise
    if disguise is None:
        return []
    if disguise.likely:
        assert disguise.kept is not None
        return [
            Finding(
                "other channel order",
                "looks like the recorded network with its channels in another order: give --reference; "
                "channels added or removed were not looked through",
                {"sketches": disguise.kept, "agreeing": disguise.agreeing},
            )
        ]
    reasons = [] if disguise.excluded else [f"by channel order was not excluded: {_why(disguise)}"]
    if disguise.resized:
        reasons.append(
            "by added or removed channels was not excluded: weights of the recorded kinds are there in other sizes, "
            "which are looked through only with --reference"
        )
    if not reasons:
        return []
    kept = (
        {} if disguise.kept is None else {"sketches": disguise.kept, "near": disguise.near, "steady": disguise.steady}
    )
    sentence = "; ".join(f"a disguise {reason}" for reason in reasons)
    return [Finding("disguise not excluded", sentence, kept, version=3)]


def _why(disguise: Disguise) -> str:
    """Why sketches could not tell."""
    if disguise.kept is None:
        return "the record keeps no sketch of its weights"
    if disguise.kept < LEAST_SKETCHES:
        return "too few weights have a sketch that says anything"
    if disguise.resembles:
        return (
            f"{disguise.near} of the record's {disguise.kept} sketches are near, as in a copy in another order "
            "that was pruned, rounded or trained on besides: give --reference"
        )
    return "the mark itself changes most of the record's sketches, which are of the network before it"
