"""Marks that are written into the running module at one moment of a training [NNW-TEC 7.2.3]."""

import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxnnw.enrolment.copies import without_copies
from onnxnnw.enrolment.enrol import embed
from onnxnnw.enrolment.how_many import DEFAULT_POSITIONS
from onnxnnw.enrolment.method_mark import embed_by_method
from onnxnnw.enrolment.owner import Owner
from onnxnnw.graph.slot_view import SlotView
from onnxnnw.graph.slots import find_slots
from onnxnnw.methods import nct
from onnxnnw.methods.base import FileInsertion
from onnxnnw.network_file.file import open_network
from onnxnnw.records.key import Key
from onnxnnw.records.record import Record
from onnxnnw.records.record_file import load_record

if TYPE_CHECKING:
    from onnxnnw.exporters.base import Architecture

__all__ = ["FileInsertionAtEpoch", "MarkAtEpoch", "MethodAtEpoch", "NctAtEpoch", "NctInsertion"]


@dataclass(frozen=True)
class NctAtEpoch:
    """An NCT watermark that is written when ``epoch`` epochs are finished [NNW-TEC 7.2.3].

    Args:
        epoch: α in epochs.
        positions: N.
        strength: Deviation of the values in units of each layer's; None for the usual one of the insertion.
        insertion: Whether the values replace weights, as in the standard's tables, or are added to them.
    """

    epoch: int
    positions: int = DEFAULT_POSITIONS
    strength: float | None = None
    insertion: str = nct.REPLACED


@dataclass(frozen=True)
class FileInsertionAtEpoch:
    """The mark of another method that writes into files, when ``epoch`` epochs are finished.

    Args:
        epoch: α in epochs.
        insertion: The method with its parameters.
    """

    epoch: int
    insertion: FileInsertion


@dataclass(frozen=True)
class MarkAtEpoch(ABC):
    """Writes a mark into the running module when ``epoch`` epochs are finished, as it is written into files.

    The architecture is exported once, before the first batch, to get its slots. A training that resumes at this very epoch
    finds its record and inserts the same mark again.

    Attributes:
        epoch: α in epochs: 0 for the initial weights, the number of epochs for the trained ones.
        record: Where the record goes.
        template: The architecture as it was exported; None exports it before the first batch.
    """

    architecture: "Architecture"
    epoch: int
    record: Path
    template: Path | None = field(default=None, kw_only=True)

    _exported: list[bytes] = field(default_factory=list, init=False, repr=False, compare=False)

    @abstractmethod
    def embed(self, file: Path, marked: Path) -> None:
        """Mark a file; the record is then where it belongs."""

    @abstractmethod
    def values(self, record: Record, view: SlotView) -> Mapping[str, tuple[Any, Any]]:
        """The mark of a record: name of the slot -> canonical positions and values."""

    def __call__(self, module: Any, epoch: int) -> None:
        if epoch > self.epoch:
            return
        from onnxnnw.exporters.base import export, write_weights
        from onnxnnw.training.hooks import write_values

        with tempfile.TemporaryDirectory() as folder:
            template, file, marked = (Path(folder) / name for name in ("template.onnx", "running.onnx", "marked.onnx"))
            if not self._exported:
                if self.template is None:
                    export(self.architecture, module, template)
                self._exported.append((self.template or template).read_bytes())
            if epoch < self.epoch:
                return
            template.write_bytes(self._exported[0])
            with open_network(template, for_writing=True) as network:
                write_weights(module, network, file)
            if not self.record.exists():
                self.embed(file, marked)
            write_values(module, self._stored(load_record(self.record), file))

    def _stored(self, record: Record, file: Path) -> Mapping[str, tuple[Any, Any]]:
        """The mark at positions of the stored tensors, which are the module's parameters, by name."""
        with open_network(file, for_writing=True) as network:
            view, _ = without_copies(find_slots(network))
            slots, mark = view.by_name(), {}
            for name, (positions, values) in self.values(record, view).items():
                place = slots[name].constant.locate(positions)
                assert place is not None, f"{name} carries a mark but is computed"
                mark[place[0].name] = (place[1], values)
            return mark


@dataclass(frozen=True)
class NctInsertion(MarkAtEpoch):
    """An NCT watermark at one moment of a training [NNW-TEC 7.2.2].

    Attributes:
        positions: N.
        strength, value_std: Deviation of the values: in units of each layer's, or absolute.
        key: The secret; None draws one.
        insertion: Whether the values replace weights, or are added to what they are at that moment, which the record keeps.
    """

    positions: int = DEFAULT_POSITIONS
    strength: float | None = None
    value_std: float | None = None
    owner: Owner = field(default_factory=Owner)
    key: Key | None = None
    insertion: str = nct.REPLACED

    def embed(self, file: Path, marked: Path) -> None:
        positions, strength = self.positions, self.strength
        embed(
            file,
            marked,
            self.record,
            positions,
            strength,
            self.value_std,
            self.owner,
            key=self.key,
            insertion=self.insertion,
        )

    def values(self, record: Record, view: SlotView) -> Mapping[str, tuple[Any, Any]]:
        return nct.mark(record)


@dataclass(frozen=True)
class MethodAtEpoch(MarkAtEpoch):
    """The mark of another method that writes into files, at one moment of a training."""

    insertion: FileInsertion
    key: Key | None = None
    owner: Owner = field(default_factory=Owner)

    def embed(self, file: Path, marked: Path) -> None:
        embed_by_method(file, marked, self.record, self.insertion, self.owner, self.key)

    def values(self, record: Record, view: SlotView) -> Mapping[str, tuple[Any, Any]]:
        return {view.slots[number].name: what for number, what in self.insertion.values(record, view).items()}
