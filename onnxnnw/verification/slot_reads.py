"""Changes of a slot's values: equal, recomputed, zeroed, rescaled or shifted; and the distribution of the shifts."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxnnw.matching.match import Match
from onnxnnw.verification.units import (
    MIN_LATTICE,
    lattice_levels,
    spaced,
)

__all__ = ["ROUNDING", "SMALLEST", "Shape", "SlotReads", "shape_of"]

Floats = NDArray[np.float64]

ROUNDING = 5e-7
"""Values that differ by less, relative to themselves and their layer, were computed anew and not changed."""

SMALLEST = 2e-5
"""Changes below this share of a layer's deviation may be rounding to single precision, whatever is said of them."""

_FREE, _STEADY, _COSINE = 2.0, 0.02, 0.8
_WITHIN, _BETWEEN, _PAIRS = 0.01, 0.05, 6
_STEPS, _CLEARLY = 0.9, 4.0
_MULTIPLIED = 2.0**-8
"""Spread of log-ratios from which on values are called multiplied: rounding to sixteen bits leaves a third of it at most."""
_MIN_READS = 8
_ROUNDING = 2.0
"""What was up to so many times half a step may have been rounded to zero: steps of channels differ."""
_NEXT, _CHANCE = 1.5, 4.0
"""Up to so many times the least magnitude of a channel values lie next to zero; standard errors of a difference of counts."""
_LINE, _FEW_LEVELS = 4096, 2**10


@dataclass(frozen=True)
class SlotReads:
    """What was read in one slot whose content was recognised; finite values only.

    Attributes:
        name: Of the record's slot.
        match: Its counterpart.
        enrolled, found: The Original Traceability Data, and what is there now.
        rows, columns: Out-row and place in the row of each read.
        deviation: Standard deviation of the slot at enrolment.
        folded: Whether what multiplied the rows downstream at enrolment is part of the values now.
    """

    name: str
    match: Match
    enrolled: Floats
    found: Floats
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    deviation: float
    folded: bool = False

    @cached_property
    def factor(self) -> float:
        """By what the whole slot is multiplied: where the ratio hardly varies, or is beyond 1/2 … 2; else 1."""
        ratios = self.ratios
        if not ratios.size or (ratios == 1).all():  # untouched, as a rule: np.median would import numpy.ma
            return 1.0
        middle = float(np.median(ratios))
        low, high = np.quantile(ratios, (0.25, 0.75))
        if middle > 0 and high - low <= _STEADY * middle and abs(middle - 1) > _STEADY:
            return middle
        with np.errstate(all="ignore"):
            power, product = float(self.enrolled @ self.enrolled), float(self.enrolled @ self.found)
            mean = product / power if power > 0 else 0.0
            cosine = product / math.sqrt(power * float(self.found @ self.found) or 1.0)
        free = mean > 0 and math.isfinite(mean) and not 1 / _FREE < mean < _FREE
        return mean if free and cosine > _COSINE else 1.0

    @cached_property
    def ratios(self) -> Floats:
        """Ratios of found to enrolled values, where both are non-zero."""
        usable = (self.found != 0) & (self.enrolled != 0)
        with np.errstate(all="ignore"):
            out: Floats = self.found[usable] / self.enrolled[usable]
        return out[np.isfinite(out)]

    @cached_property
    def same(self) -> NDArray[np.bool_]:
        """Reads that hold what was enrolled, up to the last bits of a computation."""
        allowed = ROUNDING * (np.abs(self.enrolled) + self.deviation)
        out: NDArray[np.bool_] = np.abs(self.found / self.factor - self.enrolled) <= allowed
        return out

    @cached_property
    def levels(self) -> int:
        """Number of levels of the quantisation grid of the reads; 0 where there is none, or too few reads to tell."""
        if self.found.size < MIN_LATTICE or self.same.all():
            return 0
        distinct = int(np.unique(self.found).size)
        levels = lattice_levels(self.found)
        return levels if distinct >= MIN_LATTICE or levels <= 4 * distinct else 0

    @cached_property
    def channel_levels(self) -> int:
        """Number of levels of per-channel quantisation grids; 0 where there are none."""
        if self.same.all() or self.levels:
            return 0
        most = 0
        for lines in self._lines():
            read = [lines[k].reshape(-1)[:_LINE].astype(np.float64) for k in spaced(len(lines))]
            found = [lattice_levels(line) for line in read if np.unique(line).size >= MIN_LATTICE // 2]
            if len(found) >= 2 and 4 * sum(level > 0 for level in found) >= 3 * len(found):
                most = max(most, *found)
        return most if most <= _FEW_LEVELS else 0

    def _lines(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """All values by out-row, and by input channel: views, of which the second has out-rows and taps."""
        array = self.match.slot.array()
        kernel = math.prod(self.match.slot.shape[2:]) if len(self.match.slot.shape) > 2 else 1
        inputs = array.reshape(len(array), -1, kernel) if array.shape[1] % kernel == 0 else array[:, :, None]
        return array, inputs.transpose(1, 0, 2)

    @cached_property
    def zeroed(self) -> NDArray[np.bool_]:
        """Reads that became zero although rounding does not explain it.

        Rounding to steps, of whatever size in each channel, moves what it does not make zero by up to the same half of a step.
        """
        out: NDArray[np.bool_] = (self.found == 0) & (self.enrolled != 0)
        if not out.any() or self.more_zeros_than_rounding_leaves:
            return out
        kept = ~out & (self.enrolled != 0)
        with np.errstate(all="ignore"):
            moves = np.abs(self.found[kept] / self.factor - self.enrolled[kept])
        part = 1.0 if self.channel_levels else _STEPS  # in channels of their own, the largest step counts
        few = moves.size < _MIN_READS  # of few the largest may be far below half of a step
        step = 2 * float(moves.max(initial=0.0)) if few else float(np.quantile(moves, part))
        lattice = float(np.ptp(self.found)) / (self.levels - 1) / 2 if self.levels > 1 else 0.0
        real = out & (np.abs(self.enrolled) > _ROUNDING * max(step, lattice))
        share = float(real[out].mean())
        return out if share > 0.5 else real & (share > 0.1)

    @cached_property
    def more_zeros_than_rounding_leaves(self) -> bool:
        """Whether the slot, which lies on no lattice that shows, has so many zeros that rounding to fine steps made few of them.

        Rounding makes zero what lies within half a step: half as many values as it moves to the levels next to zero. Pruning the
        smallest leaves twice as many zeros as values up to half above the least that is kept, and pruning any more than that,
        also where noise moved the values before by more than they are large. Steps may be those of rows, input channels or columns.
        """
        if self.levels or self.channel_levels:
            return False
        enrolled_zeros, lines = float((self.enrolled == 0).mean()), self._lines()
        return all(_zeros_stand_out(one.reshape(len(one), -1), enrolled_zeros) for one in (*lines, lines[0].T))

    @cached_property
    def likeness(self) -> float:
        """Correlation of what was found with what was enrolled."""
        with np.errstate(all="ignore"):
            left, right = self.found - self.found.mean(), self.enrolled - self.enrolled.mean()
            power = float(left @ left) * float(right @ right)
            out = float(left @ right) / math.sqrt(power) if power > 0 else 0.0
        return out if math.isfinite(out) else 0.0

    @cached_property
    def multiplied(self) -> bool:
        """Whether values were rescaled by positive factors, possibly another one for each value.

        What is added to a value is not proportional to it: small values change their sign or grow many times. Two normal models are
        held against each other, of differences and of log-ratios; the density of the latter is that of the value divided by it.
        """
        changed = ~self.same & (self.enrolled != 0)
        found, enrolled = self.found[changed], self.enrolled[changed]
        if found.size < _MIN_READS or (found * enrolled <= 0).any():
            return False
        with np.errstate(all="ignore"):
            logs, moves = np.log(found / enrolled), found - enrolled
            spread = float(np.sqrt(np.mean((logs - np.median(logs)) ** 2)))
            added = -found.size * math.log(float(np.sqrt(np.mean(moves**2))) or 1e-300)
            times = -found.size * math.log(max(spread, 1e-9)) - float(np.log(np.abs(found)).sum())
        return spread > _MULTIPLIED and times - added > _CLEARLY

    @cached_property
    def moved(self) -> Floats:
        """Differences of the changed, non-zero values, in units of the slot's deviation."""
        chosen = ~self.same & ~self.zeroed
        if self.deviation <= 0:
            return np.empty(0)
        with np.errstate(all="ignore"):
            out: Floats = (self.found[chosen] / self.factor - self.enrolled[chosen]) / self.deviation
        return out[np.isfinite(out) & (np.abs(out) < 1e150)]

    @cached_property
    def channels(self) -> Mapping[str, float]:
        """``out`` or ``in`` -> the typical difference of log-factors, where each such channel has a factor of its own."""
        if self.same.all():
            return {}
        shape = self.match.slot.shape
        kernel = math.prod(shape[2:]) if len(shape) > 2 else 1
        spreads = {"out": self._spread(self.rows), "in": self._spread(self.columns // max(1, kernel))}
        return {axis: spread for axis, spread in spreads.items() if spread}

    def _spread(self, groups: NDArray[np.int64]) -> float:
        """Median deviation of log-ratios where they hardly vary within groups of two reads and more; else 0."""
        usable = (self.found * self.enrolled > 0) & (np.abs(self.enrolled) > 0.05 * self.deviation)
        logs, groups = np.log(self.found[usable] / self.enrolled[usable]), groups[usable]
        _, inverse, counts = np.unique(groups, return_inverse=True, return_counts=True)
        if (counts - 1).sum() < _PAIRS or usable.sum() < 0.8 * usable.size:
            return 0.0
        off = np.abs(logs - (np.bincount(inverse, logs) / counts)[inverse])[counts[inverse] > 1]
        between = float(np.median(np.abs(logs - np.median(logs))))
        return between if np.quantile(off, 0.9) < _WITHIN and between > _BETWEEN else 0.0

    @property
    def input_channels(self) -> NDArray[np.int64]:
        """Input channel of each read: all taps of a kernel have one."""
        shape = self.match.slot.shape
        return self.columns // max(1, math.prod(shape[2:]) if len(shape) > 2 else 1)

    @property
    def reduced_precision(self) -> bool:
        """Whether the type in which the slot is stored now explains a change by itself."""
        return self.match.slot.tensor.type_name not in ("float", "double")


@dataclass(frozen=True)
class Shape:
    """How changes are distributed.

    Attributes:
        reads: How many there are.
        size: Root mean square, in units of each layer's deviation.
        sizes: The same per slot, for slots of 8 reads and more.
        bartlett_z: z of the hypothesis that it is the same in every slot (Bartlett's test).
        geary_z: z of the hypothesis that they are Gaussian within slots: negative for heavy tails, positive for flat
            distributions (Geary's test: mean over root mean square is sqrt(2 / pi)).
    """

    reads: int
    size: float
    sizes: Mapping[str, float]
    bartlett_z: float
    geary_z: float


_NORMAL, _NORMAL_DEVIATION = math.sqrt(2 / math.pi), math.sqrt(1 - 3 / math.pi)


def _zeros_stand_out(values: NDArray[Any], enrolled_zeros: float) -> bool:
    """Whether more is zero than lies next to zero, by more than chance; lines of zeros alone say nothing.

    Args:
        values: One line for each channel.
        enrolled_zeros: Share of the values that were zero at enrolment.
    """
    sizes = np.abs(values)
    with np.errstate(all="ignore"):
        least = np.min(sizes, axis=1, where=sizes > 0, initial=np.inf)
        sizes, least = sizes[np.isfinite(least)], least[np.isfinite(least), None]
        near = int(((sizes > 0) & (sizes <= _NEXT * least)).sum())
    zeros = int((sizes == 0).sum()) - enrolled_zeros * sizes.size
    return bool(zeros > near + _CHANCE * math.sqrt(max(0.0, zeros) + near))


def shape_of(slots: Sequence[SlotReads]) -> Shape:
    """How the changes in some slots are distributed."""
    moved = {one.name: one.moved for one in slots if one.moved.size}
    together = np.concatenate([*moved.values(), np.empty(0)])
    large = {name: values for name, values in moved.items() if values.size >= _MIN_READS and values.any()}
    sizes = {name: float(np.sqrt(np.mean(values**2))) for name, values in large.items()}
    size = float(np.sqrt(np.mean(together**2))) if together.size else 0.0
    standard = np.concatenate([*(values / sizes[name] for name, values in large.items()), np.empty(0)])
    if standard.size < _MIN_READS:
        return Shape(together.size, size, sizes, 0.0, 0.0)
    geary = float(np.abs(standard).mean())
    geary_z = (geary - _NORMAL) / _NORMAL_DEVIATION * math.sqrt(standard.size)
    kurtosis = float(np.mean(standard**4)) - 3
    return Shape(together.size, size, sizes, _bartlett(large, sizes, kurtosis), geary_z)


def _bartlett(values: Mapping[str, Floats], sizes: Mapping[str, float], kurtosis: float) -> float:
    """z of equal variances; heavy tails are allowed for [Box 1953], chi-square made normal [Wilson, Hilferty 1931]."""
    counts = np.array([one.size for one in values.values()], np.float64)
    variances = np.array(list(sizes.values())) ** 2
    freedom = len(counts) - 1
    if freedom < 1:
        return 0.0
    pooled = float(counts @ variances) / counts.sum()
    likelihood = float(counts @ np.log(pooled / variances))
    likelihood /= 1 + (float((1 / counts).sum()) - 1 / counts.sum()) / (3 * freedom)
    likelihood /= max(1 + kurtosis / 2, 0.2)
    spread = 2 / (9 * freedom)
    root = math.cbrt(max(likelihood, 0.0) / freedom)
    return (root - (1 - spread)) / math.sqrt(spread)
