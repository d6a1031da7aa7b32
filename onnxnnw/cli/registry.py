"""registry: many records, kept and searched."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from onnxnnw.cli import registries, show
from onnxnnw.errors import CannotLook, UsageError

if TYPE_CHECKING:
    from onnxnnw.registry.entry import RegistryEntry

__all__ = ["register"]

JSON = typer.Option(False, "--json", help="Print JSON.")
_AT_ONCE = 512


def register(app: typer.Typer) -> None:
    """Add the commands to the group `registry`, which another file may have begun."""
    group = registries.group_of(app)
    own: dict[str, Callable[..., object]] = {"add": add, "list": list_, "show": show_, "export": export}
    for name, command in {**own, "revoke": revoke, "check": check, "unicity": unicity}.items():
        group.command(name)(command)


def add(
    records: list[Path] = typer.Argument(help="Record files, or folders of them."),
    registry: str | None = registries.REGISTRY,
    key_file: Path | None = registries.KEY_FILE,
    network: str = typer.Option("", help="A name for the network that they belong to."),
    as_json: bool = JSON,
) -> None:
    """Add records to a registry, which is made where there is none; those that are there already stay as they are.

    Example: onnxnnw registry add net.record --registry records.db --network resnet8
    """
    from onnxnnw.records.record_file import load_record
    from onnxnnw.verification.named_records import load_records

    contents, unreadable = [], []
    for path in records:
        if path.is_dir():
            found, skipped = load_records(path)
            contents += [one.record.to_bytes() for one in found]
            unreadable += skipped
        else:
            contents.append(load_record(path).to_bytes())
    new, known = 0, 0
    with registries.opened(registry, key_file, create=True) as opened:
        for start in range(0, len(contents), _AT_ONCE):
            done = opened.add(contents[start : start + _AT_ONCE], network)
            new, known = new + len(done.new), known + len(done.known)
        place = opened.place
    for reason in unreadable:
        typer.secho(f"warning: not added: {show.visible(reason)}", fg="yellow", err=True)
    if as_json:
        show.document({"format": "onnxnnw/added/1", "registry": place, "new": new, "known": known})
        return
    show.pairs([("registry", place), ("added", f"{new:,} records"), ("known", f"{known:,} were there already")])


def list_(
    registry: str | None = registries.REGISTRY,
    method: str = typer.Option("", help="nct, rtw or tbw."),
    kind: str = typer.Option("", help="watermark or fingerprint."),
    actor: str = typer.Option("", help="Who marked."),
    destination_id: str = typer.Option("", help="Who received the copy."),
    network: str = typer.Option("", help="Name of the network."),
    revoked: bool | None = typer.Option(
        None, "--revoked/--valid", help="Only those that were revoked, or only others."
    ),
    limit: int = typer.Option(1000, min=1, help="At most so many."),
    as_json: bool = JSON,
) -> None:
    """List the records of a registry, in the order in which they came.

    Example: onnxnnw registry list --registry records.db --destination-id ACME
    """
    from onnxnnw.registry.entry import Filters

    with registries.opened(registry, None) as opened:
        found = opened.entries(Filters(method, kind, actor, destination_id, network, revoked), limit)
    if as_json:
        show.document({"format": "onnxnnw/entries/1", "entries": [entry.to_json() for entry in found]})
        return
    rows = [
        [e.commitment[:16], e.method, e.kind, e.network, e.destination_id, e.added_at[:19], e.revoked_at or ""]
        for e in found
    ]
    show.table(["commitment", "method", "kind", "network", "destination", "added", "revoked"], rows)


def show_(
    commitment: str = typer.Argument(help="SHA-256 of the record, or its first digits."),
    registry: str | None = registries.REGISTRY,
    as_json: bool = JSON,
) -> None:
    """Show what a registry lists of one record.

    Example: onnxnnw registry show 935b0fbb --registry records.db
    """
    with registries.opened(registry, None) as opened:
        entry = opened.show(commitment)
    _show_entry(entry, as_json)


def _show_entry(entry: "RegistryEntry", as_json: bool) -> None:
    if as_json:
        show.document({"format": "onnxnnw/entry/1", **entry.to_json()})
    else:
        show.pairs(
            [(name.replace("_", " "), str(value)) for name, value in vars(entry).items() if value not in ("", None)]
        )


def export(
    commitment: str = typer.Argument(help="SHA-256 of the record, or its first digits."),
    output: Path = typer.Option(..., "--output", "-o", help="Where to write the record. Keep it secret."),
    registry: str | None = registries.REGISTRY,
    key_file: Path | None = registries.KEY_FILE,
) -> None:
    """Write a record of a registry to a file, byte for byte as it was added.

    Example: onnxnnw registry export 935b0fbb -o net.record --registry records.db
    """
    from onnxnnw.records.record_file import save_record

    with registries.opened(registry, key_file) as opened:
        save_record(opened.record(commitment), output)
    show.pairs([("record", f"{output}  (secret: whoever holds it can erase the mark)")])


def revoke(
    commitment: str = typer.Argument(help="SHA-256 of the record, or its first digits."),
    reason: str = typer.Option(..., help="Why it no longer holds."),
    registry: str | None = registries.REGISTRY,
    as_json: bool = JSON,
) -> None:
    """Note that a record no longer holds; it stays in the registry, with reason and time.

    Example: onnxnnw registry revoke 935b0fbb --reason "the record leaked" --registry records.db
    """
    with registries.opened(registry, None) as opened:
        entry = opened.revoke(commitment, reason)
    _show_entry(entry, as_json)


def check(
    registry: str | None = registries.REGISTRY, key_file: Path | None = registries.KEY_FILE, as_json: bool = JSON
) -> int:
    """Hold every byte of a registry against what it follows from: exit 0 all is as it was written, 3 something is not.

    Example: onnxnnw registry check --registry records.db
    """
    from onnxnnw.registry.check import problems

    with registries.opened(registry, key_file) as opened:
        found, count = problems(opened), len(opened)
    if as_json:
        show.document({"format": "onnxnnw/checked/1", "records": count, "problems": found})
    elif not found:
        print(f"{count:,} records, their scan pages and the log are as they were written")
    for problem in [] if as_json else found[:20]:
        typer.secho(f"damaged: {show.visible(problem)}", fg="red", err=True)
    return CannotLook.exit_code if found else 0


def unicity(
    networks: list[Path] = typer.Argument(help="ONNX files, or folders of them."),
    registry: str | None = registries.REGISTRY,
    key_file: Path | None = registries.KEY_FILE,
    false_positive_rate: float = typer.Option(1e-6, help="Of each decision."),
    sample: int | None = typer.Option(None, min=1, help="Draw so many fingerprints for each network."),
    seed: int = typer.Option(0, help="Of that drawing."),
    as_json: bool = JSON,
) -> None:
    """Hold a registry's fingerprints against networks that they do not belong to: how often one is found falsely.

    Example: onnxnnw registry unicity models/ --registry records.db
    """
    from onnxnnw.registry.unicity import unicity as library

    with registries.opened(registry, key_file) as opened:
        found = library(opened, [*_networks(networks)], false_positive_rate, sample, seed)
    if as_json:
        show.document(found.to_json())
        return
    rows = [
        [one.layout, f"{one.records:,}", f"{one.pairs:,}", f"{one.false:,}", f"{one.undecided:,}", f"{one.upper:.2g}"]
        for one in found.layouts
    ]
    show.table(["layout", "records", "pairs", "false", "undecided", "rate at most"], rows, right=(1, 2, 3, 4, 5))
    print(f"{found.own:,} pairs of a fingerprint and its own network were left out; limits hold with 95 % confidence")
    for reason in found.unreadable:
        typer.secho(f"warning: not looked at: {show.visible(reason)}", fg="yellow", err=True)


def _networks(paths: list[Path]) -> Iterator[Path]:
    for path in paths:
        yield from sorted(path.glob("*.onnx")) if path.is_dir() else [path]
    if not paths:
        raise UsageError("give networks")
