"""Channels in another order, rescaled, flipped, added or removed: what a reference network shows."""

import numpy as np

from onnxnnw.verification.findings.base import Examination, Finding, few, share

__all__ = ["find"]

_RESCALED = 0.02
"""Factors nearer to each other than this are rounding and training, not scales."""


def find(examination: Examination) -> list[Finding]:
    """What was done to the channels of recognised weights; nothing where no reference was used."""
    known = [
        (number, examination.orders[number]) for number, _ in examination.matched() if number in examination.orders
    ]
    slots = examination.record.slots
    moved: dict[str, dict[str, float | int | str]] = {}
    scaled: dict[str, dict[str, float | int | str]] = {}
    flipped: dict[str, dict[str, float | int | str]] = {}
    more: dict[str, dict[str, float | int | str]] = {}
    fewer: dict[str, dict[str, float | int | str]] = {}
    for number, order in known:
        name = slots[number].name
        lines = (order.rows, order.row_scales), (order.channels.reshape(-1), order.channel_scales.reshape(-1))
        ours = len(order.rows), order.channels.shape[1]
        theirs = order.candidate_shape[0], order.candidate_shape[1] // order.taps
        ascending = sum(int((np.diff(one[one >= 0]) < 0).sum()) for one, _ in lines)
        if ascending or (ours == theirs and order.reordered):
            moved[name] = {"descents": ascending, "score": round(order.score, 4)}
        spread = max(_spread(np.abs(factors[one >= 0])) for one, factors in lines)
        if spread > _RESCALED:
            scaled[name] = {"spread": round(spread, 4)}
        signs = sum(int((factors[one >= 0] < 0).sum()) for one, factors in lines)
        if signs:
            flipped[name] = {"channels": signs}
        added = (
            max(0, theirs[0] - int((order.rows >= 0).sum())),
            max(0, theirs[1] - int((order.channels[0] >= 0).sum())),
        )
        if any(added):
            more[name] = {"out": added[0], "in": added[1]}
        missing = int((order.rows < 0).sum()), int((order.channels[0] < 0).sum())
        if any(missing):
            fewer[name] = {"out": missing[0], "in": missing[1]}
    out = []
    for name, sentence, where in (
        ("channels in another order", "have their channels in another order than the reference", moved),
        ("channels rescaled", "have channels that are multiplied by factors of their own", scaled),
        ("channels flipped", "have channels of the opposite sign", flipped),
        ("channels added", "have channels that the reference has not", more),
        ("channels removed", "lack channels that the reference has", fewer),
    ):
        if where:
            out.append(
                Finding(name, f"{share(len(where), len(slots))} weights {sentence}", {"slots": len(where)}, few(where))
            )
    return out


def _spread(factors: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
    """How far factors differ from their middle, in the middle half of them."""
    if factors.size < 2:
        return 0.0
    ordered = np.sort(np.log(factors))
    return float(ordered[(3 * factors.size) // 4] - ordered[factors.size // 4])
