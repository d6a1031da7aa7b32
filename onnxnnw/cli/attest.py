"""attest: check statements and signatures of others, offline."""

from pathlib import Path
from typing import Any

import typer

from onnxnnw.cli import show

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the group of commands."""
    group = typer.Typer(no_args_is_help=True, help="Check statements and signatures, without a network connection.")
    group.command("verify")(verify)
    app.add_typer(group, name="attest")


def verify(
    statement: Path = typer.Argument(help="Statements (--attestation wrote them), or a bundle of model_signing."),
    file: list[Path] = typer.Option([], help="A file that they must be about; repeatable."),
    key: list[Path] = typer.Option(..., help="Public key (PEM) that must have signed them; repeatable."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> int:
    """Check who signed a statement, what it is about and what it says: exit 0 signed and passed, 1 not, 3 unreadable.

    Example: onnxnnw attest verify net.intoto.jsonl --file net.onnx --key ci.pub
    """
    from onnxnnw.evidence.attested import check_file

    checks = check_file(statement, file, key)
    if as_json:
        show.document(_document(statement, checks))
    else:
        for check in checks:
            word, colour = ("no", "red") if check.problem else ("yes", "green")
            typer.secho(word, fg=colour, bold=True, nl=False)
            about = f"{', '.join(check.subjects)}: {check.said}"
            print(f"  {show.visible(about)}{show.visible('; ' + check.problem) if check.problem else ''}")
    return int(any(check.problem for check in checks))


def _document(statement: Path, checks: Any) -> dict[str, Any]:
    return {
        "format": "onnxnnw/attested/1",
        "path": show.visible(str(statement)),
        "answer": "no" if any(check.problem for check in checks) else "yes",
        "statements": [
            {"subjects": list(check.subjects), "says": check.said, "problem": check.problem or None} for check in checks
        ],
    }
