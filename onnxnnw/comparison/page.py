"""A comparison as one self-contained page: both networks as strips of layers, coloured by what happened, findings on click."""

import json
import math
import re
from collections.abc import Iterator
from html import escape
from importlib import resources
from pathlib import Path

from onnxnnw.comparison.compare import Comparison, Extra
from onnxnnw.comparison.layers import Layer
from onnxnnw.network_file.writing import write_whole

__all__ = ["page_of", "write_page"]

_COLOURS = {"same": "same", "other form": "form", "changed": "changed", "other order": "order", "not found": "lost"}
_MEANS = {
    "same": "the same values",
    "other form": "the same values, renamed, folded or rounded",
    "changed": "other values of the same origin",
    "other order": "channels in another order",
    "not found": "only in one of them",
}
_MOST = 2000
"""Layers that a page draws of each network; what is beyond is in the JSON."""


def write_page(comparison: Comparison, out: Path) -> None:
    """Write the page, whole or not at all.

    Raises:
        UsageError: What stands there must not be replaced.
    """
    write_whole(out, page_of(comparison).encode("utf-8"))


def page_of(comparison: Comparison) -> str:
    """The page as text; whatever stands in names is text there too."""
    layers, extras = comparison.layers[:_MOST], comparison.extras[:_MOST]
    left = comparison.reference.rpartition("/")[2], comparison.candidate.rpartition("/")[2]
    strips = (
        (f"reference · {left[0]}", "".join(_block(layer, number) for number, layer in enumerate(layers))),
        (f"candidate · {left[1]}", "".join(_candidate(layers, extras))),
    )
    return _filled(
        title=escape(f"{comparison.relation}: {left[1]} and {left[0]}"),
        relation=escape(comparison.relation),
        tone={"unrelated": "bad", "could not tell": "unsure"}.get(comparison.relation, "good"),
        sentence=escape(comparison.sentence),
        names=f"<code>{escape(left[1])}</code> held against <code>{escape(left[0])}</code>",
        numbers="".join(
            f"<div><b>{escape(value)}</b><span>{escape(name)}</span></div>" for name, value in _numbers(comparison)
        ),
        legend="".join(f'<li><i class="{_COLOURS[kind]}"></i>{escape(words)}</li>' for kind, words in _MEANS.items()),
        strips="".join(
            f'<h2>{escape(name)}</h2><div class="strip" style="--most:{200 / max(1, blocks.count("class=")):.1f}%">{blocks}</div>'
            for name, blocks in strips
        ),
        rows="".join(_row(layer, number) for number, layer in enumerate(layers)),
        beyond=_beyond(comparison),
        findings=_list("What was done to the whole", comparison.findings),
        extras=_list("Only in the candidate", [f"{e.name} {_shape(e.shape)}, {e.elements:,} elements" for e in extras]),
        unread=_list("What could not be read", comparison.unread),
        orders=_list(
            "Orders of channels",
            [] if comparison.orders is None or not comparison.orders.widths else [comparison.orders.sentence],
        ),
        data=json.dumps([_said(layer) for layer in layers], ensure_ascii=True).replace("<", "\\u003c"),
    )


def _filled(**parts: str) -> str:
    """The template with its parts, each put in once: what stands in one is never looked through for others."""
    template = resources.files("onnxnnw.comparison").joinpath("templates", "page.html").read_text("utf-8")
    return re.sub("%%([a-z]+)%%", lambda match: parts[match.group(1)], template)


def _numbers(comparison: Comparison) -> Iterator[tuple[str, str]]:
    yield "of the reference found", f"{comparison.found:.0%}"
    yield "of the candidate known", f"{comparison.covered:.0%}"
    yield "layers", f"{sum(1 for layer in comparison.layers if layer.found_as)} of {len(comparison.layers)}"
    if comparison.effect is not None:
        yield "likeness (nominal)", f"{comparison.effect:.2f}"


def _width(elements: int) -> float:
    """Of a block: by the logarithm of its elements, for layers differ a thousandfold."""
    return max(1.0, math.log10(max(10, elements)) - 1)


def _block(layer: Layer, number: int) -> str:
    words = f"{layer.name} {_shape(layer.shape)}: {_what(layer)}"
    return (
        f'<button class="b {_COLOURS[layer.kind]}" data-n="{number}" style="flex-grow:{_width(layer.elements):.2f}" '
        f'title="{escape(words, quote=True)}" aria-label="{escape(words, quote=True)}"></button>'
    )


def _candidate(layers: tuple[Layer, ...], extras: tuple[Extra, ...]) -> Iterator[str]:
    for number, layer in enumerate(layers):
        if layer.found_as:
            yield _block(layer, number)
    for extra in extras:
        words = escape(f"{extra.name} {_shape(extra.shape)}: only in the candidate", quote=True)
        style = f"flex-grow:{_width(extra.elements):.2f}"
        yield f'<span class="b lost" style="{style}" title="{words}" role="img" aria-label="{words}"></span>'


def _shape(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))


def _what(layer: Layer) -> str:
    return ", ".join(layer.done) or ("nothing was done to it" if layer.found_as else "not found")


def _row(layer: Layer, number: int) -> str:
    likeness = "" if layer.correlation is None else f"{layer.correlation:.4f}"
    cells = (
        f'<td><i class="{_COLOURS[layer.kind]}"></i><span class="n">{escape(layer.name)}</span></td>',
        f'<td class="r">{layer.elements:,}</td>',
        f'<td class="{"u" if layer.found_as else ""}"><span class="n">{escape(_named(layer))}</span></td>',
        f'<td class="r">{likeness}</td>',
        f"<td>{escape(_what(layer))}</td>",
    )
    return f'<tr id="l{number}" tabindex="-1">{"".join(cells)}</tr>'


def _named(layer: Layer) -> str:
    return "the same name" if layer.found_as == layer.name else layer.found_as or "–"


def _said(layer: Layer) -> dict[str, str]:
    rows = {
        "found as": layer.found_as or "nowhere",
        "shape": _shape(layer.shape),
        "elements": f"{layer.elements:,}",
        "what was done": _what(layer),
    }
    if layer.correlation is not None:
        rows |= {"likeness": f"{layer.correlation:.4f}", "values that are others": f"{layer.changed:.1%}"}
    if layer.moved:
        rows["moved by"] = f"{layer.moved:.3g} of the layer's deviation"
    return {"name": layer.name, **rows}


def _list(title: str, items: "list[str] | tuple[str, ...]") -> str:
    if not items:
        return ""
    shown = "".join(f"<li>{escape(item)}</li>" for item in items[:200])
    more = f"<li>… and {len(items) - 200:,} more</li>" if len(items) > 200 else ""
    return f"<section><h2>{escape(title)}</h2><ul class='plain'>{shown}{more}</ul></section>"


def _beyond(comparison: Comparison) -> str:
    more = len(comparison.layers) - _MOST
    return f"<p>… and {more:,} more layers, which --json has.</p>" if more > 0 else ""
