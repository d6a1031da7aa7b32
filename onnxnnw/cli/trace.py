"""fingerprint, embed, verify: the tracker's and the auditor's commands."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from onnxnnw.cli import show
from onnxnnw.errors import TraceabilityError, UsageError

if TYPE_CHECKING:
    from onnxnnw.enrolment.enrol import Enrolment
    from onnxnnw.enrolment.price import Price
    from onnxnnw.methods.base import Decoded
    from onnxnnw.verification.verdict import Verdict

__all__ = ["register"]

_COLOURS = {"identical": "green", "traced": "green", "not traced": "red", "inconclusive": "yellow"}


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(fingerprint)
    app.command()(embed)
    app.command()(verify)


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
    _report(enrolment, record, None, as_json)


def embed(
    model: Path = typer.Argument(help="An ONNX file; it is only read."),
    out: Path = typer.Option(..., "--output", "-o", help="Where to write the marked copy."),
    record: Path = typer.Option(..., "--record", help="Where to write the record. Keep it secret."),
    positions: int | None = typer.Option(
        None,
        help="N: number of secret positions.",
        show_default="512, at most 1 % of the eligible weights, at least 164",
    ),
    insertion: str | None = typer.Option(
        None, help="added to the weights, or replaced: the weights become the mark.", show_default="added"
    ),
    strength: float | None = typer.Option(
        None, help="Deviation of the mark, in units of each layer's.", show_default="0.4 added, 1 replaced"
    ),
    value_std: float | None = typer.Option(
        None, help="Absolute deviation of the mark's values, instead of --strength."
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
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    """Write a marked copy of a network, and the record that proves it.

    Example: onnxnnw embed net.onnx -o marked.onnx --record net.record --actor "ACME" --role Tracker
    """
    from onnxnnw.enrolment.enrol import embed as library
    from onnxnnw.enrolment.owner import Owner
    from onnxnnw.records.record_file import load_record

    owner = Owner(actor, role, source_id, destination_id)
    others = [load_record(path) for path in keep]
    enrolment = library(model, out, record, positions, strength, value_std, owner, others, insertion=insertion)
    _report(enrolment, record, out, as_json, None if unchecked else _price(model, out, check))


def verify(
    candidate: Path = typer.Argument(help="An ONNX file."),
    record: list[Path] = typer.Option([], help="A record; repeatable."),
    records: Path | None = typer.Option(None, help="A folder of records to search."),
    require: str = typer.Option("traced", help="What the gate wants: traced or identical."),
    min_explained: float = typer.Option(0.0, help="Share of the weights (0 to 1) that the record must explain."),
    false_positive_rate: float = typer.Option(1e-6, help="How often an unrelated network may be called traced."),
    commitment: str | None = typer.Option(None, help="Published SHA-256 of the record; any other record is refused."),
    full: bool = typer.Option(
        False, "--full", help="Also compare the canonical digest, which alone can say identical."
    ),
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
    result = examine(candidate, record, records, false_positive_rate, full, commitment)
    if as_json:
        show.document(result.to_json())
    else:
        _show_search(result.verdicts, result.unreadable, result.seconds_per_record, candidate)
    if result.meets(require, min_explained):
        return 0
    return TraceabilityError.exit_code if result.unsure else 1


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
        return f"drawn inputs do not fit; bring samples (--check): {error}"


def _report(
    enrolment: "Enrolment", record: Path, out: Path | None, as_json: bool, price: "Price | str | None" = None
) -> None:
    kept = enrolment.record
    if as_json:
        show.document(
            {
                "format": "onnxnnw/enrolment/1",
                "kind": kept.kind,
                "record": str(record),
                "output": None if out is None else str(out),
                "commitment": enrolment.commitment,
                "positions": kept.number_of_positions,
                "capacity": enrolment.capacity,
                "shared_positions": enrolment.shared_positions,
                "digest": kept.derived["digest"],
                "warnings": list(enrolment.warnings),
                "price": None if price is None or isinstance(price, str) else price.to_json(),
            }
        )
        return
    rows = [("record", f"{record}  (secret: whoever holds it can erase the mark)")]
    if out is not None:
        rows.insert(0, ("marked copy", str(out)))
    rows += [
        ("positions", f"{kept.number_of_positions:,} of {enrolment.capacity:,} eligible weights"),
        ("commitment", f"{enrolment.commitment}  (publish it before the network)"),
    ]
    if enrolment.shared_positions:
        rows.append(("shared", f"{enrolment.shared_positions:,} positions with the marks to keep"))
    if price is not None:
        rows.append(("price", show.visible(price if isinstance(price, str) else price.sentence)[:300]))
    show.pairs(rows)
    for warning in enrolment.warnings:
        typer.secho(f"warning: {show.visible(warning)}", fg="yellow", err=True)


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
