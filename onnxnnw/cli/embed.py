"""embed: a marked copy of a network, and its record."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from onnxnnw.cli import bars, registries, show
from onnxnnw.errors import TraceabilityError, UsageError

if TYPE_CHECKING:
    from onnxnnw.enrolment.enrol import Enrolment
    from onnxnnw.enrolment.owner import Owner
    from onnxnnw.enrolment.price import Price

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(embed)


def embed(
    context: typer.Context,
    model: Path = typer.Argument(help="An ONNX file; it is only read."),
    out: Path = typer.Option(..., "--output", "-o", help="Where to write the marked copy."),
    record: Path = typer.Option(..., "--record", help="Where to write the record. Keep it secret."),
    recipients: Path | None = typer.Option(
        None,
        help="A list of destination IDs (CSV): a marked copy and a record for each. -o and --record are folders then; "
        "run again, it makes what is missing.",
    ),
    positions: int | None = typer.Option(
        None,
        help="N: number of secret positions.",
        show_default="512, at most 1 % of the eligible weights, at least 164; with --recipients 2048, at most 5 %",
    ),
    insertion: str | None = typer.Option(
        None, help="added to the weights, or replaced: the weights become the mark.", show_default="added"
    ),
    strength: float | None = typer.Option(
        None,
        help="Deviation of the mark, in units of each layer's.",
        show_default="0.4 added, 0.3 or more where weights are few; 1 replaced",
    ),
    value_std: float | None = typer.Option(
        None, help="Absolute deviation of the mark's values, instead of --strength."
    ),
    method: str | None = typer.Option(
        None, help="Mark by another method that writes into files; its parameters follow."
    ),
    actor: str = typer.Option("", help="Who marks."),
    role: str = typer.Option("", help="Architect, Trainer, Tracker, Distributor or 'Generic user'."),
    source_id: str = typer.Option("", help="ID of the Actor who provides the network."),
    destination_id: str = typer.Option("", help="ID of the Actor who receives it."),
    keep: list[Path] = typer.Option([], help="Record of another mark whose positions are left alone; repeatable."),
    check: Path | None = typer.Option(
        None, help="Samples (.npz, or a folder of .npy) on which outputs are compared; inputs are drawn without."
    ),
    unchecked: bool = typer.Option(False, "--unchecked", help="Do not run the networks to compare their outputs."),
    registry: str | None = typer.Option(
        None, help="Also add the record to this registry, a file or postgresql:// URL."
    ),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    """Write a marked copy of a network, and the record that proves it.

    Example: onnxnnw embed net.onnx -o marked.onnx --record net.record --actor "ACME" --role Tracker
    """
    from onnxnnw.enrolment.enrol import embed as library
    from onnxnnw.enrolment.owner import Owner
    from onnxnnw.records.record_file import load_record

    if check is not None and unchecked:
        raise UsageError("--check compares outputs and --unchecked does not; give one of the two")
    owner = Owner(actor, role, source_id, destination_id)
    if method is None and context.args:
        raise UsageError(f"{context.args[0]} is not an option of embed; see embed --help")
    if method is not None:
        _refuse_with_method(method, recipients, positions, insertion, strength, value_std, keep)
        enrolment = _by_method(model, out, record, method, context.args, owner, check)
        registries.add_to(registry, None, record, model)
        show.enrolled(enrolment, record, out, as_json, None if unchecked else _price(model, out, check))
        return
    if recipients is not None:
        _refuse_with_recipients(insertion, value_std, destination_id, keep)
        _for_recipients(model, recipients, out, record, positions, strength, owner, check, unchecked, registry, as_json)
        return
    others = [load_record(path) for path in keep]
    if check is not None:
        from onnxnnw.enrolment.price import refuse_samples

        refuse_samples(model, check)  # before anything is written
    enrolment = library(model, out, record, positions, strength, value_std, owner, others, insertion=insertion)
    registries.add_to(registry, None, record, model)
    show.enrolled(enrolment, record, out, as_json, None if unchecked else _price(model, out, check))


def _refuse_with_method(method: str, *settings: object) -> None:
    if any(setting not in (None, []) for setting in settings):
        raise UsageError(
            f"--recipients, --positions, --insertion, --strength, --value-std and --keep belong to NCT, not to {method}; "
            "give the method's own parameters"
        )


def _by_method(
    model: Path, out: Path, record: Path, method: str, arguments: list[str], owner: "Owner", check: Path | None
) -> "Enrolment":
    """A marked copy by a method that a package brings, as a rule."""
    from onnxnnw.enrolment.method_mark import embed_by_method
    from onnxnnw.methods.discovery import find_file_insertion
    from onnxnnw.parameters import from_arguments

    insertion = from_arguments(find_file_insertion(method), method, arguments)
    if check is not None:
        from onnxnnw.enrolment.price import refuse_samples

        refuse_samples(model, check)
    return embed_by_method(model, out, record, insertion, owner)


def _refuse_with_recipients(
    insertion: str | None, value_std: float | None, destination_id: str, keep: list[Path]
) -> None:
    if insertion not in (None, "added") or value_std is not None:
        raise UsageError("the marks of recipients are added; leave --insertion and --value-std out")
    if destination_id:
        raise UsageError("each recipient of the list is a destination; leave --destination-id out")
    if keep:
        raise UsageError("copies for recipients share their positions; --keep belongs to single marks")


def _for_recipients(
    model: Path,
    listed: Path,
    copies: Path,
    records: Path,
    positions: int | None,
    strength: float | None,
    owner: "Owner",
    check: Path | None,
    unchecked: bool,
    registry: str | None,
    as_json: bool,
) -> None:
    """A marked copy and a record for each recipient of a list."""
    from onnxnnw.enrolment.recipients.embedding import embed_for_recipients
    from onnxnnw.enrolment.recipients.recipient_list import read_recipients

    recipients = read_recipients(listed)
    if check is not None:
        from onnxnnw.enrolment.price import refuse_samples

        refuse_samples(model, check)
    with registries.adding(registry, None, model) as kept:
        progress = bars.Counted("copies")
        done = embed_for_recipients(model, recipients, copies, records, positions, strength, owner, progress, kept)
    price = None if unchecked else _price(model, done.copies[0].copy, check)
    show.copies_for_recipients(done, copies, records, as_json, price)


_LARGEST_DRAWN = 2**28
"""Bytes of a network whose outputs are compared without being asked."""


def _price(model: Path, out: Path, samples: Path | None) -> "Price | str":
    """What the mark costs in outputs; a reason where that cannot be told on drawn inputs."""
    from onnxnnw.enrolment.price import price_of

    if samples is None and model.stat().st_size > _LARGEST_DRAWN:
        return "the network is large; bring samples (--check)"
    try:
        return price_of(model, out, samples)
    except TraceabilityError as error:
        if samples is not None:
            raise type(error)(f"the copy is marked and recorded, but its outputs cannot be compared: {error}") from None
        if isinstance(error.__cause__, ImportError):
            return f"not compared: {error}"
        return f"drawn inputs do not fit; bring samples (--check): {error}"
