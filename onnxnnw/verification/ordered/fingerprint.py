"""A fingerprint in a reference's order: kernels unseen by the alignment, with shared structure removed.

An order that was found makes strangers alike: rows and columns of similar size and direction end up together. So on both sides the
means of rows and columns and the two leading singular components are removed, each fitted on kernels that hold no position of the
fingerprint; what is left of those that do was measured below .15 for strangers and above .95 for relatives. No p-value is claimed.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxnnw.alignment.balance import balanced
from onnxnnw.methods.base import Judgement, Reads, Standard
from onnxnnw.methods.effects import LINEAR_EFFECT, alike_without_hidden_units
from onnxnnw.records.positions import PositionPlan, plan_of
from onnxnnw.records.record import Record
from onnxnnw.standard.grids import SIGNIFICANCE
from onnxnnw.statistics import Association, correlations, standardise
from onnxnnw.verification.ordered.reference import Aligned

__all__ = ["MIN_EFFECT", "MIN_KERNELS", "MIN_SIDE", "MIN_SLOTS", "judge_fingerprint"]

Floats = NDArray[np.float64]

MIN_EFFECT, MIN_KERNELS, MIN_SLOTS, MIN_SIDE = 0.5, 50, 3, 16
"""What ``traced`` needs: effect, masked kernels, slots, and rows and channels of each of these."""

STRANGE_EFFECT = 0.25
"""Below this effect it is "not traced": strangers of one architecture reached .22 in 210 pairs."""

_COMPONENTS, _FITS, _POWER = 2, 4, 3


@dataclass(frozen=True)
class _Left:
    """The residuals at the positions of one slot, on both sides."""

    enrolled: Floats
    found: Floats
    kernels: int


def judge_fingerprint(record: Record, aligned: Aligned) -> Judgement:
    """What the fingerprint says of a candidate in the reference's order."""
    plan = plan_of(record)
    kept = record.array("values", plan.positions.size).astype(np.float64)
    raw = np.full(plan.positions.size, np.nan)
    left: dict[int, _Left] = {}
    for number in plan.numbers:
        if number not in aligned.orders:
            continue
        places, chosen = plan.of(number), plan.slots == number
        found = aligned.weights.values(number, places)
        assert found is not None
        raw[chosen] = found
        weight = aligned.reference[number]
        if min(weight.rows, weight.channels) >= MIN_SIDE:
            candidate = aligned.weights.array(number)
            assert candidate is not None
            left[number] = _left_over(record, plan, number, weight.read(), candidate, kept[chosen])
    effect = _effect(list(left.values()))
    without_one = [_effect([one for other, one in left.items() if other != number]) for number in left]
    kernels = sum(one.kernels for one in left.values())
    slots = sum(one.kernels > 0 for one in left.values())
    least = LINEAR_EFFECT if record.parameters.get("linear") else MIN_EFFECT
    differences = bool(record.parameters.get("ancestors"))
    enough = kernels >= MIN_KERNELS and slots >= MIN_SLOTS and not differences
    significant = bool(enough and effect >= least and min(without_one) >= least)
    reads = Reads(plan.slots, plan.positions, kept, raw)
    nominal = correlations(raw, kept)
    decision = "retrieved" if nominal.retrieved(SIGNIFICANCE) else "not retrieved"
    standard = Standard(
        nominal.retrieved(SIGNIFICANCE),
        {"spearman": nominal.spearman, "pearson": nominal.pearson, "log10_p": nominal.log10_p},
        f"{decision}: Spearman {nominal.spearman:.3f}, Pearson {nominal.pearson:.3f} (5 % decides), in an order that was fitted",
    )
    absent = sum(plan.of(number).size for number in plan.numbers if not aligned.weights.has(number))
    notes: tuple[str, ...] = ()
    if differences:
        notes = (
            "the fingerprint is judged by differences to an ancestor, which are not compared in a reference's order",
        )
    elif not enough:
        notes = (
            f"{kernels} kernels in {slots} weights could be compared in the reference's order: "
            f"{MIN_KERNELS} in {MIN_SLOTS} weights of at least {MIN_SIDE} rows and channels are needed",
        )
    doubtful = "" if significant or not enough else _more_than_strangers(record, effect, min(without_one))
    if doubtful:
        notes = (doubtful,)
    read = int(np.isfinite(raw).sum())
    count = plan.positions.size
    association = Association(0.0, effect, read)
    required = None if enough and not doubtful else count + 1
    return Judgement(
        association, significant, standard, reads, "positions", count, read, absent, None, 0, notes, required
    )


def _more_than_strangers(record: Record, effect: float, without_one: float) -> str:
    """Why an effect says neither yes nor no; empty where strangers may have it."""
    if effect < STRANGE_EFFECT:
        return ""
    return alike_without_hidden_units(record, effect, STRANGE_EFFECT) or (
        f"the fingerprint's effect in the reference's order is {effect:.2f}, and {without_one:.2f} without the weight that "
        f"says most: more than strangers have, and less than is asked for ({MIN_EFFECT:g} without any one weight)"
    )


def _effect(left: list[_Left]) -> float:
    """Correlation within slots, pooled."""
    if not left:
        return 0.0
    groups = np.repeat(np.arange(len(left)), [one.found.size for one in left])
    one = standardise(np.concatenate([each.enrolled for each in left]), groups)
    other = standardise(np.concatenate([each.found for each in left]), groups)
    power = float(one @ one) * float(other @ other)
    return float(one @ other) / float(np.sqrt(power)) if power > 0 else 0.0


def _left_over(
    record: Record, plan: PositionPlan, number: int, reference: NDArray[Any], candidate: NDArray[Any], kept: Floats
) -> _Left:
    """The residuals of one slot at its positions; values without counterpart are left out."""
    entry = record.slots[number]
    places = plan.of(number)
    cube = reference.reshape(len(reference), -1, entry.taps).astype(np.float32)
    scales = balanced(cube)
    unit = np.outer(scales.rows, np.repeat(scales.channels, entry.taps))
    row, column = np.divmod(places, entry.row_size)
    hidden = np.zeros(reference.shape, np.bool_)
    kernels = column // entry.taps * entry.taps
    hidden[row[:, None], kernels[:, None] + np.arange(entry.taps)] = True
    hidden |= ~np.isfinite(candidate)
    with np.errstate(all="ignore"):
        ours = np.asarray(reference / unit, np.float64)
        theirs = np.nan_to_num(np.asarray(candidate / unit, np.float64), nan=0.0, posinf=0.0, neginf=0.0)
        enrolled = kept / unit[row, column] - _structure(ours, hidden)[row, column]
        found = theirs[row, column] - _structure(theirs, hidden)[row, column]
    there = np.isfinite(candidate[row, column]) & np.isfinite(enrolled) & np.isfinite(found)
    count = len(set(zip(row[there].tolist(), kernels[there].tolist(), strict=True)))
    return _Left(enrolled[there], found[there], count)


def _structure(matrix: Floats, hidden: NDArray[np.bool_]) -> Floats:
    """Means of rows and columns and the leading singular components, fitted where nothing is hidden, for every element."""
    seen = ~hidden
    filled = np.where(seen, matrix, 0.0)
    in_rows, in_columns = np.maximum(seen.sum(1), 1), np.maximum(seen.sum(0), 1)
    rows, columns = np.zeros(len(matrix)), np.zeros(matrix.shape[1])
    for _ in range(_FITS):
        rows = np.where(seen, filled - columns, 0.0).sum(1) / in_rows
        columns = np.where(seen, filled - rows[:, None], 0.0).sum(0) / in_columns
    means: Floats = rows[:, None] + columns
    rest = np.where(seen, matrix - means, 0.0)
    model = np.zeros_like(rest)
    for _ in range(_FITS):  # what is hidden takes the value that the others give it
        model = _leading(np.where(seen, rest, model))
    return means + model


def _leading(matrix: Floats) -> Floats:
    """The leading singular components of a matrix, by subspace iteration from its largest rows."""
    largest = np.argsort(-np.einsum("ij,ij->i", matrix, matrix), kind="stable")[: 4 * _COMPONENTS]
    basis = np.linalg.qr(matrix[largest].T)[0]
    for _ in range(_POWER):
        basis = np.linalg.qr(matrix.T @ (matrix @ basis))[0]
    u, s, v = np.linalg.svd(matrix @ basis, full_matrices=False)
    out: Floats = (u[:, :_COMPONENTS] * s[:_COMPONENTS]) @ (v[:_COMPONENTS] @ basis.T)
    return out
