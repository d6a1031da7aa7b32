"""A panel as SVG: small, with text kept as text, and with colours from the page's light and dark modes."""

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from onnxnnw.errors import MissingExtra
from onnxnnw.report.figures.panels import Panel
from onnxnnw.report.figures.plots import COLOURS, GRID, INK

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["inline_svg", "save_panel"]

_SIZE = (4.7, 3.3)
"""Inches: about the width of a phone at 1:1."""
_LONGEST = 48
_COORDINATES = frozenset("d x y x1 y1 x2 y2 transform points width height".split())
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
    svg = ElementTree.fromstring(content.getvalue())
    _simplify(svg, panel.id)
    svg.attrib = {"viewBox": svg.attrib["viewBox"], "aria-hidden": "true"}
    return ElementTree.tostring(svg, encoding="unicode")


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


def _simplify(element: ElementTree.Element, panel: str) -> None:
    """Without namespaces, metadata, style sheets and names of groups; what refers to an id refers to this panel's.

    A page holds many figures, and ids are unique in the whole of it.
    """
    element.tag = _local(element.tag)
    if element.tag == "g":
        element.attrib.pop("id", None)
    element.attrib = {_local(name): _value(_local(name), text, panel) for name, text in element.attrib.items()}
    for child in list(element):
        _simplify(child, panel)
        if child.tag in ("metadata", "style") or (child.tag == "defs" and not len(child)):
            element.remove(child)
    if len(element) and not (element.text or "").strip():
        element.text = "\n"
    if not (element.tail or "").strip():
        element.tail = "\n"


def _local(name: str) -> str:
    """A name without its namespace."""
    return name.rpartition("}")[2]


def _value(name: str, text: str, panel: str) -> str:
    """The value of an attribute: ids with the panel's name before them, coordinates rounded, colours the page's."""
    if name == "id":
        return f"{panel}-{text}"
    if name == "href":
        return text.replace("#", f"#{panel}-", 1)
    if name in _COORDINATES:
        text = re.sub(r"(\.\d\d)\d+", r"\1", text)  # to a hundredth of a point
    return (_themed(text) if name == "style" else text).replace("url(#", f"url(#{panel}-")


def _themed(style: str) -> str:
    """Colours of the palette become those of the page; its fonts too."""
    style = style.replace(INK, "currentColor").replace(GRID, "var(--grid)")
    for number, colour in enumerate(COLOURS):
        style = style.replace(colour, f"var(--c{number})")
    return "; ".join(filter(None, (_property(*part.split(":", 1)) for part in style.split(";") if ":" in part)))


def _property(name: str, value: str) -> str:
    """A property of a style; of fonts only size and weight."""
    name, words = name.strip(), value.split()
    if name == "font-family":
        return ""
    if name != "font":
        return f"{name}: {value.strip()}"
    if words[0].endswith("px"):
        return f"font-size: {words[0]}"
    return f"font-weight: {words[0]}; font-size: {words[1]}"


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
