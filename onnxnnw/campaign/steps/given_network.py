"""A network that is finished before a campaign begins: a file, identified by its content."""

import hashlib
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, cast

from onnxnnw.campaign.settings import SHIPPED
from onnxnnw.campaign.step import ELSEWHERE, NETWORK, Outcome, Place, Step, Work
from onnxnnw.errors import CannotLook, UsageError
from onnxnnw.files import open_regular

if TYPE_CHECKING:
    from io import BufferedReader

__all__ = ["GivenNetworkStep", "given_network"]

MAX_BYTES = 2**40


@dataclass(frozen=True)
class GivenNetworkStep(Step):
    """A copy of the file: later steps use the content that was hashed when the campaign was planned.

    Attributes:
        sha256: Of the file.
        path: Where it lies.
        size: Bytes.
    """

    sha256: str
    path: str = field(metadata=ELSEWHERE)
    size: int = field(metadata=ELSEWHERE)

    kind: ClassVar[str] = "take a network"
    files: ClassVar[tuple[str, ...]] = (NETWORK,)

    def run(self, place: Place) -> Outcome:
        target = place.folder / NETWORK
        with open_regular(Path(self.path), CannotLook, MAX_BYTES) as source, target.open("wb") as out:
            shutil.copyfileobj(source, out)
        if _digest(target) != self.sha256:
            raise CannotLook(f"{self.path} was changed since the campaign began")
        return Outcome()

    def work(self) -> Work:
        return Work(self.kind, 1, 0.01, self.size)


def given_network(name: str, path: str) -> GivenNetworkStep:
    """The step that takes this file.

    Args:
        name: Of the network, whose shipped file may be meant.

    Raises:
        UsageError: There is no such file.
        UnreadableNetwork: It is no ONNX file that can be opened.
        MissingData: The package comes without this network's file.
    """
    from onnxnnw.network_file.file import open_network
    from onnxnnw.training.cards import model_file

    place = model_file(name) if path == SHIPPED else Path(path).absolute()
    with open_network(place) as network:
        if any(tensor.data_location == 1 for tensor in network.model.graph.initializer):  # EXTERNAL
            raise UsageError(f"{place}: keeps weights in files beside it; a campaign takes networks of one file")
    return GivenNetworkStep(_digest(place), str(place), place.stat().st_size)


def _digest(path: Path) -> str:
    with open_regular(path, UsageError, MAX_BYTES) as file:
        return hashlib.file_digest(cast("BufferedReader", file), "sha256").hexdigest()
