"""How verdicts look on a terminal, and those of a registry."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from onnxnnw.cli import registries, show
from onnxnnw.errors import TraceabilityError

if TYPE_CHECKING:
    from onnxnnw.methods.base import Decoded
    from onnxnnw.registry.search import RegistrySearch
    from onnxnnw.registry.store import Registry
    from onnxnnw.verification.verdict import Verdict

__all__ = ["in_registry", "show_search"]

_COLOURS = {"identical": "green", "traced": "green", "not traced": "red", "inconclusive": "yellow"}


def in_registry(
    candidate: Path | str,
    place: str | None,
    key_file: Path | None,
    require: str,
    min_explained: float,
    rate: float,
    full: bool,
    thorough: bool,
    methods: str,
    as_json: bool,
    tsa_root: Path | None = None,
    cluster: str = "",
) -> int:
    """Hold a candidate against a registry; the exit code.

    Args:
        methods: Names of methods that run the candidate, to be tried too.
        tsa_root: Certificates of authorities, by whose timestamps it is said when a record existed.
        cluster: Address of a Dask scheduler whose workers scan.
    """
    from onnxnnw.registry.search import search_registry

    wanted = tuple(methods.replace(",", " ").split())
    with registries.opened(place, key_file) as opened:
        answer = search_registry(candidate, opened, rate, full, thorough, wanted, 0, cluster, key_file)
        found = _dated(answer, opened, tsa_root)
    if as_json:
        show.document(found.to_json())
    else:
        search = found.search
        show_search(search.verdicts, search.unreadable, search.seconds_per_record, show.place(candidate), found.tried)
        print(f"{found.tried:,} records tried in {found.seconds:.2f} s; every p-value is multiplied by their number")
        for entry in found.entries:
            if entry.revoked_at is not None:
                said = f"record {entry.commitment[:16]}… was revoked at {entry.revoked_at}: {entry.reason}"
                typer.secho(f"warning: {show.visible(said)}", fg="yellow", err=True)
    if found.meets(require, min_explained):
        return 0
    return TraceabilityError.exit_code if found.search.unsure else 1


def _dated(found: "RegistrySearch", opened: "Registry", tsa_root: Path | None) -> "RegistrySearch":
    """What was found, with the time by which each record that matches existed."""
    from onnxnnw.registry.log.evidence import read_roots, with_dates
    from onnxnnw.registry.log.kept import KeptLog

    log = KeptLog(opened.database, opened.vault)
    if tsa_root is not None:
        return replace(found, search=with_dates(found.search, log, read_roots(tsa_root), show.note))
    proven = [v for v in found.search.verdicts if v.decision in ("traced", "identical")]
    if proven and log.stamped(proven[0].evidence.commitment):
        show.note(
            "the log that holds this record was timestamped: --tsa-root PEM checks that, and says by when it existed"
        )
    return found


def show_search(
    verdicts: "tuple[Verdict, ...]", unreadable: tuple[str, ...], seconds: float, candidate: object, tried: int = 0
) -> None:
    """Show the best verdict, and the others as a table.

    Args:
        seconds: Each record took.
        tried: Records that the verdicts are the best of; 0 where they are all.
    """
    _show_verdict(verdicts[0], candidate)
    if len(verdicts) > 1:
        which = f"the best {len(verdicts)} of {tried:,} records" if tried else f"{len(verdicts)} records"
        print(f"\n{which}, {seconds * 1e3:.0f} ms each; every p-value is multiplied by the number of all")
        rows = [[v.decision, v.record, v.kind, show.number(v.log10_p), f"{v.effect:.3f}"] for v in verdicts[:20]]
        show.table(["decision", "record", "kind", "log10 p", "effect"], rows, right=(3, 4))
        show.rest(len(verdicts) - len(rows), "records")
    for reason in unreadable:
        typer.secho(f"warning: not searched: {show.visible(reason)}", fg="yellow", err=True)


def _show_verdict(verdict: "Verdict", candidate: object) -> None:
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
            ("log10 p", _log10_p(verdict)),
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
            *([("reference", verdict.reference.sentence)] if verdict.reference is not None else []),
            *(("finding" if not n else "", f.sentence) for n, f in enumerate(verdict.findings)),
        ]
    )
    for problem in verdict.not_understood[:3]:
        typer.secho(f"warning: not covered: {show.visible(problem)}", fg="yellow", err=True)
    show.rest(len(verdict.not_understood) - 3, "parts that are not covered; --json names them", err=True)


def _log10_p(verdict: "Verdict") -> str:
    rate = f"(false-positive rate {verdict.rate:g})"
    if verdict.reference is not None and verdict.reference.used and verdict.log10_p == 0 and verdict.effect > 0.1:
        return f"none is claimed in an order that was fitted   {rate}"
    return f"{show.number(verdict.log10_p)}   {rate}"


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
