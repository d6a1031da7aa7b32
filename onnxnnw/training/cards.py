"""Cards of trained networks: what is known of each file, and the command that made it."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from onnxnnw.errors import MissingData, UnknownName, UnreadableData, UsageError
from onnxnnw.graph.digest import network_digest
from onnxnnw.network_file.file import open_network
from onnxnnw.recipes import UNSAID
from onnxnnw.tasks.base import Measurement

if TYPE_CHECKING:
    from onnxnnw.exporters.base import Architecture

__all__ = ["CARD_FORMAT", "Card", "card_names", "find_card", "make_card", "model_file"]

CARD_FORMAT = "onnxnnw/card/1"


@dataclass(frozen=True)
class Card:
    """What is known of one trained network file, and the command that made it.

    Args:
        data: What it was trained and measured on, stand-ins named as such.
        metrics: On the test samples, by name.
        samples: How many test samples.
        digest: Canonical digest of the network (`onnxnnw digest`).
        sha256: Of the file.
        shipped: Whether the file lies beside the card; otherwise the command makes it.
        precision: What it was trained in (``recipes.Precision``).
    """

    network: str
    size: str
    task: str
    parameters: int
    data: str
    metrics: Mapping[str, float]
    samples: int
    file: str
    bytes: int
    digest: str
    sha256: str
    shipped: bool
    command: str
    epochs: int
    seed: int
    threads: int | None
    versions: Mapping[str, str]
    note: str = ""
    precision: str = UNSAID.value

    def to_json(self) -> str:
        """As a card is stored."""
        return json.dumps({"format": CARD_FORMAT, **asdict(self)}, indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Card":
        """The card that `to_json` wrote.

        Raises:
            UnreadableData: It is none.
        """
        try:
            fields = json.loads(text)
            if fields.pop("format") != CARD_FORMAT:
                raise UnreadableData(f"not a card of this version ({CARD_FORMAT})")
            return cls(**fields)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UnreadableData(f"not a model card: {error}") from error


def card_names() -> list[str]:
    """The names of all cards."""
    folder = resources.files("onnxnnw.models")
    return sorted(file.name.removesuffix(".json") for file in folder.iterdir() if file.name.endswith(".json"))


def find_card(name: str) -> Card:
    """The card of this name.

    Raises:
        UnknownName: There is none.
    """
    if name not in card_names():
        raise UnknownName("model card", name, card_names())
    return Card.from_json(resources.files("onnxnnw.models").joinpath(f"{name}.json").read_text("utf-8"))


def model_file(name: str) -> Path:
    """The shipped ONNX file of this name.

    Raises:
        UnknownName: There is no such card.
        MissingData: The file is too big to be shipped; the message has the command that makes it.
    """
    card = find_card(name)
    path = Path(str(resources.files("onnxnnw.models").joinpath(card.file)))
    if not path.is_file():
        raise MissingData(f"{card.file} is not shipped with onnxnnw; make it with: {card.command}")
    return path


def make_card(
    architecture: "Architecture",
    model: Path,
    measurement: Measurement,
    *,
    data: str,
    command: str,
    epochs: int,
    seed: int,
    threads: int | None,
    shipped: bool,
    precision: str,
    note: str = "",
) -> Card:
    """The card of a trained network file."""
    import platform

    import numpy
    import onnx
    import torch

    if not command:
        raise UsageError("a card names the command that made its network")
    with open_network(model) as network:
        digest = network_digest(network)
    content = model.read_bytes()
    return Card(
        network=architecture.name,
        size=architecture.size,
        task=architecture.task().name,
        parameters=sum(parameter.numel() for parameter in architecture.build().parameters()),
        data=data,
        metrics={name: round(value, 4) for name, value in measurement.values.items()},
        samples=measurement.samples,
        file=model.name,
        bytes=len(content),
        digest=digest,
        sha256=hashlib.sha256(content).hexdigest(),
        shipped=shipped,
        command=command,
        epochs=epochs,
        seed=seed,
        threads=threads,
        versions={
            "python": platform.python_version(),
            "numpy": numpy.__version__,
            "torch": torch.__version__,
            "onnx": onnx.__version__,
        },
        note=note,
        precision=precision,
    )
