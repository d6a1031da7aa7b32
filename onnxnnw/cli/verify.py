"""verify: what a record says of a file."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from onnxnnw.cli import show
from onnxnnw.errors import TraceabilityError, UsageError

if TYPE_CHECKING:
    from onnxnnw.methods.base import Decoded
    from onnxnnw.sources.inference import Questions
    from onnxnnw.verification.verdict import Verdict

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(verify)


_COLOURS = {"identical": "green", "traced": "green", "not traced": "red", "inconclusive": "yellow"}


def verify(
    candidate: str = typer.Argument(help="An ONNX file, its address, or a repository: hf://owner/name."),
    record: list[Path] = typer.Option([], help="A record; repeatable."),
    records: Path | None = typer.Option(None, help="A folder of records to search."),
    require: str = typer.Option("traced", help="What the gate wants: traced or identical."),
    min_explained: float = typer.Option(0.0, help="Share of the weights (0 to 1) that the record must explain."),
    false_positive_rate: float = typer.Option(1e-6, help="How often an unrelated network may be called traced."),
    commitment: str | None = typer.Option(None, help="Published SHA-256 of the record; any other record is refused."),
    full: bool = typer.Option(
        False, "--full", help="Also compare the canonical digest, which alone can say identical."
    ),
    file: str = typer.Option("", help="The file of a repository that is meant; by default all of its ONNX files."),
    max_download: str = typer.Option("1GiB", help=show.DOWNLOAD_HELP),
    endpoint: bool = typer.Option(False, "--endpoint", help="The candidate is an inference server that is asked."),
    queries: int = typer.Option(1000, help="How many requests an endpoint may be sent, decoys and retries among them."),
    per_second: float = typer.Option(10.0, help="How many requests a second an endpoint is sent at most."),
    decoys: float = typer.Option(1.0, help="Decoys for each trigger that is put to an endpoint (0 to 1)."),
    input_name: str = typer.Option("", help="Input of an endpoint; by default the server is asked."),
    layout: str = typer.Option("", help="How an endpoint's images lie: NCHW or NHWC; by default the server is asked."),
    output_name: str = typer.Option("", help="Output of an endpoint; by default the one that fits."),
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
    full = full or require == "identical"
    if endpoint:
        from onnxnnw.sources.inference import Questions

        asked = Questions(queries, per_second, input_name, layout, output_name)
        return _endpoint(candidate, record, records, false_positive_rate, commitment, asked, decoys, require, as_json)
    with show.downloads(max_download):
        found = {
            show.place(one): examine(one, record, records, false_positive_rate, full, commitment, min_explained > 0)
            for one in _files_of(candidate, file)
        }
    if as_json:
        documents = {name: result.to_json() for name, result in found.items()}
        several = {"format": "onnxnnw/verdicts/1", "files": documents}
        show.document(several if len(found) > 1 else next(iter(documents.values())))
    else:
        for name, result in found.items():
            _show_search(result.verdicts, result.unreadable, result.seconds_per_record, name)
    if all(result.meets(require, min_explained) for result in found.values()):
        return 0
    return TraceabilityError.exit_code if any(result.unsure for result in found.values()) else 1


def _endpoint(
    candidate: str,
    record: list[Path],
    records: Path | None,
    rate: float,
    commitment: str | None,
    asked: "Questions",
    decoys: float,
    require: str,
    as_json: bool,
) -> int:
    """Ask an endpoint instead of looking at a file."""
    from onnxnnw.sources.inference import Endpoint
    from onnxnnw.verification.endpoint import ask
    from onnxnnw.verification.named_records import named_record

    if len(record) != 1 or records is not None or not 0 <= decoys <= 1:
        raise UsageError("an endpoint is held against exactly one --record, with --decoys between 0 and 1")
    with Endpoint(candidate, asked) as endpoint:
        result = ask(endpoint, named_record(record[0], commitment), rate, decoys)
    if as_json:
        show.document(result.to_json())
    else:
        _show_search(result.verdicts, result.unreadable, result.seconds_per_record, show.place(candidate))
    if result.meets(require):
        return 0
    return TraceabilityError.exit_code if result.unsure else 1


def _files_of(candidate: str, file: str) -> list[str]:
    """The candidate; of a repository, its networks."""
    if "://" in candidate:
        from onnxnnw.sources.addresses import is_repository
        from onnxnnw.sources.hub import networks_of

        if is_repository(candidate):
            return networks_of(candidate, file)
    if file:
        raise UsageError("--file names a file of a repository, hf://owner/name; this candidate is none")
    return [candidate]


def _show_search(verdicts: "tuple[Verdict, ...]", unreadable: tuple[str, ...], seconds: float, candidate: str) -> None:
    _show_verdict(verdicts[0], candidate)
    if len(verdicts) > 1:
        print(f"\n{len(verdicts)} records, {seconds * 1e3:.0f} ms each; every p-value is multiplied by their number")
        rows = [[v.decision, v.record, v.kind, show.number(v.log10_p), f"{v.effect:.3f}"] for v in verdicts[:20]]
        show.table(["decision", "record", "kind", "log10 p", "effect"], rows, right=(3, 4))
    for reason in unreadable:
        typer.secho(f"warning: not searched: {show.visible(reason)}", fg="yellow", err=True)


def _show_verdict(verdict: "Verdict", candidate: str) -> None:
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
    if verdict.path == "endpoint":
        return "nothing: no weight was looked at"
    if verdict.decision == "identical":
        return "100 %: a digest leaves nothing out"
    share = f"{verdict.explained:.1%} of what is stored at least, {account.disagree:,} of {account.looked_at:,} numbers differ"
    left = ", ".join(f"{amount:,} of {name}" for name, amount in account.parts.items() if amount)
    return f"{share}; not explained: {left}" if left else share


def _decoded(payload: "Decoded") -> str:
    text = f"{payload.text!r}" if payload.text else "none"
    return f"{text}, {payload.errors:,} of {payload.symbols:,} Symbols wrong"
