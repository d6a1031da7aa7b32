"""Function-preserving: the channels of every hidden width in another order. Beyond the standard."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import ClassVar

import numpy as np

from onnxnnw.channels.changing import moved
from onnxnnw.channels.groups import find_groups
from onnxnnw.channels.tags import Change
from onnxnnw.errors import UnsupportedNetwork
from onnxnnw.modifications.base import Modification, between, parameter
from onnxnnw.network_file.file import Network
from onnxnnw.network_file.patch import rewritten, write_patched

__all__ = ["ChannelPermutation"]


@dataclass(frozen=True)
class ChannelPermutation(Modification):
    """Put channels into another order everywhere at once; what the network computes stays.

    Channels that touch an operator, or a way of storing, that is not understood keep their place; a log line counts them.

    Args:
        share: Of the channels of each group that change places.
    """

    name: ClassVar[str] = "channel-permutation"
    share: float = parameter("share of each group's channels that change places, 0 to 1", 1.0)

    def __post_init__(self) -> None:
        between("the share", self.share, 0, 1)

    def write(self, network: Network, out: Path, rng: np.random.Generator) -> None:
        groups = find_groups(network, Change.ORDER)
        if not groups.groups:
            raise UnsupportedNetwork(
                f"{network.path}: {groups.sentence}, so there is no channel whose place could be changed"
            )
        order: dict[int, int] = {}
        for group in groups.groups:
            order |= _shuffled(group.channels, round(self.share * len(group.channels)), rng)
        changes = moved(groups, order)
        write_patched(network, out, chain.from_iterable(rewritten(t, [values.reshape(-1)]) for t, values in changes))
        groups.tell()


def _shuffled(channels: Sequence[int], count: int, rng: np.random.Generator) -> dict[int, int]:
    chosen = rng.permutation(np.array(channels))[:count]
    return dict(zip(np.sort(chosen).tolist(), chosen.tolist(), strict=True))
