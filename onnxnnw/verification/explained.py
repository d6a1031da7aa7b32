"""The share of a candidate that a record explains: estimated from a sample, with its lower confidence limit.

A slot is explained as far as what was looked at in it agrees within the slot's own noise: anchors, samples, and the positions of a
fingerprint. Values that were replaced lie outside that noise. Parameters are explained as far as those that the record looked at
are there; what stands beyond their number at enrolment is not. What is not understood or doubtful and not recognised is not
explained, whatever it is.

The share that is printed is the lower 95 % limit of the estimate (Clopper and Pearson, over the effective number of reads of the
stratified sample); docs/reference/statistics.md calibrates it.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from onnxnnw.accounting.account import GROWTH, Account
from onnxnnw.candidate import Anchors, CanonicalWeights, StoredWeights
from onnxnnw.graph.slot import Slot
from onnxnnw.matching.match import Match
from onnxnnw.matching.parameter_reads import ParameterReads
from onnxnnw.methods.base import Reads
from onnxnnw.records.record import Record
from onnxnnw.verification.units import leveled

__all__ = ["Explained", "Stratum", "agreeing", "explain", "lower_limit", "strata_of"]

Floats = NDArray[np.float64]

CONFIDENCE = 0.95
_NORMAL_QUARTER = 0.31863936396437514  # a quarter of all normal numbers are smaller than that
_NOISE = 6.0
_RELATIVE = 1 / 64
_ROTATIONS = 7
_TELLS_NOTHING = 0.95
"""Where noise is so large that nearly everything agrees by luck, nothing is explained: noise of S = .75 and above."""

_MIN_READS, _FAR = 32, 6.0
_OLD_SHARE = 0.02


@dataclass(frozen=True)
class Explained:
    """The part of a candidate that a record explains.

    Attributes:
        share: Lower 95 % limit of the share of all that has to be explained.
        estimate: The share itself, as far as a sample can tell.
        looked_at: Numbers that were looked at.
        disagree: Those of them that are others.
        total: Elements (bytes of what is not read) that have to be explained.
        unexplained: Elements that are not, as estimated.
        parts: The same by what they are: weights, parameters, not understood, doubtful, given.
        parameters_changed: Share of the parameters looked at that are others.
    """

    share: float
    estimate: float
    looked_at: int
    disagree: int
    total: int
    unexplained: int
    parts: Mapping[str, int] = field(default_factory=dict)
    parameters_changed: float = 0.0


@dataclass(frozen=True)
class Stratum:
    """Elements of which some were looked at."""

    elements: float
    agree: int
    reads: int
    luck: float

    @property
    def share(self) -> float:
        return (
            max(0.0, (self.agree / self.reads - self.luck) / (1 - self.luck)) if self.reads and self.luck < 1 else 0.0
        )


def agreeing(enrolled: Floats, found: Floats, spread: float) -> tuple[int, int, float]:
    """Count the numbers that agree within their own noise, of how many, and the share expected by chance.

    The noise is taken from the quarter that moved least, so that what was replaced does not count as noise. Numbers that became
    zero hold nothing, and are left out.

    Args:
        enrolled, found: What was kept, and what is there; NaN is no agreement.
        spread: Standard deviation of what the numbers were drawn from.
    """
    if enrolled.size and np.array_equal(enrolled, found):
        return enrolled.size, enrolled.size, 0.0
    kept = ~((found == 0) & (enrolled != 0))
    if not kept.any():  # nothing is left, so nothing is hidden there either
        return 0, 0, 0.0
    enrolled, found = enrolled[kept], found[kept]
    with np.errstate(all="ignore"):
        off = np.abs(found - enrolled)
        off = np.where(np.isnan(off), np.inf, off)
        finite = off[np.isfinite(off)]
        quarter = float(np.sort(finite)[finite.size // 4]) if finite.size else np.inf
        allowed = _NOISE * quarter / _NORMAL_QUARTER + 1e-5 * spread + _RELATIVE * np.abs(enrolled)
        agree = off <= allowed
        by_luck = 0.0
        if agree.all() and (off <= _RELATIVE * np.abs(enrolled) + 1e-5 * spread).all():
            return int(agree.sum()), int(agree.size), 0.0
        turns = min(_ROTATIONS, enrolled.size - 1)
        if turns > 0:
            twice = np.concatenate([found, found])
            rolled = np.stack([twice[found.size - k : 2 * found.size - k] for k in range(1, turns + 1)])
            by_luck = float((np.abs(rolled - enrolled) <= allowed).mean(axis=1).mean())
    if by_luck > _TELLS_NOTHING:
        return 0, int(agree.size), 0.0
    return int(agree.sum()), int(agree.size), by_luck


def lower_limit(agree: float, reads: float, confidence: float = CONFIDENCE) -> float:
    """The share that is exceeded with this confidence, after so many of so many agreed [Clopper and Pearson 1934].

    By bisection of the binomial tail in logarithms: numbers need not be whole, since strata of other sizes were pooled.
    """
    if reads <= 0 or agree <= 0:
        return 0.0
    if agree >= reads:
        return float((1 - confidence) ** (1 / reads))
    low, high = 0.0, agree / reads
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if _tail(agree, reads, middle) < 1 - confidence else (low, middle)
    return low


def _tail(agree: float, reads: float, share: float) -> float:
    """Probability of so many and more: a regularised incomplete beta function, by its continued fraction [DLMF 8.17.22]."""
    a, b, x = agree, reads - agree + 1, share
    if not 0 < x < 1:
        return float(x >= 1)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x))
    if x > (a + 1) / (a + b + 2):
        return 1 - front * _fraction(b, a, 1 - x) / b
    return front * _fraction(a, b, x) / a


def _fraction(a: float, b: float, x: float) -> float:
    c, d = 1.0, 1 - (a + b) * x / (a + 1)
    d = 1 / (d or 1e-300)
    out = d
    for m in range(1, 300):
        for number in (m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
                       -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))):  # fmt: skip
            d = 1 / (1 + number * d or 1e-300)
            c = 1 + number / c or 1e-300
            out *= c * d
        if abs(c * d - 1) < 1e-12:
            break
    return out


def explain(
    record: Record,
    account: Account,
    slots: Sequence[Stratum],
    parameters: ParameterReads | None,
    doubtful: Sequence[Match] = (),
    copies: Sequence[tuple[Slot, float]] = (),
) -> Explained:
    """How much of a candidate a record explains.

    Args:
        record: The record.
        account: What is stored in the candidate.
        slots: The candidate's weights as the record's slots; see ``strata_of``.
        parameters: What was found of its parameters; None for older records.
        doubtful: Doubtful slots that agree.
        copies: Further slots that hold what an explained one holds, with the share of their reads that agree.
    """
    strata = list(slots)
    explained = sum(stratum.elements * stratum.share for stratum in strata)
    found = sum(stratum.elements for stratum in strata)
    for slot, share in copies:
        explained += slot.covered * share
        found += slot.covered
    weight_elements = max(account.weight, round(found))
    numbers, changed = _parameters(record, account, parameters, bool(strata))
    strata += numbers
    known = sum(stratum.elements * stratum.share for stratum in numbers)
    hidden = account.not_understood + account.given
    doubt = max(0, account.doubtful - sum(match.slot.covered for match in doubtful))
    structural = _excess(record, account)
    total = weight_elements + account.parameter + hidden + account.doubtful + structural
    parts = {
        "weights": round(weight_elements - explained),
        "parameters": round(account.parameter - known),
        "not understood": hidden + structural,
        "doubtful": doubt,
    }
    sure = explained + known + account.doubtful - doubt
    estimate = min(1.0, sure / total) if total else 0.0
    return Explained(
        share=estimate * _limit(strata),
        estimate=estimate,
        looked_at=sum(stratum.reads for stratum in strata),
        disagree=sum(stratum.reads - stratum.agree for stratum in strata),
        total=total,
        unexplained=max(0, sum(parts.values())),
        parts=parts,
        parameters_changed=changed,
    )


def _limit(strata: Sequence[Stratum]) -> float:
    """The lower limit of what the strata explain, as a share of its estimate."""
    used = [stratum for stratum in strata if stratum.reads and stratum.agree]
    explained = sum(stratum.elements * stratum.share for stratum in used)
    weight = sum(stratum.elements for stratum in used)
    if explained <= 0:
        return 1.0
    freedom = weight**2 / sum(s.elements**2 / (s.reads * (1 - s.luck) ** 2) for s in used)
    raw = sum(s.elements * s.agree / s.reads for s in used) / weight
    luck = sum(s.elements * s.luck for s in used) / weight
    lowest = max(0.0, (lower_limit(raw * freedom, freedom) - luck) / (1 - luck))
    return min(1.0, lowest * weight / explained)


def strata_of(record: Record, anchors: Anchors, weights: StoredWeights, reads: Reads | None) -> list[Stratum]:
    """The candidate's weights as the record's slots, each with what was looked at in it, among it a fingerprint's positions."""
    out = []
    deviations = anchors.record.arrays.get("deviations")
    for number, match in enumerate(weights.matches):
        if match is None:
            continue
        places, enrolled, scales = anchors.looked_at(number)
        found = weights.values(number, places)
        if found is None or not places.size:
            continue
        found = found.astype(np.float32).astype(np.float64)
        spread = (
            float(deviations[number]) if deviations is not None and deviations.size > number else float(enrolled.std())
        )
        before, now = enrolled, found
        if reads is not None:
            chosen = reads.slots == number
            before = np.concatenate([enrolled, reads.enrolled[chosen]])
            now = np.concatenate([found, reads.found[chosen]])
        agree, count, luck = agreeing(before, now, spread)
        for other in _other_units(record, weights, number, places, enrolled, found, scales) if agree < count else ():
            again = agreeing(enrolled, other, spread)
            if _better(again, (agree, count, luck)):
                agree, count, luck = again
        if not match.agrees and not _recognised(agree, count, luck):
            continue
        if not count:  # all zero now: nothing is left to explain
            out.append(Stratum(match.slot.covered, 1, 1, 0.0))
        else:
            out.append(Stratum(match.slot.covered, agree, count, luck))
    return out


def _recognised(agree: int, reads: int, luck: float) -> bool:
    """Whether far more agrees than by chance, where the anchors do not tell, as after replacing half of a slot."""
    return reads >= _MIN_READS and agree - luck * reads > _FAR * math.sqrt(max(1.0, luck * (1 - luck) * reads)) + 2


def _other_units(
    record: Record,
    weights: StoredWeights,
    number: int,
    places: NDArray[np.int64],
    enrolled: Floats,
    found: Floats,
    scales: Floats | None,
) -> Iterator[Floats]:
    """What was found in other units: where a whole slot, or each of its rows, was multiplied, or its integers have no scale."""
    with np.errstate(all="ignore"):
        ratios = found / enrolled
        ratios = ratios[np.isfinite(ratios) & (ratios != 0)]
        if ratios.size:
            yield found / np.median(ratios)
        match = weights.matches[number]
        if match is None:
            return
        yield leveled(match, enrolled, found)
        if scales is None:
            return
        canonical = (
            weights
            if isinstance(weights, CanonicalWeights)
            else CanonicalWeights(weights.matches, weights.live, weights.folds)
        )
        own, values = canonical.row_scales(number), canonical.values(number, places)
        if own is not None and values is not None:
            yield values * scales / own[places // record.slots[number].row_size]


def _better(one: tuple[int, int, float], other: tuple[int, int, float]) -> bool:
    """Whether one explains more for sure: where nearly all agree by chance, all of them agreeing says little."""
    first, second = Stratum(1, *one), Stratum(1, *other)
    return first.share * _limit([first]) > second.share * _limit([second])


def _parameters(
    record: Record, account: Account, parameters: ParameterReads | None, any_slot: bool
) -> tuple[list[Stratum], float]:
    """The candidate's parameters as a stratum; and the share of those looked at that are others."""
    if not account.parameter or not any_slot:
        return [], 0.0
    if parameters is None or record.account is None:  # an older record: few parameters go with their weights
        allowed = min(account.parameter, _OLD_SHARE * max(account.weight, 1))
        return [Stratum(allowed, 1, 1, 0.0)], 0.0
    kept = int(record.account["amounts"].get("parameter", 0))
    count = int(parameters.enrolled.size)
    if not count:
        allowed = min(account.parameter, GROWTH * kept)
        return [Stratum(allowed, 1, 1, 0.0)], 0.0
    allowed = min(account.parameter, GROWTH * kept + parameters.folded_away)
    if np.array_equal(parameters.enrolled, parameters.found):
        return [Stratum(allowed, count, count, 0.0)], 0.0
    agree = 0
    luck = []
    for number in sorted(set(parameters.vectors.tolist())):
        chosen = parameters.vectors == number
        if number in parameters.gone:
            agree += int(chosen.sum())
            continue
        enrolled, found = parameters.enrolled[chosen], parameters.found[chosen]
        spread = float(np.abs(enrolled - np.median(enrolled)).mean())
        one, all_of_them, by_luck = agreeing(enrolled, found, spread)
        if all_of_them and (by_luck < 0.9 or one == 0):
            agree += one + int(chosen.sum()) - all_of_them
            luck.append(by_luck * all_of_them)
        elif not all_of_them:
            agree += int(chosen.sum())
    by_luck = min(0.9, sum(luck) / count)
    stratum = Stratum(allowed, agree, count, by_luck)
    return [stratum], 1 - stratum.share


def _excess(record: Record, account: Account) -> int:
    """Structural elements beyond what a network of this kind had."""
    if record.account is None:
        return max(0, account.structural - round(_OLD_SHARE * max(account.weight, 1)) - 4096)
    kept = int(record.account["amounts"].get("structural", 0))
    return max(0, account.structural - round(GROWTH * kept) - max(256, (account.weight + account.parameter) // 1000))
