"""How results look: aligned text for people, JSON for programs."""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from onnxnnw.texts import visible

if TYPE_CHECKING:
    from onnxnnw.enrolment.enrol import Enrolment
    from onnxnnw.enrolment.price import Price
    from onnxnnw.enrolment.recipients.embedding import RecipientCopies

__all__ = [
    "DOWNLOAD_HELP",
    "copies_for_recipients",
    "document",
    "downloads",
    "enrolled",
    "error",
    "note",
    "number",
    "pairs",
    "place",
    "rest",
    "table",
    "visible",
]

DOWNLOAD_HELP = "How much may be read from a server, such as 500MB or 2GiB."


def place(text: object) -> str:
    """A path or an address as it may be shown: an address may hold credentials."""
    if "://" not in str(text):
        return str(text)
    from onnxnnw.sources.addresses import shown_place

    return shown_place(text)


@contextmanager
def downloads(most: str) -> Iterator[None]:
    """Limit what the block reads from servers, and report it at the end.

    Args:
        most: As the user gave it: ``500MB``.
    """
    from onnxnnw.sources.limits import Budget, bytes_of, limited

    with limited(Budget(bytes_of(most))) as budget:
        try:
            yield
        finally:
            for line in budget.sentence.splitlines():
                typer.echo(visible(line), err=True)


def error(text: str) -> None:
    """An error on standard error, shown even with --quiet."""
    print(f"onnxnnw: {visible(text)}", file=getattr(sys.stderr, "behind", sys.stderr))


def number(value: float) -> str:
    """One decimal, and no minus before a zero."""
    return f"{round(value, 1) + 0.0:.1f}"


def document(content: Any) -> None:
    """JSON on standard output."""
    print(json.dumps(content, indent=2, ensure_ascii=True, allow_nan=False))


def note(text: str) -> None:
    """What was done beside the answer, on standard error."""
    typer.secho(visible(text), err=True)


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
    """Say how many items a shortened list leaves out."""
    if count > 0:
        typer.echo(f"  and {count:,} more {of}", err=err)


def enrolled(
    enrolment: "Enrolment", record: Path, out: Path | None, as_json: bool, price: "Price | str | None" = None
) -> None:
    """Print the result of an enrolment.

    Args:
        record: Where the record is.
        out: The marked copy; None for a fingerprint.
        price: What the mark costs, or why that is not known.
    """
    kept = enrolment.record
    drawn = (
        kept.number_of_positions if "positions" in kept.parameters else None
    )  # other methods have bits, or what they want
    if as_json:
        document(
            {
                "format": "onnxnnw/enrolment/1",
                "kind": kept.kind,
                "record": str(record),
                "output": None if out is None else str(out),
                "commitment": enrolment.commitment,
                "positions": drawn,
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
    what = (
        ("method", kept.method)
        if drawn is None
        else ("positions", f"{drawn:,} of {enrolment.capacity:,} eligible weights")
    )
    rows.append(what)
    if "insertion" in kept.parameters:
        rows.append(("strength", f"{kept.parameters['strength']} of each layer's deviation, added"))
    rows += [
        ("commitment", f"{enrolment.commitment}  (publish it before the network)"),
    ]
    if enrolment.shared_positions:
        rows.append(("shared", f"{enrolment.shared_positions:,} positions with the marks to keep"))
    if price is not None:
        rows.append(("price", visible(price if isinstance(price, str) else price.sentence)[:300]))
    pairs(rows)
    for warning in enrolment.warnings:
        typer.secho(f"warning: {visible(warning)}", fg="yellow", err=True)


def copies_for_recipients(
    done: "RecipientCopies", copies: Path, records: Path, as_json: bool, price: "Price | str | None"
) -> None:
    """Print the result of marking copies for recipients.

    Args:
        copies, records: Their folders, as they were given.
        price: What the mark of the first copy costs, or why that is not known.
    """
    if as_json:
        document(
            {
                "format": "onnxnnw/recipients/1",
                "copies": [
                    {
                        "destination_id": each.destination_id,
                        "output": str(each.copy),
                        "record": str(each.record),
                        "commitment": each.commitment,
                        "made": int(each.made),
                    }
                    for each in done.copies
                ],
                "made": done.made,
                "positions": done.positions,
                "capacity": done.capacity,
                "warnings": list(done.warnings),
                "price": None if price is None or isinstance(price, str) else price.to_json(),
            }
        )
        return
    there = len(done.copies) - done.made
    rows = [
        ("copies", f"{done.made:,} made, {there:,} were there, in {copies}: send each to its recipient only"),
        ("records", f"{records}  (secret: whoever holds one can erase that mark, or frame that recipient)"),
        ("positions", f"{done.positions:,} of {done.capacity:,} eligible weights, shared by all copies"),
    ]
    if price is not None:
        rows.append(("price", visible(price if isinstance(price, str) else price.sentence)[:300]))
    pairs(rows)
    shown = [each for each in done.copies if each.made][:_SHOWN]
    if shown:
        print("  commitments, to be published before the copies leave:")
        table(["destination", "file", "commitment"], [[c.destination_id, c.copy.name, c.commitment] for c in shown])
    if done.made > len(shown):
        print(f"  … and {done.made - len(shown):,} more (--json lists all)")
    for warning in done.warnings:
        typer.secho(f"warning: {visible(warning)}", fg="yellow", err=True)


_SHOWN = 20
