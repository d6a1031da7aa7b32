"""Function-preserving: channels put in that change nothing: dummies that nothing reads, clones that share. Beyond the standard."""

from abc import abstractmethod
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from onnxnnw.channels.groups import find_groups
from onnxnnw.channels.growing import Addition, growing_groups, grown
from onnxnnw.channels.tags import Change
from onnxnnw.errors import UnsupportedNetwork
from onnxnnw.modifications.base import Modification, between, parameter
from onnxnnw.network_file.file import Network
from onnxnnw.network_file.writing import write_whole

__all__ = ["ClonedChannels", "DummyChannels"]


class _Additions(Modification):
    """Puts channels in at random places of every hidden width that can grow; the result is one file below 2 GiB."""

    percentage: float

    @property
    @abstractmethod
    def addition(self) -> Addition:
        """What is put in."""

    def __post_init__(self) -> None:
        between("the percentage", self.percentage, 0, 400)

    def write(self, network: Network, out: Path, rng: np.random.Generator) -> None:
        groups = find_groups(network, Change.ORDER)
        widths = growing_groups(network, groups)
        if not widths:
            raise UnsupportedNetwork(
                f"{network.path}: {groups.sentence}, so there is no width into which a channel could be put"
            )
        beside: Counter[int] = Counter()
        for channels in widths:
            beside.update(rng.choice(np.array(channels), round(len(channels) * self.percentage / 100)).tolist())
        content = grown(network, groups, beside, self.addition, rng).SerializeToString(deterministic=True)
        network.check_unchanged()
        write_whole(out, content)
        groups.tell()


@dataclass(frozen=True)
class DummyChannels(_Additions):
    """Put in channels of arbitrary values that nothing reads: where they are read there are zeros.

    Args:
        percentage: More channels in each hidden width, in percent.
    """

    name: ClassVar[str] = "dummy-channels"
    percentage: float = parameter("more channels in each hidden width, in percent", 20.0)

    @property
    def addition(self) -> Addition:
        return Addition.DUMMY


@dataclass(frozen=True)
class ClonedChannels(_Additions):
    """Put in copies of channels that share with the original, in random parts, what it did.

    Args:
        percentage: More channels in each hidden width, in percent.
    """

    name: ClassVar[str] = "cloned-channels"
    percentage: float = parameter("more channels in each hidden width, in percent", 20.0)

    @property
    def addition(self) -> Addition:
        return Addition.CLONE
