"""Figures: functions that take ``ax`` and data and return ``ax``; nothing is saved here.

Colours are those of Okabe and Ito, which colour-blind readers can tell apart; every series differs in its marker too.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from onnxnnw.report.counts import Mean
from onnxnnw.standard.grids import SHARED_LEVEL, SIGNIFICANCE

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

__all__ = [
    "COLOURS",
    "GRID",
    "INK",
    "Curve",
    "Point",
    "frontier",
    "imperceptibility_against_robustness",
    "null_distribution",
    "robustness",
    "scaling",
    "sharing",
    "spearman_threshold",
    "unicity",
]

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a5195", "#8c6d31")
INK, GRID = "#1b1b1f", "#d9d9de"
_MARKERS = "osD^vPX*"


@dataclass(frozen=True)
class Curve:
    """What a setting gave, and what is published for it, by the modification's parameter."""

    name: str
    measured: Mapping[float, Mean]
    published: Mapping[float, float]


@dataclass(frozen=True)
class Point:
    """A setting in the trade between impact and robustness; ``found`` is a share."""

    name: str
    impact: float
    found: float


def robustness(ax: "Axes", curves: Sequence[Curve], values: Sequence[float], parameter: str, quantity: str) -> "Axes":
    """Measured means with their limits, published figures dashed; the grid's values stand at equal distances."""
    places = {value: place for place, value in enumerate(values)}
    for number, curve in enumerate(curves):
        colour, marker = COLOURS[number % len(COLOURS)], _MARKERS[number % len(_MARKERS)]
        means = [(places[value], mean) for value, mean in sorted(curve.measured.items(), key=lambda i: places[i[0]])]
        limits = [(float(x), m.low, m.high) for x, m in means if m.low is not None and m.high is not None]
        if limits:
            x, low, high = ([limit[part] for limit in limits] for part in range(3))
            ax.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0)
        if means:
            x, y = [x for x, _ in means], [m.value for _, m in means]
            ax.plot(x, y, color=colour, marker=marker, markersize=4.5, linewidth=1.6, label=curve.name)
        printed = sorted((places[value], y) for value, y in curve.published.items() if value in places)
        if printed:
            name = f"{curve.name}, published"
            ax.plot(
                *zip(*printed, strict=True),
                color=colour,
                marker=marker,
                markersize=4.5,
                linewidth=1.1,
                linestyle=(0, (3, 2)),
                markerfacecolor="none",
                label=name,
            )
    ax.set_xticks(range(len(values)), [f"{value:g}" for value in values])
    ax.set_xlabel(parameter)
    ax.set_ylabel(quantity)
    return _plain(ax)


def spearman_threshold(N: int) -> float:
    """The correlation above which Spearman's test of N pairs is significant at 5 %, two-sided [NNW-TEC 3]."""
    from scipy.stats import t

    quantile = float(t.ppf(1 - SIGNIFICANCE / 2, N - 2))
    return quantile / math.sqrt(N - 2 + quantile**2)


def sharing(ax: "Axes", marks: Mapping[str, Mapping[float, float]], N: int) -> "Axes":
    """Figure 4: a mark's correlation against the share of its Weights that another mark replaced.

    The threshold is the one that belongs to N; the 0.018 that the standard draws fits no N that it names.
    """
    for number, (name, points) in enumerate(marks.items()):
        x = sorted(points)
        colour, marker = COLOURS[number % len(COLOURS)], _MARKERS[number % len(_MARKERS)]
        y = [points[share] for share in x]
        ax.plot([100 * share for share in x], y, color=colour, marker=marker, markersize=4, linewidth=1.5, label=name)
    if N > 3:
        level = spearman_threshold(N)
        ax.axhline(level, color=INK, linewidth=1.2, label=f"5 % significance, N = {N}: {level:.3f}")
    ax.axhline(
        SHARED_LEVEL, color=INK, linewidth=1.1, linestyle=":", label=f"{SHARED_LEVEL} as published (a contradiction)"
    )
    ax.set_xlabel("Weights replaced by another mark, %")
    ax.set_ylabel("Spearman's correlation")
    return _plain(ax)


def scaling(ax: "Axes", insertion: Mapping[int, Mean], detection: Mapping[int, Mean]) -> "Axes":
    """Figure 5: seconds against N, with a line that grows as N log N through the last detection."""
    for number, (name, means) in enumerate((("insertion", insertion), ("detection", detection))):
        x = sorted(means)
        colour, marker = COLOURS[number], _MARKERS[number]
        y = [1000 * means[N].value for N in x]
        ax.plot(x, y, color=colour, marker=marker, markersize=4.5, linewidth=1.6, label=name)
    x = [N for N in sorted(detection) if N > 1]
    if x:
        last = 1000 * detection[x[-1]].value / (x[-1] * math.log(x[-1]))
        guide = [last * N * math.log(N) for N in x]
        ax.plot(x, guide, color=INK, linewidth=1.0, linestyle=":", label="N log N")
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.set_xticks(x or [], [f"{N:,}" for N in x])
    ax.set_xlabel("N, Weights in the mark")
    ax.set_ylabel("milliseconds")
    return _plain(ax)


def null_distribution(ax: "Axes", log10_p: Mapping[str, Sequence[float]]) -> "Axes":
    """p-values of trials without the mark against what uniform ones would be, both as -log10; above the line is too small."""
    import numpy as np
    from scipy.stats import beta

    largest = max((len(values) for values in log10_p.values()), default=0)
    if largest:
        ranks = _thinned(largest)
        expected = -np.log10((ranks - 0.5) / largest)
        low, high = (-np.log10(beta.ppf(q, ranks, largest - ranks + 1)) for q in (0.975, 0.025))
        ax.fill_between(expected, low, high, color=INK, alpha=0.1, linewidth=0, label="95 % of uniform values")
        ax.plot(expected[[0, -1]], expected[[0, -1]], color=INK, linewidth=1.0)
    for number, (name, values) in enumerate(log10_p.items()):
        ranks = _thinned(len(values))
        observed = -np.sort(np.asarray(values, float))[ranks - 1]
        ax.plot(
            -np.log10((ranks - 0.5) / len(values)),
            observed,
            color=COLOURS[number % len(COLOURS)],
            marker=_MARKERS[number % len(_MARKERS)],
            markersize=3.5,
            linewidth=0.8,
            label=f"{name}, {len(values):,}",
        )
    ax.set_xlabel("expected −log10 p")
    ax.set_ylabel("observed −log10 p")
    return _plain(ax)


def unicity(
    ax: "Axes", log10_p: Sequence[Sequence[float | None]], records: Sequence[str], networks: Sequence[str]
) -> "Axes":
    """−log10 p of every record in every network: bright only where the network is the recorded one."""
    import numpy as np

    strength = np.array([[np.nan if p is None else max(0.0, -p) for p in row] for row in log10_p], float)
    if not strength.size:
        return ax
    top = float(np.nan_to_num(strength).max(initial=1.0))
    ax.pcolormesh(strength, cmap="cividis", vmin=0, vmax=top, edgecolors="none", rasterized=False)
    if strength.size <= 400:
        for (row, column), value in np.ndenumerate(strength):
            text = "–" if np.isnan(value) else f"{value:.0f}" if value >= 10 else f"{value:.1f}"
            colour = "#000000" if value > 0.6 * top else "#ffffff"
            ax.text(column + 0.5, row + 0.5, text, ha="center", va="center", color=colour, fontsize=8)
    ax.set_xticks(np.arange(len(networks)) + 0.5, networks)
    ax.set_yticks(np.arange(len(records)) + 0.5, records)
    ax.invert_yaxis()
    ax.set_xlabel("network")
    ax.set_ylabel("record")
    for spine in ax.spines.values():
        spine.set_visible(False)
    ax.tick_params(length=0)
    return ax


def imperceptibility_against_robustness(ax: "Axes", points: Sequence[Point]) -> "Axes":
    """Impact against the share of modified networks in which the mark was found: best is top left."""
    for number, point in enumerate(points):
        colour, marker = COLOURS[number % len(COLOURS)], _MARKERS[number % len(_MARKERS)]
        ax.plot(
            point.impact, 100 * point.found, color=colour, marker=marker, markersize=8, linestyle="", label=point.name
        )
    ax.set_xlabel("impact, %")
    ax.set_ylabel("modified networks with the mark found, %")
    ax.set_ylim(-4, 104)
    ax.set_xlim(left=min(0.0, ax.get_xlim()[0]))
    return _plain(ax)


def frontier(ax: "Axes", points: Mapping[str, Sequence[tuple[float, float]]], log10_rate: float) -> "Axes":
    """Error of a modified network against −log10 p of its mark: what lies below the line is lost, right is of no use."""
    for number, (name, pairs) in enumerate(points.items()):
        colour, marker = COLOURS[number % len(COLOURS)], _MARKERS[number % len(_MARKERS)]
        errors, strengths = zip(*pairs, strict=True)
        ax.plot(errors, strengths, color=colour, marker=marker, markersize=5, linestyle="", label=name)
    ax.axhline(-log10_rate, color=INK, linewidth=1.0)
    ax.set_xscale("symlog", linthresh=1)
    ax.set_yscale("symlog", linthresh=1)
    ax.set_xlim(left=0)
    ax.set_ylim(bottom=0)
    ax.set_xlabel("error of the modified network, %")
    ax.set_ylabel("−log10 p")
    return _plain(ax)


def _thinned(count: int) -> "NDArray[np.int64]":
    """Ranks from 1: all of the smallest hundred, then ever fewer, so that a figure stays small."""
    import numpy as np

    if count <= 200:
        return np.arange(1, count + 1)
    return np.unique(np.concatenate([np.arange(1, 101), np.geomspace(100, count, 100).astype(np.int64)]))


def _plain(ax: "Axes") -> "Axes":
    ax.grid(True, color=GRID, linewidth=0.6)
    ax.set_axisbelow(True)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    return ax
