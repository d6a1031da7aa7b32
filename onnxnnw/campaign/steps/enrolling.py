"""Steps that enrol a finished network: its mark, its fingerprint, and records of marks that were never inserted.

The latter are the wrong keys of a campaign: what another tracker would hold who drew another key for the same network.
Its slots and anchors are right and its mark is not there, so that a verdict on it is a draw from the null.
"""

import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

from onnxnnw.accounting.classing import account_of
from onnxnnw.campaign.step import LATER, NETWORK, RECORD, Outcome, Place, Step, Work, key_of
from onnxnnw.campaign.steps.evaluated_network import NetworkSetup
from onnxnnw.campaign.steps.trajectories import Settings, inserted_as, written_as
from onnxnnw.enrolment.enrol import embed, fingerprint
from onnxnnw.enrolment.method_mark import begin_record, complete_record, embed_by_method
from onnxnnw.enrolment.owner import Owner
from onnxnnw.enrolment.record_draft import Writing, draft_watermark
from onnxnnw.graph.digest import network_digest
from onnxnnw.graph.slots import find_slots
from onnxnnw.methods.nct import REPLACED
from onnxnnw.network_file.file import open_network
from onnxnnw.records.key import Key
from onnxnnw.records.record import Record
from onnxnnw.records.record_file import save_record

__all__ = ["EmbedStep", "FingerprintStep", "WriteStep", "WrongKeysInFileStep", "WrongKeysStep"]


@dataclass(frozen=True)
class EmbedStep(Step):
    """An NCT watermark in a network that is not trained any further [NNW-TEC 7.2.2].

    Attributes:
        key: Label of the secret.
        insertion: Whether the values replace weights, as in the standard's tables, or are added to them.
    """

    candidate: Step
    positions: int
    strength: float
    key: str
    insertion: str = field(default=REPLACED, metadata=LATER)

    kind: ClassVar[str] = "embed"
    files: ClassVar[tuple[str, ...]] = (NETWORK, RECORD)

    def run(self, place: Place) -> Outcome:
        record = place.folder / RECORD
        record.unlink(missing_ok=True)  # of a run that was killed before it could tell
        source = place.input(self.candidate) / NETWORK
        embed(
            source,
            place.folder / NETWORK,
            record,
            self.positions,
            self.strength,
            key=key_of(self.key),
            insertion=self.insertion,
        )
        return Outcome({"iterations": 0})

    def work(self) -> Work:
        return Work(self.kind, 1, 0.3, 400_000)


@dataclass(frozen=True)
class WriteStep(Step):
    """The mark of another method that writes into files, in a network that is not trained any further.

    Attributes:
        method: The method.
        parameters: Of its mark.
        key: Label of the secret.
    """

    candidate: Step
    method: str
    parameters: Settings
    key: str

    kind: ClassVar[str] = "write"
    files: ClassVar[tuple[str, ...]] = (NETWORK, RECORD)

    def run(self, place: Place) -> Outcome:
        record = place.folder / RECORD
        record.unlink(missing_ok=True)  # of a run that was killed before it could tell
        source, insertion = place.input(self.candidate) / NETWORK, written_as(self.method, dict(self.parameters))
        embed_by_method(source, place.folder / NETWORK, record, insertion, key=key_of(self.key))
        return Outcome({"iterations": 0})

    def work(self) -> Work:
        return Work(f"{self.kind} {self.method}", 1, 0.3, 400_000)


@dataclass(frozen=True)
class FingerprintStep(Step):
    """The fingerprint of a network under one key [NNW-TEC 7.2.2]."""

    candidate: Step
    positions: int
    key: str

    kind: ClassVar[str] = "fingerprint"
    files: ClassVar[tuple[str, ...]] = (RECORD,)

    def run(self, place: Place) -> Outcome:
        with tempfile.TemporaryDirectory(dir=place.folder) as folder:
            path = Path(folder) / RECORD
            fingerprint(place.input(self.candidate) / NETWORK, path, self.positions, key=key_of(self.key))
            path.replace(place.folder / RECORD)
        return Outcome()

    def work(self) -> Work:
        return Work(self.kind, 1, 0.2, 40_000)


@dataclass(frozen=True)
class WrongKeysStep(Step):
    """Records of marks under other keys that were never inserted into this network.

    Attributes:
        method: The method; one without an insertion in training is enrolled as NCT is.
        parameters: Of the mark.
        count: How many keys.
    """

    setup: NetworkSetup
    candidate: Step
    method: str
    parameters: Settings
    count: int
    key: str

    kind: ClassVar[str] = "draw wrong keys"

    @property
    def files(self) -> tuple[str, ...]:  # type: ignore[override]
        """One record a key."""
        return tuple(f"{number:04}.record" for number in range(self.count))

    def run(self, place: Place) -> Outcome:
        source = place.input(self.candidate) / NETWORK
        for number, name in enumerate(self.files):
            (place.folder / name).unlink(missing_ok=True)  # of a run that was killed
            save_record(self._record(place, source, key_of(f"{self.key}/wrong {number}")), place.folder / name)
        return Outcome()

    def work(self) -> Work:
        return Work(self.kind, self.count, 0.1, 20_000.0 * self.count)

    def _record(self, place: Place, source: Path, key: Key) -> Record:
        from onnxnnw.methods.discovery import insertion_names

        if self.method in insertion_names():
            return self._drafted(place, source, key)
        settings = dict(self.parameters)
        with open_network(source, for_writing=True) as network:
            view = find_slots(network)
            writing = Writing(str(settings.get("insertion", REPLACED)), float(settings["strength"]))
            record = draft_watermark(view, key, int(settings["positions"]), Owner(), writing)
            return replace(record, enrolled_digest=network_digest(network, view))

    def _drafted(self, place: Place, source: Path, key: Key) -> Record:
        from onnxnnw.training.insertion import draft_record, subject_of

        insertion = inserted_as(self.method, dict(self.parameters))
        architecture = self.setup.architecture(place)
        with open_network(source, for_writing=True) as network:
            subject = subject_of(architecture, network, place.folder)
            record, _ = draft_record(network, subject, insertion, Owner(), key)
        return complete_record(record, source)


@dataclass(frozen=True)
class WrongKeysInFileStep(WrongKeysStep):
    """The same of a method that writes into files."""

    kind: ClassVar[str] = "draw wrong keys of files"

    def _record(self, place: Place, source: Path, key: Key) -> Record:
        insertion = written_as(self.method, dict(self.parameters))
        with open_network(source, for_writing=True) as network:
            view = find_slots(network)
            account = account_of(network, view)
            draft = insertion.draft(view)
            record = begin_record(network, view, account, self.method, draft, Owner(), key)
        return complete_record(record, source)
