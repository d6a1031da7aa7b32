"""demo: the main job on the network that ships with the package."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from onnxnnw.cli import show
from onnxnnw.cli.bars import Bar

if TYPE_CHECKING:
    from onnxnnw.demo import DemoRow
    from onnxnnw.verification.verdict import Verdict

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(demo)


def demo(
    folder: Path = typer.Option(Path("onnxnnw-demo"), "--output", "-o", help="A new folder for the demo's files."),
) -> int:
    """Mark a real network, modify it in ten ways, and find the mark in each result.

    Example: onnxnnw demo
    """
    from onnxnnw.demo import FILES, run_demo

    rows: list[DemoRow] = []
    bar = Bar()
    for row in run_demo(folder):
        rows.append(row)
        if bar.on_terminal:
            bar.show(f"{len(rows)} files made and verified", len(rows), FILES)
    bar.close()
    _show(rows, folder)
    return 0 if all(row.expected for row in rows) else 1


def _show(rows: "list[DemoRow]", folder: Path) -> None:
    print(
        "A small image classifier (ResNet8) was marked at 512 secret positions, then changed as deployment changes it.\n"
    )
    show.table(
        ["what was done to the marked network", "same answers", "the tracker's mark", "fingerprint", "a wrong key"],
        [[r.what, f"{r.agreement:.0%}", _cell(r.watermark), _cell(r.fingerprint), _cell(r.wrong_key)] for r in rows],
        right=(1,),
    )
    print(
        "\nsame answers: of 256 synthetic pictures that the unmarked network is sure of, those classified as it does.\n"
        "traced 1e-N:  an unrelated network would look like this with probability 1 in 10^N; traced means below 1e-6.\n"
        "fingerprint:  knows the network itself, marked or not; a wrong key must find nothing.\n"
    )
    good = sum(row.expected for row in rows)
    typer.secho(f"{good} of {len(rows)} files were judged rightly by all three records.", bold=True)
    print(f"The files and records are in {folder}/, for example:")
    print(f"  onnxnnw verify {folder}/{rows[-1].file} --record {folder}/tracker.record")


def _cell(verdict: "Verdict") -> str:
    return f"{verdict.decision} 1e{verdict.log10_p:.0f}" if verdict.meets() else verdict.decision
