"""How results look: aligned text for people, JSON for programs."""

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from onnxnnw.enrolment.enrol import Enrolment
    from onnxnnw.enrolment.price import Price
    from onnxnnw.enrolment.recipients import RecipientCopies

__all__ = ["Progress", "copies_for_recipients", "document", "enrolled", "note", "number", "pairs", "table", "visible"]


def visible(text: str) -> str:
    """Text from a file with everything unprintable made visible: names are input too."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


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


class Progress:
    """How many of many things are done, on standard error: in one line of a terminal, else a line every ten seconds.

    Args:
        what: What they are.
    """

    def __init__(self, what: str) -> None:
        self.what, self.begun, self.said = what, time.monotonic(), time.monotonic()

    def __call__(self, done: int, of: int) -> None:
        """Say so, unless that was just said."""
        now, terminal = time.monotonic(), sys.stderr.isatty()
        if done < of and now - self.said < (0.2 if terminal else 10):
            return
        if done == of and self.said == self.begun:  # all of it was brief
            return
        self.said = now
        left = (now - self.begun) / max(1, done) * (of - done)
        line = f"{done:,} of {of:,} {self.what}" + (f", about {left:,.0f} s left" if 0 < done < of else "")
        end = "\n" if done == of or not terminal else ""
        print(f"\r{line:<60}" if terminal else line, end=end, file=sys.stderr, flush=True)


def copies_for_recipients(
    done: "RecipientCopies", copies: Path, records: Path, as_json: bool, price: "Price | str | None"
) -> None:
    """What came of marking copies for recipients.

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
