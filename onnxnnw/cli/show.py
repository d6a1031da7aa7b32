"""How results look: aligned text for people, JSON for programs."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from onnxnnw.texts import visible

if TYPE_CHECKING:
    from onnxnnw.enrolment.enrol import Enrolment
    from onnxnnw.enrolment.price import Price

__all__ = ["DOWNLOAD_HELP", "document", "downloads", "enrolled", "number", "pairs", "place", "rest", "table", "visible"]

DOWNLOAD_HELP = "How much may be read from a server, such as 500MB or 2GiB."


def place(text: object) -> str:
    """A path or an address as it may be shown: an address may hold credentials."""
    if "://" not in str(text):
        return str(text)
    from onnxnnw.sources.addresses import shown_place

    return shown_place(text)


@contextmanager
def downloads(most: str) -> Iterator[None]:
    """What a block reads from servers is limited, and said at its end.

    Args:
        most: As the user gave it: ``500MB``.
    """
    from onnxnnw.sources.limits import Budget, bytes_of, limited

    with limited(Budget(bytes_of(most))) as budget:
        try:
            yield
        finally:
            if budget.requests:
                typer.echo(budget.sentence, err=True)


def number(value: float) -> str:
    """One decimal, and no minus before a zero."""
    return f"{round(value, 1) + 0.0:.1f}"


def document(content: Any) -> None:
    """JSON on standard output."""
    print(json.dumps(content, indent=2, ensure_ascii=True, allow_nan=False))


def pairs(rows: Sequence[tuple[str, str]]) -> None:
    """Names and values, one pair a line."""
    width = max((len(name) for name, _ in rows), default=0)
    for name, value in rows:
        print(f"  {name:<{width}}  {visible(value)}")


def table(header: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> None:
    """A table with aligned columns; the columns in ``right`` are aligned to the right."""
    cells = [[visible(cell) for cell in row] for row in [header, *rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    for number, row in enumerate(cells):
        parts = [f"{c:>{w}}" if i in right else f"{c:<{w}}" for i, (c, w) in enumerate(zip(row, widths, strict=True))]
        line = "  ".join(parts).rstrip()
        typer.secho(line, bold=number == 0)


def rest(count: int, of: str, err: bool = False) -> None:
    """How many more there are than a list has shown; nothing where there are none."""
    if count > 0:
        typer.echo(f"  and {count:,} more {of}", err=err)


def enrolled(
    enrolment: "Enrolment", record: Path, out: Path | None, as_json: bool, price: "Price | str | None" = None
) -> None:
    """What came of an enrolment.

    Args:
        record: Where the record is.
        out: The marked copy; None for a fingerprint.
        price: What the mark costs, or why that is not known.
    """
    kept = enrolment.record
    if as_json:
        document(
            {
                "format": "onnxnnw/enrolment/1",
                "kind": kept.kind,
                "record": str(record),
                "output": None if out is None else str(out),
                "commitment": enrolment.commitment,
                "positions": kept.number_of_positions,
                "capacity": enrolment.capacity,
                "shared_positions": enrolment.shared_positions,
                "digest": kept.derived["digest"],
                "warnings": list(enrolment.warnings),
                "price": None if price is None or isinstance(price, str) else price.to_json(),
            }
        )
        return
    rows = [("record", f"{record}  (secret: whoever holds it can erase the mark)")]
    if out is not None:
        rows.insert(0, ("marked copy", str(out)))
    rows += [
        ("positions", f"{kept.number_of_positions:,} of {enrolment.capacity:,} eligible weights"),
        ("commitment", f"{enrolment.commitment}  (publish it before the network)"),
    ]
    if enrolment.shared_positions:
        rows.append(("shared", f"{enrolment.shared_positions:,} positions with the marks to keep"))
    if price is not None:
        rows.append(("price", visible(price if isinstance(price, str) else price.sentence)[:300]))
    pairs(rows)
    for warning in enrolment.warnings:
        typer.secho(f"warning: {visible(warning)}", fg="yellow", err=True)
