"""fingerprint: a record of a network as it is."""

from pathlib import Path

import typer

from onnxnnw.cli import registries, show

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(fingerprint)


def fingerprint(
    model: Path = typer.Argument(help="An ONNX file; it is only read."),
    record: Path = typer.Option(..., "--output", "-o", help="Where to write the record. Keep it secret."),
    positions: int = typer.Option(512, help="N: number of secret positions."),
    actor: str = typer.Option("", help="Who fingerprints."),
    role: str = typer.Option("", help="Architect, Trainer, Tracker, Distributor or 'Generic user'."),
    source_id: str = typer.Option("", help="ID of the Actor who provides the network."),
    destination_id: str = typer.Option("", help="ID of the Actor who receives it."),
    ancestor: list[Path] = typer.Option(
        [],
        help="An ONNX file that the network shares values with, such as a public backbone: they carry nothing; repeatable.",
    ),
    unrelated: list[Path] = typer.Option(
        [],
        help="Record of an unrelated network: weights that stand there too are tables and carry nothing; repeatable.",
    ),
    registry: str | None = typer.Option(
        None, help="Also add the record to this registry, a file or postgresql:// URL."
    ),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    """Fingerprint a network without changing it.

    Example: onnxnnw fingerprint net.onnx -o net.record
    """
    from onnxnnw.enrolment.enrol import fingerprint as library
    from onnxnnw.enrolment.owner import Owner
    from onnxnnw.records.record_file import load_record

    owner = Owner(actor, role, source_id, destination_id)
    others = [load_record(path) for path in unrelated]
    enrolment = library(model, record, positions, owner, ancestors=ancestor, unrelated=others)
    registries.add_to(registry, None, record, model)
    show.enrolled(enrolment, record, None, as_json)
