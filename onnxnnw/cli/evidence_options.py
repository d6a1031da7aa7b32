"""Where evidence goes: the options that `verify` and `check` share."""

import typer

__all__ = ["ATTESTATION", "HTML", "JUNIT", "LOG", "MERGE", "SARIF", "SBOM", "SIGN"]

SARIF = typer.Option(None, help="Write SARIF 2.1.0 for code scanning.")
JUNIT = typer.Option(None, help="Write a JUnit test report.")
ATTESTATION = typer.Option(None, help="Write in-toto statements, one a line.")
SIGN = typer.Option(None, help="Private key (PEM) that signs the attestation.")
SBOM = typer.Option(None, help="Write a CycloneDX 1.6 bill of materials.")
MERGE = typer.Option(None, help="Bill of materials that --sbom adds to.")
HTML = typer.Option(None, help="Write a page for people.")
LOG = typer.Option(None, help="Append a line to a log of verifications.")
