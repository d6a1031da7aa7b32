"""Register a network with MLflow only where it comes from a record; the verdict is kept beside it either way.

python mlflow_gate.py net.onnx approved.record my-network
"""

import argparse
import sys
from pathlib import Path

import mlflow

import onnxnnw


def register_verified(network: Path, record: Path, name: str, min_explained: float = 0.0) -> str | None:
    """Log a network with its verdict, and make it a version of a registered model where the gate opens.

    Returns:
        The version; None where the network does not come from the record, or too little could be read to say.

    Raises:
        onnxnnw.TraceabilityError: The network or the record cannot be read; nothing is logged then.
    """
    verdict = onnxnnw.verify(network, record).best
    client = mlflow.MlflowClient()
    with mlflow.start_run() as run:
        mlflow.log_artifact(str(network), "network")
        mlflow.log_dict(verdict.to_json(), "network/verdict.json")
        mlflow.set_tags(
            {
                "onnxnnw.decision": verdict.decision,
                "onnxnnw.log10_p": f"{verdict.log10_p:.1f}",
                "onnxnnw.commitment": verdict.evidence.commitment,
            }
        )
        source = mlflow.get_artifact_uri("network")
    if not verdict.meets("traced", min_explained):
        return None
    if not any(model.name == name for model in client.search_registered_models()):
        client.create_registered_model(name)
    version = client.create_model_version(name, source, run.info.run_id, tags={"onnxnnw.decision": verdict.decision})
    return str(version.version)


def main() -> int:
    """The exit codes of ``onnxnnw verify``: 0 registered, 1 not, 3 could not look."""
    arguments = argparse.ArgumentParser(description=__doc__)
    for name, kind in (("network", Path), ("record", Path), ("name", str)):
        arguments.add_argument(name, type=kind)
    given = arguments.parse_args()
    try:
        version = register_verified(given.network, given.record, given.name)
    except onnxnnw.TraceabilityError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(f"version {version} of {given.name}" if version else "not registered")
    return 0 if version else 1


if __name__ == "__main__":
    sys.exit(main())
