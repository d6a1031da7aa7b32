"""What the difference to an ancestor says: networks trained on from one public network, held against the fingerprint of one.

    python -m benchmarks ancestry --data DIR [--epochs 2,8] [--output docs/reference/statistics.md]

Each quarter of the test images of CIFAR-10 trains another of them: the ancestor the first, the enrolled network the second.
"""

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.tables import Report, progress
from onnxnnw import Key, Verdict, fingerprint, load_record, verify
from onnxnnw.modifications.base import apply
from onnxnnw.modifications.quantization import Quantization
from onnxnnw.recipes import ConstantRate, Sgd
from onnxnnw.tasks.classification import Classification, Images

_PARTS = 4


def main(arguments: list[str]) -> int:
    """Train a family, and print what is said of each of its members."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks ancestry", description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--epochs", default="2,8", help="of the trainings after the ancestor's")
    parser.add_argument("--first", type=int, default=8, help="epochs of the ancestor")
    parser.add_argument("--rate", type=float, default=0.01)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args(arguments)
    images = Classification().samples(options.data, "test")
    assert isinstance(images, Images)
    order = np.array_split(np.random.default_rng(0).permutation(len(images)), _PARTS)
    parts = [Images(images.pixels[chosen], images.labels[chosen]) for chosen in order]
    others = Images(parts[2].pixels, (images.labels[order[2]] * 7 + 3) % 10)
    report = Report("ancestry", arguments)
    rows: list[list[str]] = []
    with tempfile.TemporaryDirectory() as folder:
        family = _Family(Path(folder), options.rate)
        family.train("ancestor", None, parts[0], options.first, 0, rate=0.05)
        for epochs in map(int, options.epochs.split(",")):
            family.train("own", "ancestor", parts[1], epochs, 1)
            family.train("the same data in another order", "ancestor", parts[1], epochs, 2)
            family.train("other data of the same task", "ancestor", parts[2], epochs, 3)
            family.train("other data, other labels", "ancestor", others, epochs, 4)
            family.train("own, trained on with other data", "own", parts[2], epochs, 5)
            family.train("own, trained on at a fifth of the rate", "own", parts[2], epochs, 6, rate=options.rate / 5)
            family.modify("own, 8 bits", "own", 8)
            family.modify("own, 4 bits", "own", 4)
            family.modify("ancestor, 4 bits", "ancestor", 4)
            for name, verdicts in family.verdicts().items():
                rows.append([str(epochs), name, *(cell for v in verdicts for cell in (f"{v.effect:.2f}", v.decision))])
    headers = ["epochs", "candidate", "effect, values", "answer", "effect, differences", "answer"]
    report.table(
        "Fingerprint of a network that was trained on from an ancestor, without and with `--ancestor`", headers, rows
    )
    report.publish(options.output)
    return 0


class _Family:
    """ONNX files by name."""

    def __init__(self, folder: Path, rate: float) -> None:
        from onnxnnw.training.networks import find_network

        self.folder, self.rate = folder, rate
        self.files: dict[str, Path] = {}
        self.architecture = find_network("resnet8", "small")

    def _new(self, name: str, write: Callable[[Path], Any]) -> None:
        progress(f"ancestry: {name}")
        path = self.folder / f"{len(self.files)}-{name.replace(' ', '_').replace(',', '')}.onnx"
        write(path)
        self.files[name] = path

    def train(
        self, name: str, start: str | None, samples: Images, epochs: int, seed: int, rate: float | None = None
    ) -> None:
        """Train from another one, or from drawn values."""
        from onnxnnw.exporters.base import export
        from onnxnnw.training.loop import Trainer

        steps = Sgd(self.rate if rate is None else rate, weight_decay=5e-4)
        recipe = replace(self.architecture.recipe(), epochs=epochs, schedule=ConstantRate(), optimizer=steps)
        module = self.architecture.build() if start is None else self.architecture.load(self.files[start])
        trained = Trainer(recipe, self.architecture.loss, seed=seed, threads=1)(module, samples)
        self._new(name, lambda path: export(self.architecture, trained.module, path))

    def modify(self, name: str, start: str, bits: int) -> None:
        """Round to so many bits."""
        self._new(name, lambda path: apply(Quantization(bits), self.files[start], path))

    def verdicts(self) -> dict[str, tuple[Verdict, Verdict]]:
        """Of each candidate: by values, and by differences."""
        records = []
        for told in (False, True):
            place = self.folder / f"{told}.record"
            place.unlink(missing_ok=True)
            ancestors = [self.files["ancestor"]] if told else []
            fingerprint(self.files["own"], place, key=Key(bytes(range(32))), ancestors=ancestors)
            records.append(load_record(place))
        return {name: (verify(path, records[:1])[0], verify(path, records[1:])[0]) for name, path in self.files.items()}
