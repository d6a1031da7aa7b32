"""inspect: the weights of a file, and everything else that is stored in it."""

from typing import TYPE_CHECKING

import typer

from onnxnnw.cli import show

if TYPE_CHECKING:
    from onnxnnw.accounting.account import AccountLine

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(inspect)


def inspect(
    model: str = typer.Argument(help="An ONNX file, or its address."),
    max_download: str = typer.Option("1GiB", help=show.DOWNLOAD_HELP),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    """List the weights of a network that an output depends on, and whether they can carry a mark.

    Example: onnxnnw inspect net.onnx
    """
    from onnxnnw.enrolment.inspection import inspect as library

    with show.downloads(max_download):
        found = library(model)
    if as_json:
        show.document(found.to_json())
        return
    rows = [[w.name, w.use, "x".join(map(str, w.shape)), w.stored_as, f"{w.elements:,}", w.mark] for w in found.weights]
    show.table(["weight", "use", "shape", "stored as", "elements", "mark"], rows, right=(4,))
    print()
    show.pairs(
        [
            ("live weights", f"{found.live_elements:,} in {len(found.weights)} tensors"),
            ("room for a mark", f"at most {found.room_to_embed:,} positions"),
            ("for a fingerprint", f"at most {found.room_to_fingerprint:,} positions"),
            ("dead weights", f"{found.dead_tensors} tensors that no output depends on"),
            *((kind, f"{amount:,}") for kind, amount in found.account.amounts.items() if amount),
            *(("not covered", problem) for problem in found.not_understood[:10]),
            *(("not covered", _unread(entry)) for entry in found.account.unread()[:10]),
        ]
    )
    left = sum(max(0, len(entries) - 10) for entries in (found.not_understood, found.account.unread()))
    show.rest(left, "not covered; --json names them")


def _unread(entry: "AccountLine") -> str:
    return f"{entry.operator}: {entry.name}: {entry.reason} ({entry.amount:,} bytes)"
