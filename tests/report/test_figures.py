"""Figures show the numbers they are given, and become SVG that a page can hold."""

import re
import xml.etree.ElementTree as ElementTree
from functools import partial

import numpy as np
import pytest
from scipy import stats

from onnxnnw.report.counts import Mean
from onnxnnw.report.figures import plots as figures
from onnxnnw.report.figures.drawing import inline_svg, save_panel
from onnxnnw.report.figures.panels import Panel, affordable, all_figures
from onnxnnw.report.figures.plots import Curve, Point

HOSTILE = '$\\frac{</text><script>alert("&")</script>'


@pytest.fixture
def ax():
    """An empty drawing."""
    from matplotlib.figure import Figure

    return Figure().subplots()


def lines(ax) -> dict[str, tuple[list[float], list[float]]]:
    """The lines of a drawing by their label."""
    return {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in ax.get_lines()}


def mean(value: float) -> Mean:
    """With limits of 0.1."""
    return Mean(value, 3, value - 0.1, value + 0.1)


def test_robustness_shows_measured_and_published(ax):
    """Both lines at the places of their values; the limits as a band."""
    curve = Curve("α = 0", {0.1: mean(0.9), 1.0: mean(0.5)}, {0.1: 0.999, 0.5: 0.9, 7.0: 0.1})
    assert figures.robustness(ax, [curve], [0.1, 0.5, 1.0], "S", "corr") is ax
    assert lines(ax) == {"α = 0": ([0, 2], [0.9, 0.5]), "α = 0, published": ([0, 1], [0.999, 0.9])}
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["0.1", "0.5", "1"]
    (band,) = ax.collections
    heights = band.get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == pytest.approx((0.4, 1.0))


@pytest.mark.parametrize("N", [64, 512, 4096, 16144])
def test_the_threshold_is_that_of_spearmans_test(N):
    """A correlation at the threshold has p = 5 %, two-sided; 0.018 has not, for no N that the standard names."""

    def p(rho: float) -> float:
        return 2 * stats.t.sf(rho * np.sqrt((N - 2) / (1 - rho**2)), N - 2)

    assert p(figures.spearman_threshold(N)) == pytest.approx(0.05)
    assert abs(p(0.018) - 0.05) > 0.02


def test_figure_4_draws_both_thresholds(ax):
    """The one that belongs to N, and the published one as a contradiction."""
    assert figures.sharing(ax, {"mark 1": {0.0: 1.0, 0.5: 0.52}}, 512) is ax
    drawn = lines(ax)
    assert drawn["mark 1"] == ([0, 50], [1.0, 0.52])
    assert {round(y[0], 3) for name, (_, y) in drawn.items() if name != "mark 1"} == {0.087, 0.018}


def test_figure_5_has_a_guide(ax):
    """N log N, through the last detection."""
    detection = {N: mean(1e-6 * N * np.log(N)) for N in (64, 1024, 16384)}
    assert figures.scaling(ax, {64: mean(1e-3)}, detection) is ax
    drawn = lines(ax)
    assert drawn["N log N"][1] == pytest.approx(drawn["detection"][1])


def test_a_null_distribution_of_uniform_values_lies_on_the_line(ax):
    """Expected quantiles give themselves."""
    values = np.log10((np.arange(1, 1001) - 0.5) / 1000)
    assert figures.null_distribution(ax, {"NCT": list(values)}) is ax
    (x, y) = lines(ax)["NCT, 1,000"]
    assert y == pytest.approx(x)


def test_unicity_has_a_cell_for_every_pair(ax):
    """Numbers in their cells, a dash where nothing was claimed."""
    assert figures.unicity(ax, [[-50.0, -0.1], [None, -40.0]], ["0", "1"], ["0", "1"]) is ax
    assert [text.get_text() for text in ax.texts] == ["50", "0.1", "–", "40"]


def test_the_trade_shows_every_setting(ax):
    """Impact across, share upwards."""
    assert figures.imperceptibility_against_robustness(ax, [Point("a", 3.0, 0.5), Point("b", 1.0, 1.0)]) is ax
    assert lines(ax) == {"a": ([3.0], [50.0]), "b": ([1.0], [100.0])}


@pytest.mark.parametrize(
    "draw",
    [
        lambda ax: figures.robustness(ax, [], [], "S", "corr"),
        lambda ax: figures.null_distribution(ax, {}),
        lambda ax: figures.scaling(ax, {}, {}),
        lambda ax: figures.sharing(ax, {}, 512),
        lambda ax: figures.unicity(ax, [], [], []),
        lambda ax: figures.imperceptibility_against_robustness(ax, []),
    ],
    ids=["robustness", "null-distribution", "scaling", "sharing", "unicity", "trade"],
)
def test_nothing_to_draw_is_no_error(ax, draw):
    """An empty figure is a figure."""
    assert draw(ax) is ax


@pytest.mark.slow
def test_svg_is_well_formed_and_alone(results):
    """Several in one page: no id twice, every reference to its own, nothing from elsewhere, the page's colours."""
    drawn = [panel for figure in all_figures(results) for panel in figure.panels][::9]
    ids: list[str] = []
    for panel in drawn:
        text = inline_svg(panel)
        ElementTree.fromstring(text)
        own = re.findall(r'\bid="([^"]+)"', text)
        assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', text)) <= set(own)
        assert not re.search(r"<style|<image|https?://|<script", text)
        assert figures.INK not in text
        assert "var(--c0)" in text or "pcolor" in text or panel.id.startswith("unicity")
        ids += own
    assert len(ids) == len(set(ids)) > 0


def test_a_name_is_text_in_a_figure(ax, tmp_path):
    """Neither mathematics nor markup comes out of it."""
    curve = Curve(HOSTILE, {1.0: mean(0.9), 2.0: mean(0.5)}, {})
    draw = partial(figures.robustness, curves=[curve], values=[1.0, 2.0], parameter=HOSTILE, quantity=HOSTILE)
    panel = Panel("hostile", HOSTILE, draw)
    root = ElementTree.fromstring(inline_svg(panel))
    assert "script" not in {element.tag.rpartition("}")[2] for element in root.iter()}
    assert HOSTILE in [element.text for element in root.iter() if element.text]
    assert all(path.stat().st_size for path in save_panel(panel, tmp_path))


def test_the_same_panel_gives_the_same_svg(results):
    """Nothing in it comes from the clock."""
    (panel,) = all_figures(results)[-1].panels
    assert inline_svg(panel) == inline_svg(panel)


def test_a_page_holds_so_many_figures(results):
    """The first ones, whole; the others are counted."""
    drawn = all_figures(results)
    total = sum(len(figure.panels) for figure in drawn)
    assert affordable(drawn) == (drawn, 0)
    kept, left = affordable(drawn, 5)
    assert kept == drawn[: len(kept)]
    assert sum(len(figure.panels) for figure in kept) == total - left <= 5


def test_no_p_claimed_anywhere(ax):
    """A heat map of nothing but dashes."""
    figures.unicity(ax, [[None, None]], ["0"], ["0", "1"])
    assert [text.get_text() for text in ax.texts] == ["–", "–"]
