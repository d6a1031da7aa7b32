"""inspect, digest: what is in a file."""

from pathlib import Path

import typer

from onnxnnw.cli import show

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(inspect)
    app.command()(digest)


def inspect(
    model: Path = typer.Argument(help="An ONNX file."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    """List the weights of a network that an output depends on, and whether they can carry a mark.

    Example: onnxnnw inspect net.onnx
    """
    from onnxnnw.inspection import inspect as library

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
            ("room for a mark", f"{found.room_to_embed:,} positions"),
            ("for a fingerprint", f"{found.room_to_fingerprint:,} positions"),
            ("dead weights", f"{found.dead_tensors} tensors that no output depends on"),
            *(("not covered", problem) for problem in found.not_understood[:10]),
        ]
    )


def digest(
    model: Path = typer.Argument(help="An ONNX file."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    """Print the canonical digest: the same for the same network however it is stored.

    Example: onnxnnw digest net.onnx
    """
    from onnxnnw.graph import network_digest, open_network

    with open_network(model) as network:
        value = network_digest(network)
        network.check_unchanged()
    if as_json:
        show.document({"format": "onnxnnw/digest/1", "model": str(model), "digest": value})
    else:
        print(f"{value}  {show.visible(str(model))}")
