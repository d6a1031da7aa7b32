"""registry log, registry stamp: what a registry's log proves to somebody without the registry."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from onnxnnw.cli import registries, show
from onnxnnw.errors import UnreadableData, UsageError

if TYPE_CHECKING:
    from onnxnnw.registry.log.kept import KeptLog
    from onnxnnw.registry.store import Registry

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the commands to the group `registry`, which another file may have begun."""
    group = registries.group_of(app)
    log = typer.Typer(help="What the log of a registry proves, and checking it without the registry.")
    log.callback(invoke_without_command=True)(log_command)
    log.command("verify")(verify_command)
    group.add_typer(log, name="log")
    group.command("stamp")(stamp_command)
    group.command("key-file")(key_file_command)


def _log_of(registry: "Registry") -> "KeptLog":
    from onnxnnw.registry.log.kept import KeptLog

    return KeptLog(registry.database, registry.vault)


def log_command(
    context: typer.Context,
    registry: str | None = registries.REGISTRY,
    key_file: Path | None = registries.KEY_FILE,
    key: bool = typer.Option(False, "--key", help="Print the log's public key, to be published."),
    name: str = typer.Option("", help="Name of a new log: an address of yours, without https://; never changed."),
    prove: str = typer.Option("", help="Commitment of a record: print the proof that it is in the log."),
    since: int | None = typer.Option(None, help="Number of entries: print the proof that the log only grew since."),
    output: Path | None = typer.Option(
        None, "--output", "-o", help="Write to a file instead, the timestamp beside it."
    ),
) -> None:
    """Print the signed head of a registry's log, a proof from it, or its public key.

    Example: onnxnnw registry log --registry records.db --prove 935b0fbb -o net.tlog-proof
    """
    if context.invoked_subcommand is not None:
        return
    if sum([key, bool(prove), since is not None]) > 1:
        raise UsageError("--key, --prove and --since are questions of their own; ask one")
    from onnxnnw.network_file.writing import refuse_place, write_whole
    from onnxnnw.registry.log.evidence import TOKEN_ENDING

    if output is not None:
        refuse_place(output, text=True)
        refuse_place(output.with_name(output.name + TOKEN_ENDING))
    with registries.opened(registry, key_file) as opened:
        log = _log_of(opened)
        public = log.key(name)
        stamp = None
        if key:
            content = f"{public}\n".encode()
        elif prove:
            proof = log.prove(prove)
            content, stamp = proof.content, proof.stamp
        else:
            content = log.checkpoint().note if since is None else log.consistency(since)
    if output is None:
        sys.stdout.write(content.decode())
        return
    write_whole(output, content)
    if stamp is not None:
        write_whole(output.with_name(output.name + TOKEN_ENDING), stamp.token)


def verify_command(
    file: Path = typer.Argument(help="A proof, or a checkpoint."),
    key: str = typer.Option(..., help="Public key of the log, NAME+KEYID+BASE64."),
    commitment: str = typer.Option("", help="SHA-256 of the record that the proof is about."),
    record: Path | None = typer.Option(None, help="The record itself, instead."),
    older: Path | None = typer.Option(None, help="The older checkpoint, for a proof that the log only grew."),
    stamp: Path | None = typer.Option(
        None, help="Timestamp of the checkpoint.", show_default="FILE.tsr if it is there"
    ),
    tsa_root: Path | None = typer.Option(None, help="Root certificate (PEM) of the timestamp's authority."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> int:
    """Check a proof or a checkpoint of a log, offline and without the registry: exit 0 yes, 1 no.

    Example: onnxnnw registry log verify net.tlog-proof --key "$KEY" --record net.record --tsa-root tsa.pem
    """
    from onnxnnw.registry.log.checked import check_file

    found = check_file(file, key, commitment, record, older, stamp, tsa_root)
    if as_json:
        show.document(found.to_json())
    else:
        print(show.visible(found.sentence))
    return 0 if found.holds else 1


def stamp_command(
    registry: str | None = registries.REGISTRY,
    key_file: Path | None = registries.KEY_FILE,
    tsa: str = typer.Option(..., help="Address of a timestamp authority (RFC 3161)."),
    tsa_root: Path | None = typer.Option(None, help="Its root certificate (PEM), to check the answer now."),
) -> None:
    """Have the log's head timestamped, and keep the token: all its entries existed by then.

    Example: onnxnnw registry stamp --registry records.db --tsa https://freetsa.org/tsr --tsa-root cacert.pem
    """
    from onnxnnw.registry.log.evidence import read_roots
    from onnxnnw.registry.log.timestamps import request_stamp

    roots = None if tsa_root is None else read_roots(tsa_root)
    with registries.opened(registry, key_file) as opened:
        log = _log_of(opened)
        checkpoint = log.checkpoint()
        if not checkpoint.size:
            raise UnreadableData("the log has no entries yet")
        found = request_stamp(checkpoint.note, tsa, roots)
        log.keep_stamp(checkpoint, found)
    show.pairs([("stamped", f"{checkpoint.size:,} entries existed before {found.text}")])
    if not found.checked:
        typer.secho("warning: the authority's signature was not checked (--tsa-root)", fg="yellow", err=True)


def key_file_command(path: Path = typer.Argument(help="Where to write it.")) -> None:
    """Write a new key for encrypting a registry at rest, readable by you alone; keep a copy elsewhere.

    Example: onnxnnw registry key-file ~/.onnxnnw-key && export ONNXNNW_KEY_FILE=~/.onnxnnw-key
    """
    from onnxnnw.registry.encryption import new_key_file

    new_key_file(path)
    show.pairs([("key", f"{path}  (without it nothing in the registry can be read again)")])
