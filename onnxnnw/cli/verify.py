"""verify: what a record says of a file."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from onnxnnw.cli import registries, show
from onnxnnw.errors import TraceabilityError, UsageError

if TYPE_CHECKING:
    from onnxnnw.methods.base import Decoded
    from onnxnnw.verification.verdict import Verdict

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(verify)
    registries.group_of(app).command("search")(search)


_COLOURS = {"identical": "green", "traced": "green", "not traced": "red", "inconclusive": "yellow"}


def verify(
    candidate: Path = typer.Argument(help="An ONNX file."),
    record: list[Path] = typer.Option([], help="A record; repeatable."),
    records: Path | None = typer.Option(None, help="A folder of records to search."),
    registry: str | None = typer.Option(None, help="A registry to search, a file or postgresql:// URL."),
    require: str = typer.Option("traced", help="What the gate wants: traced or identical."),
    min_explained: float = typer.Option(0.0, help="Share of the weights (0 to 1) that the record must explain."),
    false_positive_rate: float = typer.Option(1e-6, help="How often an unrelated network may be called traced."),
    commitment: str | None = typer.Option(None, help="Published SHA-256 of the record; any other record is refused."),
    full: bool = typer.Option(
        False, "--full", help="Also compare the canonical digest, which alone can say identical."
    ),
    proof: Path | None = typer.Option(
        None, help="Proof that the record is in a log, its timestamp beside it (PROOF.tsr): by when it existed."
    ),
    log_key: str = typer.Option("", help="Public key of that log, NAME+KEYID+BASE64."),
    tsa_root: Path | None = typer.Option(None, help="Root certificate (PEM) of the timestamp's authority."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> int:
    """Say whether an ONNX file comes from a recorded network: exit 0 yes, 1 no, 3 could not tell.

    Example: onnxnnw verify suspect.onnx --record net.record
    """
    from onnxnnw.verification.verify import examine

    if require not in ("traced", "identical"):
        raise UsageError(f"--require is traced or identical, not {require!r}")
    if not 0 <= min_explained <= 1:
        raise UsageError(f"--min-explained lies between 0 and 1, not at {min_explained}")
    if (proof is not None) != bool(log_key) or (proof is not None) != (tsa_root is not None):
        raise UsageError("--proof, --log-key and --tsa-root belong together")
    full = full or require == "identical"
    if registry is not None:
        if record or records is not None or commitment is not None or proof is not None:
            raise UsageError("--registry stands alone: it knows the records and their commitments")
        return _in_registry(
            candidate, registry, None, require, min_explained, false_positive_rate, full, False, "", as_json
        )
    result = examine(candidate, record, records, false_positive_rate, full, commitment)
    if proof is not None and tsa_root is not None:
        from onnxnnw.registry.log.checkpoints import VerifierKey
        from onnxnnw.registry.log.evidence import with_existed_before

        result = with_existed_before(result, proof, VerifierKey.from_text(log_key), tsa_root)
    if as_json:
        show.document(result.to_json())
    else:
        _show_search(result.verdicts, result.unreadable, result.seconds_per_record, candidate)
    if result.meets(require, min_explained):
        return 0
    return TraceabilityError.exit_code if result.unsure else 1


def search(
    candidate: Path = typer.Argument(help="An ONNX file."),
    registry: str | None = registries.REGISTRY,
    key_file: Path | None = registries.KEY_FILE,
    false_positive_rate: float = typer.Option(1e-6, help="How often an unrelated network may be called traced."),
    thorough: bool = typer.Option(False, "--thorough", help="Scan all positions of every record."),
    methods: str = typer.Option("", help="tbw: also records whose method runs the candidate."),
    full: bool = typer.Option(False, "--full", help="Also compare the canonical digest."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> int:
    """Find the record of a registry that an ONNX file comes from: exit 0 found, 1 not, 3 could not tell.

    Example: onnxnnw registry search suspect.onnx --registry records.db
    """
    return _in_registry(
        candidate, registry, key_file, "traced", 0.0, false_positive_rate, full, thorough, methods, as_json
    )


def _in_registry(
    candidate: Path,
    place: str | None,
    key_file: Path | None,
    require: str,
    min_explained: float,
    rate: float,
    full: bool,
    thorough: bool,
    methods: str,
    as_json: bool,
) -> int:
    from onnxnnw.registry.search import search_registry

    wanted = tuple(methods.replace(",", " ").split())
    with registries.opened(place, key_file) as opened:
        found = search_registry(candidate, opened, rate, full, thorough, wanted)
    if as_json:
        show.document(found.to_json())
    else:
        _show_search(found.search.verdicts, found.search.unreadable, found.search.seconds_per_record, candidate)
        print(f"{found.tried:,} records tried in {found.seconds:.2f} s; every p-value is multiplied by their number")
        for entry in found.entries:
            if entry.revoked_at is not None:
                said = f"record {entry.commitment[:16]}… was revoked at {entry.revoked_at}: {entry.reason}"
                typer.secho(f"warning: {show.visible(said)}", fg="yellow", err=True)
    if found.meets(require, min_explained):
        return 0
    return TraceabilityError.exit_code if found.search.unsure else 1


def _show_search(verdicts: "tuple[Verdict, ...]", unreadable: tuple[str, ...], seconds: float, candidate: Path) -> None:
    _show_verdict(verdicts[0], candidate)
    if len(verdicts) > 1:
        print(f"\n{len(verdicts)} records, {seconds * 1e3:.0f} ms each; every p-value is multiplied by their number")
        rows = [[v.decision, v.record, v.kind, show.number(v.log10_p), f"{v.effect:.3f}"] for v in verdicts[:20]]
        show.table(["decision", "record", "kind", "log10 p", "effect"], rows, right=(3, 4))
    for reason in unreadable:
        typer.secho(f"warning: not searched: {show.visible(reason)}", fg="yellow", err=True)


def _show_verdict(verdict: "Verdict", candidate: Path) -> None:
    who = " ".join(part for part in (verdict.role, verdict.actor) if part)
    typer.secho(verdict.decision, fg=_COLOURS[verdict.decision], bold=True, nl=False)
    print(
        show.visible(
            f"  {candidate} against {verdict.record} ({verdict.method} {verdict.kind}{', ' + who if who else ''})"
        )
    )
    missing = f" ({verdict.absent:,} absent, {verdict.unread:,} unread)" if verdict.read < verdict.positions else ""
    show.pairs(
        [
            ("log10 p", f"{show.number(verdict.log10_p)}   (false-positive rate {verdict.rate:g})"),
            ("effect", f"{verdict.effect:.3f}"),
            ("coverage", f"{verdict.coverage:.0%} of {verdict.positions:,} {verdict.unit}{missing}"),
            *(
                [("handed on", f"from {verdict.source_id or '?'} to {verdict.destination_id or '?'}")]
                if verdict.source_id or verdict.destination_id
                else []
            ),
            *([("payload", _decoded(verdict.payload))] if verdict.payload is not None else []),
            ("explained", _explained(verdict)),
            ("standard", f"{verdict.standard.sentence}, nominal"),
            ("evidence", verdict.evidence.sentence),
            *(("finding" if not n else "", f.sentence) for n, f in enumerate(verdict.findings)),
        ]
    )
    for problem in verdict.not_understood[:3]:
        typer.secho(f"warning: not covered: {show.visible(problem)}", fg="yellow", err=True)


def _explained(verdict: "Verdict") -> str:
    account = verdict.account
    if verdict.decision == "identical":
        return "100 %: a digest leaves nothing out"
    share = f"{verdict.explained:.1%} of what is stored at least, {account.disagree:,} of {account.looked_at:,} numbers differ"
    left = ", ".join(f"{amount:,} of {name}" for name, amount in account.parts.items() if amount)
    return f"{share}; not explained: {left}" if left else share


def _decoded(payload: "Decoded") -> str:
    text = f"{payload.text!r}" if payload.text else "none"
    return f"{text}, {payload.errors:,} of {payload.symbols:,} Symbols wrong"
