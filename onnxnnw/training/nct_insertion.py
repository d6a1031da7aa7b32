"""NCT in training: a mark that is written into the running module at one moment [NNW-TEC 7.2.3]."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxnnw.enrolment.enrol import embed
from onnxnnw.enrolment.how_many import DEFAULT_POSITIONS
from onnxnnw.enrolment.owner import Owner
from onnxnnw.graph.slots import find_slots
from onnxnnw.methods import nct
from onnxnnw.network_file.file import open_network
from onnxnnw.records.key import Key
from onnxnnw.records.record import Record
from onnxnnw.records.record_file import load_record

if TYPE_CHECKING:
    from onnxnnw.exporters.base import Architecture

__all__ = ["NctAtEpoch", "NctInsertion"]


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
class NctInsertion:
    """Inserts an NCT watermark into the running module when `epoch` epochs are finished [NNW-TEC 7.2.2].

    The mark is the same pure function of the record that is written into files. The architecture is exported once,
    before the first batch, to get its slots. A training that resumes at this very epoch finds its record and inserts
    the same mark again.

    Args:
        epoch: α in epochs: 0 for the initial weights, the number of epochs for the trained ones.
        record: Where the record goes.
        key: The secret; None draws one.
        template: The architecture as it was exported; None exports it before the first batch.
        insertion: Whether the values replace weights, or are added to what they are at that moment, which the record keeps.
    """

    architecture: "Architecture"
    epoch: int
    record: Path
    positions: int = DEFAULT_POSITIONS
    strength: float | None = None
    value_std: float | None = None
    owner: Owner = field(default_factory=Owner)
    key: Key | None = None
    template: Path | None = None
    insertion: str = nct.REPLACED

    _exported: list[bytes] = field(default_factory=list, init=False, repr=False, compare=False)

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
                embed(
                    file,
                    marked,
                    self.record,
                    self.positions,
                    self.strength,
                    self.value_std,
                    self.owner,
                    key=self.key,
                    insertion=self.insertion,
                )
            write_values(module, _stored_mark(load_record(self.record), file))


def _stored_mark(record: Record, file: Path) -> Mapping[str, tuple[Any, Any]]:
    """The mark at positions of the stored tensors, which are the module's parameters, by name."""
    with open_network(file) as network:
        slots = find_slots(network).by_name()
        mark = {}
        for name, (positions, values) in nct.mark(record).items():
            place = slots[name].constant.locate(positions)
            assert place is not None, f"{name} carries a mark but is computed"
            mark[place[0].name] = (place[1], values)
        return mark
