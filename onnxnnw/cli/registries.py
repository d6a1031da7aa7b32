"""Shared by commands on registries: the command group, its options, and opening a registry."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from onnxnnw.cli import show
from onnxnnw.errors import UsageError

if TYPE_CHECKING:
    from onnxnnw.records.record import Record
    from onnxnnw.registry.store import Registry

__all__ = ["KEY_FILE", "REGISTRY", "add_to", "adding", "group_of", "opened"]

REGISTRY = typer.Option(None, "--registry", envvar="ONNXNNW_REGISTRY", help="File or postgresql:// URL of a registry.")
KEY_FILE = typer.Option(None, "--key-file", envvar="ONNXNNW_KEY_FILE", help="Key of a registry that is encrypted.")


def group_of(app: typer.Typer) -> typer.Typer:
    """The command group `registry`, created by the first file that asks for it."""
    group = next((info.typer_instance for info in app.registered_groups if info.name == "registry"), None)
    if group is None:
        group = typer.Typer(help="Keep many records, and prove when they were there.", no_args_is_help=True)
        app.add_typer(group, name="registry")
    return group


def opened(place: str | None, key_file: Path | None, create: bool = False) -> "Registry":
    """The registry that was asked for.

    Raises:
        UsageError: None was.
    """
    from onnxnnw.registry.encryption import vault_of
    from onnxnnw.registry.log.kept import append
    from onnxnnw.registry.store import Registry

    if not place:
        raise UsageError("give a registry: --registry PATH, or ONNXNNW_REGISTRY")
    return Registry(place, create, vault_of(key_file), append)


def add_to(place: str | None, key_file: Path | None, record: Path, network: Path) -> None:
    """Add a record that was just made, if a registry was named."""
    if not place:
        return
    from onnxnnw.records.record_file import load_record

    with opened(place, key_file, create=True) as registry:
        registry.add([load_record(record).to_bytes()], network.name)
        show.note(f"added to the registry {registry.place}")


@contextmanager
def adding(place: str | None, key_file: Path | None, network: Path) -> "Iterator[Callable[[Record], None]]":
    """What adds each record of a run to a registry, if one was named; it returns once the record is there to stay."""
    if not place:
        yield lambda record: None
        return
    added = 0

    def add(record: "Record") -> None:
        nonlocal added
        if not registry.has(record.commitment):
            added += len(registry.add([record.to_bytes()], network.name).new)

    with opened(place, key_file, create=True) as registry:
        yield add
        show.note(f"added {added:,} records to the registry {registry.place}")
