"""digest: the canonical digest of a file."""

import typer

from onnxnnw.cli import show

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(digest)


def digest(
    model: str = typer.Argument(help="An ONNX file, or its address."),
    max_download: str = typer.Option("1GiB", help=show.DOWNLOAD_HELP),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    """Print the canonical digest: the same for the same network however it is stored.

    Example: onnxnnw digest net.onnx
    """
    from onnxnnw.graph.digest import DIGEST_FORMAT, network_digests
    from onnxnnw.network_file.file import open_network

    with show.downloads(max_download), open_network(model) as network:
        found = network_digests(network)
        network.check_unchanged()
    if as_json:
        parts = {
            "digest": found.network,
            "graph": found.graph,
            "metadata": found.metadata,
            "doubts": list(found.doubts),
        }
        show.document({"format": DIGEST_FORMAT, "model": show.place(model), **parts})
        return
    print(f"{found.network}  {show.visible(show.place(model))}")
    show.pairs([("metadata", found.metadata), *(("vouches not", doubt) for doubt in found.doubts)])
