"""A reference network under evaluation with its data: read once per process, shortened if the campaign says so."""

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np

from onnxnnw.campaign.step import LATER, Outcome, Place, Step, Work
from onnxnnw.campaign.steps.own_network import Own
from onnxnnw.errors import MissingData, UsageError
from onnxnnw.recipes import UNSAID, Precision
from onnxnnw.tasks.base import Measurement, Samples, Task, every_kth
from onnxnnw.training.networks import find_network

if TYPE_CHECKING:
    from onnxnnw.exporters.base import Architecture

__all__ = ["ASSUMED", "Assumed", "GeneratedImagesStep", "NetworkSetup", "identity_of"]


@dataclass(frozen=True)
class Assumed:
    """What a step is assumed to take before anything was measured: one core of a 2024 server.

    Attributes:
        train: Seconds per training sample and epoch.
        run: Seconds per test sample.
        parameters: Weights, for the size of files.
        samples: Training and test samples of the public data set.
    """

    train: float
    run: float
    parameters: float
    samples: tuple[int, int]


ASSUMED: Mapping[tuple[str, str], Assumed] = {
    ("resnet8", "reference"): Assumed(0.0009, 0.0004, 78e3, (50_000, 10_000)),
    ("resnet8", "small"): Assumed(0.0004, 0.0002, 20e3, (50_000, 10_000)),
    ("vgg16", "reference"): Assumed(0.0095, 0.004, 14.7e6, (50_000, 10_000)),
    ("vgg16", "small"): Assumed(0.0007, 0.0003, 0.24e6, (50_000, 10_000)),
    ("rdn", "reference"): Assumed(2.0, 60.0, 22.1e6, (800, 100)),
    ("rdn", "small"): Assumed(0.02, 3.0, 75e3, (800, 100)),
    ("pix2pix", "reference"): Assumed(3.0, 0.4, 54.4e6, (2_975, 500)),
    ("pix2pix", "small"): Assumed(0.15, 0.05, 0.46e6, (2_975, 500)),
    ("deeplabv3", "reference"): Assumed(20.0, 5.0, 39.6e6, (2_975, 500)),
    ("deeplabv3", "small"): Assumed(1.0, 0.5, 11e6, (2_975, 500)),
}
"""By network and size; others are assumed to be like the last of them."""
_OWN = Assumed(0.0, 0.02, 1e6, (0, 100))


@dataclass(frozen=True)
class GeneratedImagesStep(Step):
    """Images of ten classes that show in colour and stripes: data for a campaign that has none.

    Attributes:
        training, testing: Images of all classes together.
    """

    training: int
    testing: int
    seed: int = 0

    kind: ClassVar[str] = "generate images"
    files: ClassVar[tuple[str, ...]] = ("images.npz",)

    def run(self, place: Place) -> Outcome:
        found: dict[str, Any] = {}
        for number, (split, count) in enumerate((("train", self.training), ("test", self.testing))):
            rng = np.random.default_rng([self.seed, number])
            labels = np.arange(count) % 10
            hues = np.random.default_rng([self.seed, 2]).uniform(80, 176, (10, 3))
            images = hues[labels][:, None, None] + rng.normal(0, 40, (count, 32, 32, 3))
            for label in range(10):
                images[labels == label, :: 2 + label % 5] += 20
            found |= {f"{split}_pixels": np.clip(images, 0, 255).astype(np.uint8), f"{split}_labels": labels}
        np.savez(place.folder / "images.npz", **found)
        return Outcome()

    def work(self) -> Work:
        count = self.training + self.testing
        return Work(self.kind, count, 0.0002, 3072 * count)


@dataclass(frozen=True)
class NetworkSetup:
    """A network, its data, and how they are cut down.

    Attributes:
        data: Images that a step generated, or the digest of names and sizes of the user's.
        training: At most so many training samples, evenly spread; 0 takes all.
        threads: Of torch and onnxruntime.
        precision: What trainings compute in. All that a setup is part of is made from trained networks, so it belongs in every
            such address: a network trained in float32 is another one than its twin in bfloat16.
        own: What a network of the user's is measured on and by; None for a reference network.
        provider: What onnxruntime runs it on where it is measured; empty takes what there is.
    """

    network: str
    size: str
    data: GeneratedImagesStep | str
    training: int = 0
    threads: int = 1
    precision: Precision = field(default=UNSAID, metadata=LATER)
    own: Own | None = field(default=None, metadata=LATER)
    provider: str = field(default="", metadata=LATER)

    def architecture(self, place: Place) -> "Architecture":
        """The network's architecture, its task reading the cut-down data whatever directory it is given.

        Raises:
            MissingData: The campaign needs data, and none was given.
            MissingExtra: torch is not installed.
            UsageError: It is a network of the user's own, which nothing here can train.
        """
        if self.own is not None:
            raise UsageError(f"{self.network} is a file: it is marked and modified as it is, and never trained")
        return cast("Architecture", _Cut(find_network(self.network, self.size), self._task(place)))

    def task(self) -> Task:
        """The task, uncut."""
        task: Task = find_network(self.network, self.size).task()
        return task

    def measured(self, network: Path, place: Place, testing: int) -> Measurement:
        """The quality of this file on a limited number of test samples, evenly spread; 0 takes all."""
        if self.own is not None:
            return self.own.measured(network, place, testing or None, self.threads, self.provider)
        from onnxnnw.training.networks import measure

        samples = self._task(place).testing(Path())
        samples = samples if testing == 0 else every_kth(samples, testing)
        return measure(network, samples, self.task().metrics, threads=self.threads, provider=self.provider)

    def assumed(self) -> Assumed:
        """What to expect of it."""
        if self.own is not None:
            return _OWN
        return ASSUMED.get((self.network, self.size), ASSUMED["deeplabv3", "small"])

    def training_samples(self) -> int:
        """About how many samples an epoch sees."""
        given = self.data.training if isinstance(self.data, GeneratedImagesStep) else self.assumed().samples[0]
        return min(given, self.training or given)

    def _task(self, place: Place) -> "_CutTask":
        if isinstance(self.data, GeneratedImagesStep):
            return _CutTask(self.task(), str(place.input(self.data)), True, self.training)
        if place.data is None:
            raise MissingData("this campaign needs data: give its directory with --data")
        return _CutTask(self.task(), str(place.data), False, self.training)


class _Cut:
    """An architecture whose task reads other data."""

    def __init__(self, whole: "Architecture", task: "_CutTask") -> None:
        self._whole, self._task = whole, task

    def task(self) -> "_CutTask":
        return self._task

    def __getattr__(self, name: str) -> Any:
        return getattr(self._whole, name)


class _CutTask:
    """A task that reads each split of its own directory once per process."""

    def __init__(self, whole: Task, directory: str, generated: bool, training: int) -> None:
        self._whole, self._directory, self._generated, self._training = whole, directory, generated, training

    def training(self, _: Path) -> Samples:
        samples = _read(self._whole, self._directory, self._generated, self._whole.training_split)
        return samples if self._training == 0 else every_kth(samples, self._training)

    def testing(self, _: Path) -> Samples:
        return _read(self._whole, self._directory, self._generated, self._whole.testing_split)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._whole, name)


@lru_cache(maxsize=4)
def _read(task: Task, directory: str, generated: bool, split: str) -> Samples:
    if not generated:
        return task.samples(Path(directory), split)
    from onnxnnw.tasks.classification import Images

    with np.load(Path(directory) / "images.npz", allow_pickle=False) as found:
        return Images(found[f"{split}_pixels"], found[f"{split}_labels"].astype(np.int64))


def identity_of(data: Path) -> str:
    """The identity of a folder of data: SHA-256 of the names and contents of its files, those behind links too.

    Raises:
        MissingData: There is no such directory, or it has no files.
    """
    if not data.is_dir():
        raise MissingData(f"there is no directory {data}")
    digest, files = hashlib.sha256(), sorted(_files_below(data))
    if not files:
        raise MissingData(f"{data} has no files")
    for path in files:
        digest.update(f"{path.relative_to(data).as_posix()}\0{path.stat().st_size}\n".encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _files_below(folder: Path) -> Iterator[Path]:
    """All files, through links to folders, each folder once on the way down to a file: links may go in circles."""
    stack = [(folder, frozenset[str]())]
    while stack:
        current, above = stack.pop()
        real = os.path.realpath(current)
        if real in above:
            continue
        for path in current.iterdir():
            if path.is_dir():
                stack.append((path, above | {real}))
            elif path.is_file():
                yield path
