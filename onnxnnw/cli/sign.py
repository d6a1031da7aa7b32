"""sign: a signature beside a network, as model_signing makes it."""

from pathlib import Path

import typer

from onnxnnw.cli import show

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(sign)


def sign(
    model: Path = typer.Argument(help="An ONNX file, or a folder of which all files are signed."),
    key: Path = typer.Option(..., help="Private key (PEM): ECDSA on P-256 or P-384."),
    output: Path | None = typer.Option(
        None, "--output", "-o", help="The bundle; MODEL.sig, or model.sig in the folder."
    ),
) -> None:
    """Sign a network so that model_signing, and policies here, know who released it.

    Example: onnxnnw sign net.onnx --key release.pem
    """
    from onnxnnw.evidence.keys import load_signer
    from onnxnnw.evidence.oms import IN_FOLDER, signed_bundle
    from onnxnnw.network_file.writing import refuse_place, write_whole

    out = output or (model / IN_FOLDER if model.is_dir() else model.with_name(f"{model.name}.sig"))
    refuse_place(out, b"{")
    signer = load_signer(key)
    write_whole(out, signed_bundle(model, signer, out))
    print(f"{show.visible(str(out))}  signed by the key {signer.public.id[:16]}…")
