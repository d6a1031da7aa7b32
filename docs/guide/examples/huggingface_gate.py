"""Download the networks of a Hugging Face repository at one commit, and keep them only where all come from a record.

python huggingface_gate.py ORGANISATION/NAME COMMIT approved.record networks/
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from huggingface_hub import snapshot_download

import onnxnnw

WANTED = ["*.onnx", "*.onnx_data", "*.onnx.data", "*.onnx_data_*"]
"""Networks, and what their weights are called when they lie in other files."""


def fetch_verified(repository: str, commit: str, record: Path, folder: Path) -> dict[str, onnxnnw.Verdict]:
    """Download networks to where nobody uses them, verify them, and move them to their folder where all are ours.

    Args:
        commit: The whole hash: a branch or a tag may be something else tomorrow.
        folder: Must not exist; it appears whole or not at all.

    Returns:
        The verdict on each network, by its path in the repository; none where it holds no network.

    Raises:
        onnxnnw.TraceabilityError: A network or the record cannot be read.
    """
    if len(commit) != 40 or folder.exists():
        raise ValueError(f"give a whole commit hash and a folder that does not exist, not {commit!r} and {folder}")
    loaded = onnxnnw.load_record(record)
    with tempfile.TemporaryDirectory(dir=folder.absolute().parent) as place:
        snapshot = Path(snapshot_download(repository, revision=commit, allow_patterns=WANTED, local_dir=place))
        networks = sorted(snapshot.rglob("*.onnx"))
        verdicts = {str(path.relative_to(snapshot)): onnxnnw.verify(path, loaded).best for path in networks}
        if verdicts and all(verdict.meets() for verdict in verdicts.values()):
            shutil.rmtree(snapshot / ".cache", ignore_errors=True)
            shutil.copytree(snapshot, folder)
    return verdicts


def main() -> int:
    """The exit codes of ``onnxnnw verify``: 0 all kept, 1 one is not ours, 3 could not look."""
    arguments = argparse.ArgumentParser(description=__doc__)
    for name, kind in (("repository", str), ("commit", str), ("record", Path), ("folder", Path)):
        arguments.add_argument(name, type=kind)
    given = arguments.parse_args()
    try:
        verdicts = fetch_verified(given.repository, given.commit, given.record, given.folder)
    except onnxnnw.TraceabilityError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    for name, verdict in verdicts.items():
        print(f"{name}: {verdict}")
    if not verdicts or any(verdict.decision == "inconclusive" for verdict in verdicts.values()):
        return 3
    return 0 if all(verdict.meets() for verdict in verdicts.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
