"""Digests of the trials and numbers behind a page, so that a page can be checked against the results."""

import hashlib
import html
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnxnnw.errors import UnreadableData
from onnxnnw.files import read_regular
from onnxnnw.report.results import Results
from onnxnnw.report.tables.table import ReportTable

__all__ = ["CERTIFICATE_FORMAT", "CheckedPage", "certificate", "check_page"]

CERTIFICATE_FORMAT = "onnxnnw/certificate/1"
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


def check_page(page: Path, results: Results, tables: Sequence[ReportTable]) -> CheckedPage:
    """Compare a page's certificate with one that is computed anew.

    Raises:
        UnreadableData: The page has none.
    """
    found = _META.search(read_regular(page, UnreadableData, MAX_PAGE).decode("utf-8", "replace"))
    if found is None:
        raise UnreadableData(f"{page}: no page of onnxnnw report, or one of before there were certificates")
    try:
        said = json.loads(html.unescape(found[1]))
        form, parts, numbers = said["format"], list(said["parts"]), said["numbers_sha256"]
        named = {str(part["name"]): part for part in parts}
    except (ValueError, KeyError, TypeError, RecursionError):
        raise UnreadableData(f"{page}: its certificate cannot be read") from None
    if form != CERTIFICATE_FORMAT:
        raise UnreadableData(f"{page}: a certificate of another format, {str(form)[:50]!r}")
    own = certificate(results, tables)
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
    if numbers != own["numbers_sha256"]:
        wrong.append("the numbers are not those that follow from these trials in this version")
    return CheckedPage(not wrong, own["numbers"], tuple(wrong))
