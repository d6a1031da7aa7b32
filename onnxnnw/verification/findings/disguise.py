"""Disguise: channels in another order hide a mark without changing what a network computes."""

from onnxnnw.verification.disguised import LEAST_SKETCHES
from onnxnnw.verification.findings.base import Examination, Finding

__all__ = ["find"]


def find(examination: Examination) -> list[Finding]:
    """The network in disguise, or that it was not excluded."""
    disguise = examination.disguise
    if disguise is None or disguise.excluded:
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
    if disguise.kept is None:
        reason = "the record keeps no sketch of its weights"
    elif disguise.kept < LEAST_SKETCHES:
        reason = "too few weights have a sketch that says anything"
    else:
        reason = "the mark itself changes most of the record's sketches, which are of the network before it"
    kept = {} if disguise.kept is None else {"sketches": disguise.kept, "steady": disguise.steady}
    return [Finding("disguise not excluded", f"a disguise by channel order was not excluded: {reason}", kept)]
