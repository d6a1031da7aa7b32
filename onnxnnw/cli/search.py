"""registry search: which record of a registry a file comes from."""

from pathlib import Path

import typer

from onnxnnw.cli import registries, verdicts

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    registries.group_of(app).command()(search)


def search(
    candidate: Path = typer.Argument(help="An ONNX file."),
    registry: str | None = registries.REGISTRY,
    key_file: Path | None = registries.KEY_FILE,
    false_positive_rate: float = typer.Option(1e-6, help="How often an unrelated network may be called traced."),
    thorough: bool = typer.Option(False, "--thorough", help="Scan all positions of every record."),
    methods: str = typer.Option("", help="tbw: also records whose method runs the candidate."),
    cluster: str = typer.Option("", help="Address of a Dask scheduler whose workers scan: tcp://host:8786."),
    full: bool = typer.Option(False, "--full", help="Also compare the canonical digest."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> int:
    """Find the record of a registry that an ONNX file comes from: exit 0 found, 1 not, 3 could not tell.

    Example: onnxnnw registry search suspect.onnx --registry records.db
    """
    return verdicts.in_registry(
        candidate,
        registry,
        key_file,
        "traced",
        0.0,
        false_positive_rate,
        full,
        thorough,
        methods,
        as_json,
        None,
        cluster,
    )
