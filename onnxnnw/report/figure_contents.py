"""What figures of a page are made of; anything else in one could hide or replace what the page says around it."""

import re
from collections.abc import Iterator
from xml.etree import ElementTree

__all__ = ["foreign_in"]

_TAGS = frozenset("svg g path defs clipPath rect use text tspan".split())
_ATTRIBUTES = frozenset("style x y href d clip-path transform id viewBox aria-hidden width height".split())
_STYLES = frozenset(
    "fill stroke stroke-width stroke-linejoin stroke-linecap stroke-dasharray stroke-dashoffset stroke-opacity fill-opacity "
    "fill-rule opacity font-size font-weight font-style text-anchor".split()
)
_OF_ROOT = frozenset(("viewBox", "aria-hidden"))
_VALUE = re.compile(r"[^\\<>&{};@]{0,200}")


def foreign_in(svg: str) -> str:
    """What no figure of ``drawing`` holds, in words; empty where there is nothing.

    Args:
        svg: From ``<svg`` to ``</svg>``.
    """
    if "<!" in svg or "<?" in svg:
        return "a declaration"
    try:
        root = ElementTree.fromstring(svg)
    except ElementTree.ParseError:
        return "no well-formed drawing"
    if set(root.attrib) - _OF_ROOT:
        return "an attribute of the drawing as a whole"
    return next(iter(_foreign(root)), "")


def _foreign(root: ElementTree.Element) -> Iterator[str]:
    for element in root.iter():
        if element.tag not in _TAGS or (element is not root and element.tag == "svg"):
            yield f"an element {element.tag[:40]!r}"
        for name, value in element.attrib.items():
            if name not in _ATTRIBUTES:
                yield f"an attribute {name[:40]!r}"
            elif name == "href" and not value.startswith("#"):
                yield "a reference to something outside"
            elif name == "style":
                for part in filter(str.strip, value.split(";")):
                    key, _, text = part.partition(":")
                    if key.strip() not in _STYLES or not _VALUE.fullmatch(text) or "url" in text:
                        yield f"a style {key.strip()[:40]!r}"
