"""check: verify files and folders against a policy, with one answer."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from onnxnnw.cli import evidence_options, show

if TYPE_CHECKING:
    from onnxnnw.gate.checking import PolicyAnswer

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(check)


_COLOURS = {0: "green", 1: "red", 3: "yellow"}
_WORDS = {0: "passed", 1: "failed", 3: "could not tell"}


def check(
    paths: list[str] = typer.Argument(
        None, help="Files, folders and addresses; without any, all that the policy names."
    ),
    policy: Path = typer.Option(Path("onnxnnw.toml"), help="The policy file."),
    changed_since: str = typer.Option("", help="Leave out networks that are as they were at this revision of git."),
    max_download: str = typer.Option("1GiB", help=show.DOWNLOAD_HELP),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
    sarif: Path | None = evidence_options.SARIF,
    junit: Path | None = evidence_options.JUNIT,
    attestation: Path | None = evidence_options.ATTESTATION,
    sign: Path | None = evidence_options.SIGN,
    sbom: Path | None = evidence_options.SBOM,
    merge: Path | None = evidence_options.MERGE,
    html: Path | None = evidence_options.HTML,
    log: Path | None = evidence_options.LOG,
) -> int:
    """Check networks in files and folders by a policy: exit 0 all pass, 1 one fails, 3 one could not be told.

    Example: onnxnnw check models/ --policy onnxnnw.toml
    """
    from onnxnnw.gate.checking import check as check_by
    from onnxnnw.gate.policy_file import load_policy
    from onnxnnw.sources.addresses import is_address

    places = (sarif, junit, attestation, sbom, html, log, sign, merge)
    rules = load_policy(policy)
    given = [path if is_address(path) else Path(path) for path in paths or ()]
    writer = None
    if any(places):
        from onnxnnw.evidence.writing import Outputs, Writer

        writer = Writer(
            Outputs(*places), [policy, *(path for path in given if isinstance(path, Path))], (policy, rules.sha256)
        )
    with show.downloads(max_download):
        checked = check_by(rules, given, changed_since, attestation is not None)
    if as_json:
        show.document(checked.to_json())
    else:
        _show(checked)
    if writer is not None:
        writer.write(checked.answers, checked.lineage, ["onnxnnw", *map(show.place, sys.argv[1:])])
    return checked.code


def _show(checked: "PolicyAnswer") -> None:
    for unit in dict.fromkeys(answer.unit for answer in checked.answers):
        answers = [answer for answer in checked.answers if answer.unit == unit]
        print(show.visible(unit))
        for answer in answers:
            warns = not answer.enforced and bool(answer.problems)
            word = "would fail" if warns else "off" if not answer.enforced else _WORDS[answer.code]
            typer.secho(f"  {word}", fg="yellow" if warns else _COLOURS[answer.code], bold=True, nl=False)
            print(f"  {show.visible(answer.name)}: {show.visible(_held(answer.sentence, answer.notes))}")
            for problem in answer.problems:
                print(f"    {problem.rule.id} {show.visible(problem.rule.advice)}")
    print(show.visible(checked.summary))


def _held(sentence: str, notes: tuple[str, ...]) -> str:
    return "; ".join([sentence, *notes])
