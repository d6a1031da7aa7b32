"""A user's own network under evaluation: samples and metrics, identified by their content, without torch."""

import hashlib
import inspect
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from onnxnnw.campaign.settings import EvaluatedNetwork
from onnxnnw.campaign.step import ELSEWHERE, NETWORK, Place, Step
from onnxnnw.campaign.steps.given_network import given_network
from onnxnnw.errors import UsageError
from onnxnnw.runtime import open_runtime
from onnxnnw.tasks.own_evaluation import OwnData, evaluate_own, own_data
from onnxnnw.tasks.own_metrics import find_own_metric

if TYPE_CHECKING:
    from onnxnnw.tasks.base import Measurement

__all__ = ["Own", "own_network"]


@dataclass(frozen=True)
class Own:
    """What an own network is measured on and by.

    Attributes:
        samples: Digest of the samples; ``path`` says where they lie.
        metrics: Names of metrics, with the digest of the code of those that are the user's.
        output: Name of the output; empty for the first one.
        low, high: What stands for black and white.
        reference: The network whose answers are the targets, where the samples bring none.
    """

    samples: str
    metrics: tuple[tuple[str, str], ...]
    output: str
    low: float
    high: float
    reference: Step | None
    path: str = field(metadata=ELSEWHERE)

    def measured(
        self, network: Path, place: Place, most: int | None, threads: int, provider: str = ""
    ) -> "Measurement":
        """The metrics of this file."""
        beside = None
        if self.reference is not None:
            beside = open_runtime(place.input(self.reference) / NETWORK, threads, provider=provider)
        metrics = [find_own_metric(name, self.low, self.high) for name, _ in self.metrics]
        data = _data(self.path, self.samples)
        return evaluate_own(open_runtime(network, threads, provider=provider), data, metrics, self.output, beside, most)


def own_network(network: EvaluatedNetwork) -> Own:
    """Check an own network's samples and metrics before anything is done.

    Raises:
        UnknownName: A metric that nobody knows.
        UsageError: There are no targets, and more than one network whose answers could stand for them.
        MissingData: There are no samples.
    """
    path, digest = Path(network.samples).absolute(), _digest(network.samples)
    metrics = tuple((name, _code(name)) for name in network.metric)
    reference = None
    if _data(str(path), digest).targets is None:
        if len(network.file) > 1:
            raise UsageError(f"{network.name}: samples without targets are for one file; give targets with several")
        reference = given_network(network.name, network.file[0])
    return Own(digest, metrics, network.output, float(network.low), float(network.high), reference, str(path))


@lru_cache(maxsize=2)
def _data(path: str, digest: str) -> OwnData:
    if _digest(path) != digest:
        raise UsageError(f"{path} was changed since the campaign began")
    return own_data(Path(path))


def _digest(name: str) -> str:
    path = Path(name)
    digest = hashlib.sha256()
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    own_data(path) if not path.exists() else None  # says what was wanted
    for file in files:
        with file.open("rb") as content:
            shown = file.relative_to(path).as_posix() if path.is_dir() else ""
            digest.update(f"{shown}\0".encode() + hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()


@cache
def _code(name: str) -> str:
    """The digest of the file that defines a user's function; empty for a metric of the package."""
    metric = find_own_metric(name)
    if metric.function is None:
        return ""
    try:
        source = Path(inspect.getfile(metric.function)).read_bytes()
    except (TypeError, OSError):  # of a compiled module
        return "compiled"
    return hashlib.sha256(source).hexdigest()
