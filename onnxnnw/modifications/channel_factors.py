"""Function-preserving: channels multiplied where they are made and divided where they are read. Beyond the standard."""

from abc import abstractmethod
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from onnxnnw.channels.changing import multiplied
from onnxnnw.channels.groups import find_groups
from onnxnnw.channels.tags import Change
from onnxnnw.errors import UnsupportedNetwork
from onnxnnw.modifications.base import Modification, between, parameter
from onnxnnw.network_file.file import Network
from onnxnnw.network_file.patch import rewritten, write_patched

__all__ = ["ChannelRescaling", "SignFlip"]

_LARGEST = 64.0
"""Beyond, half precision loses values."""


class _Factors(Modification):
    """Gives each channel a factor, where everything between its making and its reading lets it through."""

    change: ClassVar[Change]

    @abstractmethod
    def factors(self, count: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """One for each channel."""

    def write(self, network: Network, out: Path, rng: np.random.Generator) -> None:
        groups = find_groups(network, self.change)
        if not groups.channels:
            raise UnsupportedNetwork(
                f"{network.path}: {groups.sentence}, so there is no channel that could have a factor"
            )
        factors = dict(zip(groups.channels, self.factors(len(groups.channels), rng).tolist(), strict=True))
        changes = multiplied(groups, factors)
        write_patched(network, out, chain.from_iterable(rewritten(t, [values.reshape(-1)]) for t, values in changes))
        groups.tell()


@dataclass(frozen=True)
class ChannelRescaling(_Factors):
    """Multiply channels by positive factors and divide what reads them; what the network computes stays, up to rounding.

    ReLU, LeakyReLU, PReLU and what is linear let positive factors through; what clips or saturates does not, and its channels
    are left alone.

    Args:
        deviation: Of the factors' logarithms.
    """

    name: ClassVar[str] = "channel-rescaling"
    change: ClassVar[Change] = Change.SCALE
    deviation: float = parameter("standard deviation of the factors' natural logarithms", 0.8)

    def __post_init__(self) -> None:
        between("the deviation", self.deviation, 0, 3)

    def factors(self, count: int, rng: np.random.Generator) -> NDArray[np.float64]:
        return np.exp(self.deviation * rng.standard_normal(count)).clip(1 / _LARGEST, _LARGEST)


@dataclass(frozen=True)
class SignFlip(_Factors):
    """Turn the sign of channels around, where all that follows until they are read is linear; exact to the bit.

    Args:
        share: Of the channels that are turned, on average.
    """

    name: ClassVar[str] = "sign-flip"
    change: ClassVar[Change] = Change.SIGN
    share: float = parameter("share of channels that get the other sign, on average", 0.5)

    def __post_init__(self) -> None:
        between("the share", self.share, 0, 1)

    def factors(self, count: int, rng: np.random.Generator) -> NDArray[np.float64]:
        return np.where(rng.random(count) < self.share, -1.0, 1.0)
