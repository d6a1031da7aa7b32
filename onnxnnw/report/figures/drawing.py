"""A panel becomes SVG: small, with text as text, and in colours that the page's own light and dark modes decide."""

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxnnw.errors import MissingExtra
from onnxnnw.report.figures.panels import Panel
from onnxnnw.report.figures.plots import COLOURS, GRID, INK

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["inline_svg", "save_panel"]

_SIZE = (4.7, 3.3)
"""Inches: about the width of a phone at 1:1."""
_LONGEST = 48
_SETTINGS: dict[Any, Any] = {
    "axes.edgecolor": INK,
    "axes.formatter.useoffset": False,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "font.size": 9,
    "legend.fontsize": 8,
    "svg.fonttype": "none",
    "text.color": INK,
    "text.parse_math": False,  # a dollar in a name is a dollar
    "xtick.color": INK,
    "ytick.color": INK,
}


def inline_svg(panel: Panel) -> str:
    """The panel as an ``<svg>`` element to be put into a page: no prolog, no style sheet of its own, unique ids.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    with _drawn(panel) as figure:
        content = io.StringIO()
        figure.savefig(content, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = content.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<defs>\s*<style.*?</style>\s*</defs>", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r"<svg [^>]*?viewBox=\"([^\"]*)\"[^>]*>", r'<svg viewBox="\1" aria-hidden="true">', text, count=1)
    text = re.sub(r'<g id="[^"]*">', "<g>", text)
    text = re.sub(r'\bid="', f'id="{panel.id}-', text)
    text = re.sub(r'(xlink:)?href="#', f'href="#{panel.id}-', text)
    text = text.replace("url(#", f"url(#{panel.id}-")
    text = re.sub(r'\b(d|x|y|x1|y1|x2|y2|transform|points|width|height)="[^"]*"', _rounded, text)
    text = re.sub(r'style="[^"]*"', _themed, text)
    return re.sub(r"\n\s*", "\n", text)


def save_panel(panel: Panel, folder: Path) -> tuple[Path, Path]:
    """Write the panel as SVG and PNG, in the colours of light mode on white."""
    paths = folder / f"{panel.id}.svg", folder / f"{panel.id}.png"
    with _drawn(panel) as figure:
        figure.savefig(paths[0], metadata={"Date": None}, facecolor="white")
        figure.savefig(paths[1], dpi=200, facecolor="white")
    return paths


@contextmanager
def _drawn(panel: Panel) -> "Iterator[Figure]":
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise MissingExtra("matplotlib", "report") from error
    with matplotlib.rc_context({**_SETTINGS, "svg.hashsalt": panel.id}), warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", UserWarning
        )  # a glyph that matplotlib's font lacks is the reader's font's business
        figure = Figure(figsize=_SIZE, layout="constrained")
        ax = panel.draw(figure.subplots())
        ax.set_title(_short(panel.title), loc="left")
        handles, labels = ax.get_legend_handles_labels()
        if handles:
            columns = 1 if max(map(len, labels)) > 26 else 2
            names = [_short(label) for label in labels]
            rows = -(-len(names) // columns)
            figure.set_size_inches(_SIZE[0], _SIZE[1] + 0.17 * rows)
            figure.legend(handles, names, loc="outside lower left", ncols=columns, frameon=False)
        yield figure


def _themed(style: "re.Match[str]") -> str:
    """Colours of the palette become those of the page; its fonts too."""
    text = style.group(0).replace(INK, "currentColor").replace(GRID, "var(--grid)")
    for number, colour in enumerate(COLOURS):
        text = text.replace(colour, f"var(--c{number})")
    text = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", text)
    text = re.sub(r"font: (\d+) ([\d.]+px) [^;\"]*", r"font-weight: \1; font-size: \2", text)
    return re.sub(r"font-family: [^;\"]*;? ?", "", text)


def _rounded(attribute: "re.Match[str]") -> str:
    """Coordinates to a hundredth of a point."""
    return re.sub(r"(\.\d\d)\d+", r"\1", attribute.group(0))


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
