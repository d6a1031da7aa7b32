"""The settings of a campaign as its TOML file states them; unknown and impossible entries are refused by name."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "CAMPAIGN_FORMAT",
    "SHIPPED",
    "Campaign",
    "Costs",
    "EvaluatedNetwork",
    "Fingerprints",
    "Generated",
    "Marks",
    "Reduction",
    "Scales",
    "Shares",
    "UnicitySettings",
]

CAMPAIGN_FORMAT = "onnxnnw/campaign/1"
MAX_NAME = 200
SHIPPED = "shipped"
"""As a network's file: the one that comes with the package."""
Value = int | float | str


@dataclass(frozen=True)
class EvaluatedNetwork:
    """A network under evaluation.

    Attributes:
        name: A reference network's, or what tables call an own one.
        epochs: Of its training; 0 where there are files.
        published_epochs: Of the training that the standard's α counts; α is scaled by the ratio.
        rate, schedule: See ``onnxnnw train``; the network's own by default.
        training: At most so many training samples, evenly spread; 0 takes all.
        file: Finished networks, one file per model (M of them), that are not trained first; ``shipped`` is the file that comes
            with the package.
        samples: For an own network: an ``.npz`` or a folder, see ``tasks.own_evaluation.own_data``.
        metric: For an own network: names that ``tasks.own_metrics.find_own_metric`` knows; the first is the one that is quoted.
        output: Of an own network; the first by default.
        low, high: What stands for black and white in an own network's images.
    """

    name: str = ""
    epochs: int = 0
    size: str = "reference"
    published_epochs: int = 100
    rate: float = 0.0
    schedule: str = ""
    training: int = 0
    file: tuple[str, ...] = ()
    samples: str = ""
    metric: tuple[str, ...] = ()
    output: str = ""
    low: float = 0.0
    high: float = 1.0

    @property
    def own(self) -> bool:
        """Whether it is a user's own network, which cannot be trained here."""
        return bool(self.samples or self.metric)


@dataclass(frozen=True)
class Generated:
    """Images that the campaign generates, for one that needs no data."""

    training: int
    testing: int
    seed: int = 0


@dataclass(frozen=True)
class Marks:
    """Watermarks of one method: M networks × D payloads at every combination of parameters, and the unmarked networks.

    Attributes:
        on: Networks by name; all by default.
        networks: M.
        payloads: D.
        alpha: For methods that mark at one moment: the standard's α, scaled to the network's schedule.
        epochs: For methods that live in training: train the finished network on for so many epochs; 0 marks during the
            whole training from initial weights.
        rate: Learning rate of these epochs; 0 takes the network's, or the usual one of a resumed training.
        parameters: Of the method, a list of values each.
        published: Parameter -> what the standard calls it, as tables have it.
        modifications: Names of entries of the campaign's ``modifications``.
        values: Modification -> values instead of the campaign's.
        wrong_keys: Per network.
        testing: At most so many test samples; 0 takes all.
    """

    title: str
    method: str
    networks: int = 1
    payloads: int = 1
    on: tuple[str, ...] = ()
    alpha: tuple[int, ...] = ()
    epochs: int = 0
    rate: float = 0.0
    parameters: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)
    published: Mapping[str, str] = field(default_factory=dict)
    modifications: tuple[str, ...] = ()
    values: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)
    wrong_keys: int = 0
    testing: int = 0


@dataclass(frozen=True)
class Fingerprints:
    """Fingerprints of M networks under D keys each; see ``Marks``."""

    title: str
    networks: int = 1
    payloads: int = 1
    on: tuple[str, ...] = ()
    positions: int = 512
    modifications: tuple[str, ...] = ()
    values: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)
    testing: int = 0


@dataclass(frozen=True)
class UnicitySettings:
    """All pairs of networks × keys, and the search among all their records [NNW-TEC 5.3].

    Attributes:
        epochs: For networks beyond those that are trained anyway; 0 trains them like these.
    """

    networks: int
    keys: int
    positions: int = 512
    epochs: int = 0


@dataclass(frozen=True)
class Shares:
    """Settings of Figure 4: marks that share positions.

    Attributes:
        at_epoch_0: Insert them at epoch 0, as the standard does, and train the network with them, anew for each share; else
            they are inserted into the trained network.
    """

    positions: int = 512
    strength: float = 1.0
    shares: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0)
    at_epoch_0: bool = False


@dataclass(frozen=True)
class Scales:
    """Settings of Figure 5: time against N."""

    positions: tuple[int, ...]
    repeats: int = 5


@dataclass(frozen=True)
class Costs:
    """Cost measurements: how often retrieval is timed (0 leaves it out), and pairs of trainings.

    Attributes:
        pairs: Trainings with and without a mark by turns, each in a process of its own, that time and memory are told by; 0
            leaves them untold.
        batches: Of each of these trainings.
    """

    repeats: int = 5
    pairs: int = 0
    batches: int = 30


@dataclass(frozen=True)
class Reduction:
    """A reduction against the standard's protocol: the tables it touches, and the sentence that stands beside them."""

    tables: tuple[int, ...]
    sentence: str


@dataclass(frozen=True)
class Campaign:
    """All that is evaluated.

    Attributes:
        seed: Of everything random; keys follow from it too, so no real mark should be made by a campaign.
        rate: False-positive rate of the strict decision.
        precision: What its trainings compute in; empty leaves it to the processor of whoever plans it.
        provider: What onnxruntime runs networks on, cpu or cuda; empty takes the GPU when there is one.
        modifications: Name -> parameter -> values [NNW-NNT]. The first parameter is the one that tables are made by; each
            combination of values of further ones is a setting of its own.
    """

    name: str
    networks: tuple[EvaluatedNetwork, ...]
    seed: int = 0
    rate: float = 1e-6
    precision: str = ""
    provider: str = ""
    generated: Generated | None = None
    modifications: Mapping[str, Mapping[str, tuple[Value, ...]]] = field(default_factory=dict)
    marks: tuple[Marks, ...] = ()
    fingerprints: tuple[Fingerprints, ...] = ()
    unicity: UnicitySettings | None = None
    sharing: Shares | None = None
    scaling: Scales | None = None
    costs: Costs | None = None
    cuts: tuple[Reduction, ...] = ()
    source: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
