"""verify: judge files by records."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from onnxnnw.cli import evidence_options, show, verdicts
from onnxnnw.errors import TraceabilityError, UsageError

if TYPE_CHECKING:
    from onnxnnw.evidence.answer import Answer
    from onnxnnw.evidence.writing import Writer
    from onnxnnw.sources.inference import Questions

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(verify)


def verify(
    candidates: list[str] = typer.Argument(
        help="ONNX files, their addresses, or a repository: hf://owner/name.", metavar="CANDIDATE..."
    ),
    record: list[Path] = typer.Option([], help="A record; repeatable."),
    records: Path | None = typer.Option(
        None, help="A folder of records to search; FOLDER/** searches those inside too."
    ),
    registry: str | None = typer.Option(None, help="A registry to search, a file or postgresql:// URL."),
    reference: Path | None = typer.Option(
        None, help="Your own copy of the recorded network: sees through channels in another order."
    ),
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
    proof: Path | None = typer.Option(
        None, help="Proof that the record is in a log, its timestamp beside it (PROOF.tsr): by when it existed."
    ),
    log_key: str = typer.Option("", help="Public key of that log, NAME+KEYID+BASE64."),
    tsa_root: Path | None = typer.Option(
        None, help="Root certificate (PEM) of the timestamp's authority; a registry's too."
    ),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
    parent: Path | None = typer.Option(None, help="Network that the record must have been made of."),
    parent_key: list[Path] = typer.Option([], help="Public key that must have signed it (model_signing); repeatable."),
    sarif: Path | None = evidence_options.SARIF,
    junit: Path | None = evidence_options.JUNIT,
    attestation: Path | None = evidence_options.ATTESTATION,
    sign: Path | None = evidence_options.SIGN,
    sbom: Path | None = evidence_options.SBOM,
    merge: Path | None = evidence_options.MERGE,
    html: Path | None = evidence_options.HTML,
    log: Path | None = evidence_options.LOG,
) -> int:
    """Say whether ONNX files come from a recorded network: exit 0 yes, 1 no, 3 could not tell.

    Example: onnxnnw verify suspect.onnx --record net.record
    """
    from onnxnnw.evidence.answer import document_of
    from onnxnnw.evidence.question import Question, ask

    if (proof is not None) != bool(log_key) or (registry is None and (proof is not None) != (tsa_root is not None)):
        raise UsageError("--proof, --log-key and --tsa-root belong together; a registry has proofs of its own")
    keys = tuple(parent_key)
    question = Question(
        tuple(record), records, commitment, false_positive_rate, require, min_explained, full, reference, parent, keys
    )
    places = (sarif, junit, attestation, sbom, html, log, sign, merge)
    if registry is not None:
        if record or records is not None or commitment is not None or proof is not None or any(places) or endpoint:
            raise UsageError("--registry stands alone: it knows the records and their commitments")
        if len(candidates) != 1 or reference is not None or parent is not None:
            raise UsageError("--registry takes one candidate, without --reference and --parent")
        with show.downloads(max_download):
            one = candidates[0] if "://" in candidates[0] else Path(candidates[0])
            return verdicts.in_registry(
                *(one, registry, None, require, min_explained, false_positive_rate, full, False, ""),
                *(as_json, tsa_root),
            )
    if endpoint:
        from onnxnnw.sources.inference import Questions

        if len(candidates) != 1 or any(places) or parent is not None or reference is not None:
            raise UsageError("an endpoint is asked alone, without files of evidence, --parent and --reference")
        asked = Questions(queries, per_second, input_name, layout, output_name)
        return _endpoint(
            candidates[0], record, records, false_positive_rate, commitment, asked, decoys, require, as_json
        )
    with show.downloads(max_download):
        files = [one for candidate in candidates for one in _files_of(candidate, file)]
        here = [Path(one) for one in files if "://" not in one]
        writer = _writer(places, [*here, *record, *keys]) if any(places) else None
        answers, lineage = ask(question, files, writer is not None, attestation is not None)
    if proof is not None and tsa_root is not None:
        answers = _dated(answers, proof, log_key, tsa_root)
    if as_json and any(answer.search is not None for answer in answers):
        show.document(document_of(answers))
    else:
        _show_answers(answers, not as_json)
    if writer is not None:
        writer.write(answers, lineage, ["onnxnnw", *sys.argv[1:]])
    return max(answer.code for answer in answers)


def _dated(answers: "list[Answer]", proof: Path, log_key: str, tsa_root: Path) -> "list[Answer]":
    """The answers, with the time by which the record existed."""
    from onnxnnw.registry.log.checkpoints import VerifierKey
    from onnxnnw.registry.log.evidence import with_existed_before

    key = VerifierKey.from_text(log_key)
    found = [(one, one.search) for one in answers]
    return [
        one if search is None else replace(one, search=with_existed_before(search, proof, key, tsa_root))
        for one, search in found
    ]


def _writer(places: "tuple[Path | None, ...]", inputs: list[Path]) -> "Writer":
    from onnxnnw.evidence.writing import Outputs, Writer

    return Writer(Outputs(*places), inputs)


def _show_answers(answers: "list[Answer]", on_stdout: bool) -> None:
    for number, answer in enumerate(answers):
        if on_stdout and number:
            print()
        if answer.search is None:
            show.error(answer.sentence)
        elif on_stdout:
            verdicts.show_search(
                answer.search.verdicts, answer.search.unreadable, answer.search.seconds_per_record, answer.name
            )
            _show_parent(answer)
    if on_stdout and len(answers) > 1:
        from onnxnnw.evidence.answer import summary

        print(f"\n{show.visible(summary(answers))}")


def _show_parent(answer: "Answer") -> None:
    if answer.parent is not None:
        show.pairs([("parent", f"the record was made of {answer.parent.sentence}")])
    for problem in answer.problems:
        if problem.rule.name in ("OtherParent", "NotSigned", "AttestationUnusable"):
            typer.secho(f"no: {show.visible(problem.sentence)}", fg="red", err=True)


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
        verdicts.show_search(result.verdicts, result.unreadable, result.seconds_per_record, show.place(candidate))
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
