"""Digests of the trials and numbers behind a page, and the page held against the results."""

import hashlib
import html
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from onnxnnw.errors import UnreadableData
from onnxnnw.files import read_regular
from onnxnnw.report.figure_contents import foreign_in
from onnxnnw.report.results import Results
from onnxnnw.report.tables.table import ReportTable

__all__ = ["CERTIFICATE_FORMAT", "NO_DRAWING", "CertifiedPage", "CheckedPage", "certificate", "check_page", "read_page"]

CERTIFICATE_FORMAT = "onnxnnw/certificate/1"
NO_DRAWING = "<svg></svg>"
"""What stands for a figure where a page is compared."""

MAX_PAGE = 256 * 2**20
_META = re.compile(r'<meta name="onnxnnw-certificate" content="([^"]{0,100000})">')


@dataclass(frozen=True)
class CheckedPage:
    """Whether a page's numbers are those of the results; sentences say what differs."""

    same: bool
    numbers: int
    sentences: tuple[str, ...]


def certificate(results: Results, tables: Sequence[ReportTable]) -> dict[str, Any]:
    """Digests of the trials of each part, of what went in, and of every number that the tables show."""
    numbers = [
        [table.id, [[[e.text, e.role, e.margin, e.low, e.high] for e in row] for row in group.rows]]
        for table in tables
        for group in table.groups
    ]
    text = json.dumps(numbers, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return {
        "format": CERTIFICATE_FORMAT,
        "parts": [
            {"name": part.name, "trials": part.trials, "trials_sha256": part.digest, "inputs": dict(part.inputs)}
            for part in results.parts
        ],
        "numbers": sum(entry.role == "measured" for table in tables for entry in table.entries),
        "numbers_sha256": hashlib.sha256(text.encode()).hexdigest(),
        "versions": dict(results.environment),
    }


@dataclass(frozen=True)
class CertifiedPage:
    """A page as it lies on the disk, and what its certificate says of its parts and numbers."""

    text: str
    parts: Sequence[Mapping[str, Any]]
    numbers_sha256: object


def read_page(page: Path) -> CertifiedPage:
    """Read a page and its certificate.

    Raises:
        UnreadableData: The page has none, or one that cannot be read.
    """
    text = read_regular(page, UnreadableData, MAX_PAGE).decode("utf-8", "replace")
    found = _META.search(text)
    if found is None:
        raise UnreadableData(f"{page}: no page of onnxnnw report, or one of before there were certificates")
    try:
        said = json.loads(html.unescape(found[1]))
        form = said["format"]
        parts = [{**part, "name": str(part["name"])} for part in said["parts"]]
        read = CertifiedPage(text, parts, said["numbers_sha256"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise UnreadableData(f"{page}: its certificate cannot be read") from None
    if form != CERTIFICATE_FORMAT:
        raise UnreadableData(f"{page}: a certificate of another format, {str(form)[:50]!r}")
    return read


def check_page(page: CertifiedPage, own: Mapping[str, Any], expected: str) -> CheckedPage:
    """Compare a page's certificate with one that is computed anew, and all that the page shows but its figures' lines.

    Of figures it is checked that they hold nothing that could cover or change what stands around them.

    Args:
        own: The certificate of the results.
        expected: The page of the results, without drawings.
    """
    named = {part["name"]: part for part in page.parts}
    wrong = []
    for part in own["parts"]:
        other = named.pop(part["name"], None)
        if other is None:
            wrong.append(f"{part['name']} is no part of the page")
        elif other.get("trials_sha256") != part["trials_sha256"]:
            wrong.append(f"{part['name']}: the trials are not those that the page was made from")
        elif other.get("inputs") != part["inputs"]:
            wrong.append(f"{part['name']}: networks, data or seeds are said to be others")
    wrong += [f"{name} is a part of the page and was not given" for name in named]
    if page.numbers_sha256 != own["numbers_sha256"]:
        wrong.append("the numbers are not those that follow from these trials in this version")
    wrong += [
        f"figure {number} holds {what}, as no figure of this version does" for number, what in _foreign(page.text)
    ]
    if not wrong and (line := _first_other_line(page.text, expected)):
        wrong.append(
            f"the page shows what does not follow from these trials in this version, first in line {line:,} without its figures"
        )
    return CheckedPage(not wrong, own["numbers"], tuple(wrong))


def _first_other_line(text: str, expected: str) -> int:
    """Number of the first line of a page that is another one, figures left out; 0 where there is none."""
    pairs = zip_longest(_without_drawings(text).splitlines(), expected.splitlines())
    return next((number for number, (one, other) in enumerate(pairs, 1) if one != other), 0)


def _without_drawings(text: str) -> str:
    """A page with empty figures, in one pass over it."""
    out, place = [], 0
    for start, end in _drawings(text):
        out += [text[place:start], NO_DRAWING]
        place = end
    return "".join([*out, text[place:]])


def _foreign(text: str) -> Iterator[tuple[int, str]]:
    """Number of each figure that holds what none should, and what that is."""
    for number, (start, end) in enumerate(_drawings(text), 1):
        what = foreign_in(text[start:end])
        if what:
            yield number, what


def _drawings(text: str) -> Iterator[tuple[int, int]]:
    """Where each figure begins and ends."""
    place = 0
    while (start := text.find("<svg", place)) >= 0 and (end := text.find("</svg>", start)) >= 0:
        place = end + len("</svg>")
        yield start, place
