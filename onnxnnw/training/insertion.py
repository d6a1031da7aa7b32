"""Marks that are inserted while a network trains: a method's hooks in the loop, and the record that comes of it.

What the mark depends on is settled and on the disk (``RECORD.draft``) before the first batch. Anchors and deviations are
read when the training is over; they stand in the record's unbound part. The record is written before the network is.
"""

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from onnxnnw.accounting.classing import account_of
from onnxnnw.enrolment.enrol import refuse_existing
from onnxnnw.enrolment.method_mark import begin_record, complete_record
from onnxnnw.enrolment.owner import Owner
from onnxnnw.errors import UsageError
from onnxnnw.graph.slots import find_slots
from onnxnnw.methods.base import Hooks, Insertion, Subject
from onnxnnw.network_file.file import Network, open_network
from onnxnnw.network_file.writing import refuse_place
from onnxnnw.records.key import Key
from onnxnnw.records.record import Record, commitment_of
from onnxnnw.records.record_file import load_record, save_record
from onnxnnw.training.at_epoch import (
    FileInsertionAtEpoch,
    MarkAtEpoch,
    MethodAtEpoch,
    NctAtEpoch,
    NctInsertion,
)
from onnxnnw.training.networks import train_network

if TYPE_CHECKING:
    from onnxnnw.exporters.base import Architecture
    from onnxnnw.recipes import Precision, Recipe
    from onnxnnw.training.hooks import Trained, TrainingProgress
from onnxnnw.training.watch import Watch

__all__ = ["Marked", "Training", "draft_record", "insert_in_training", "subject_of", "train_marked"]


@dataclass(frozen=True)
class Marked:
    """The result of a training with a mark.

    Attributes:
        trained: The module, its history and cost.
        record: What to keep; None where the training was stopped before its last epoch.
        commitment: SHA-256 of the record file.
        inserted_after: Batch iterations until all Symbols were right; None where that was not seen.
        correct: Share of the Symbols that are right at the end.
        warnings: Sentences for the tracker.
    """

    trained: "Trained"
    record: Record | None
    commitment: str
    inserted_after: int | None = None
    correct: float = 1.0
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Training:
    """How the network is trained, whatever is inserted; see ``training.networks.train_network``."""

    recipe: "Recipe"
    seed: int = 0
    start: Path | None = None
    threads: int | None = None
    checkpoint: Path | None = None
    until: int | None = None
    progress: "TrainingProgress | None" = None
    template: Path | None = None
    precision: "Precision | None" = None


def insert_in_training(
    architecture: "Architecture",
    data: Path,
    out: Path,
    record_path: Path | None,
    insertion: NctAtEpoch | FileInsertionAtEpoch | Insertion | None,
    training: Training,
    owner: Owner | None = None,
    key: Key | None = None,
) -> Marked:
    """Train a network, mark it meanwhile if that is wanted, and export it.

    Args:
        out: The ONNX file.
        record_path: Where the record goes; never overwritten.
        insertion: What is inserted; None inserts nothing.
        training: How the network is trained.
        owner: Who marks.
        key: The secret; None draws one. A training that resumes finds its own.

    Raises:
        UsageError: A mark without a place for its record, or the reverse; the mark does not fit the network; the record
            exists, or a draft of another mark lies beside it; the network cannot be written, see ``refuse_place``.
        MissingData: The task's data is not below the directory.
    """
    if (record_path is None) != (insertion is None):
        raise UsageError("a mark (--method, --mark-at) and a place for its record (--record) go together")
    if record_path is None or insertion is None:
        return Marked(_train(architecture, data, out, training), None, "")
    owner = owner or Owner()
    if isinstance(insertion, Insertion):
        return train_marked(architecture, data, out, record_path, insertion, training, owner, key)
    mark: MarkAtEpoch
    if isinstance(insertion, FileInsertionAtEpoch):
        mark = MethodAtEpoch(architecture, insertion.epoch, record_path, insertion.insertion, key, owner)
    else:
        mark = NctInsertion(
            architecture,
            insertion.epoch,
            record_path,
            insertion.positions,
            insertion.strength,
            owner=owner,
            key=key,
            insertion=insertion.insertion,
        )
    trained = _train(architecture, data, out, training, Hooks(at_epoch=mark))
    if not record_path.exists():  # stopped before that epoch
        return Marked(trained, None, "")
    record = load_record(record_path)
    return Marked(trained, record, commitment_of(record.to_bytes()), insertion.epoch * trained.history[0].batches)


def train_marked(
    architecture: "Architecture",
    data: Path,
    out: Path,
    record_path: Path,
    insertion: Insertion,
    training: Training,
    owner: Owner | None = None,
    key: Key | None = None,
) -> Marked:
    """Train a network while a method marks it, and export it with its record; see ``insert_in_training``.

    The ONNX file takes its name when the record is on the disk.
    """
    refuse_place(out)
    refuse_existing(record_path)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".marking-") as folder:
        template, partial = Path(folder) / "template.onnx", Path(folder) / "network.onnx"
        subject, record, warnings = _drafted(
            architecture, data, template, insertion, training, owner or Owner(), key or Key.generate()
        )
        record = _kept_draft(record, _draft_path(record_path))
        hooks = insertion.hooks(record, subject)
        watch = Watch(hooks, notes=_notes_path(training.checkpoint))
        if training.checkpoint is not None and training.checkpoint.exists():
            watch.resume()
        elif watch.notes is not None:
            watch.notes.unlink(missing_ok=True)  # of another training
        trained = _train(architecture, data, partial, training, replace(hooks, after_batch=watch))
        correct = 1.0 if hooks.correct is None else hooks.correct(trained.module)
        commitment = ""
        finished = len(trained.history) >= training.recipe.epochs
        if finished:
            record = complete_record(record, partial)
            commitment = save_record(record, record_path)
        try:
            partial.replace(out)
        except OSError:
            if finished:  # this run wrote the record, and the network that it belongs to never came to be
                record_path.unlink()
            raise
    if finished:
        _draft_path(record_path).unlink(missing_ok=True)
    if correct < 1:
        warnings = (*warnings, f"{1 - correct:.0%} of the Symbols are wrong at the end of the training")
    return Marked(trained, record if finished else None, commitment, watch.inserted_after, correct, warnings)


def _train(
    architecture: "Architecture",
    data: Path,
    out: Path,
    training: Training,
    hooks: Hooks | None = None,
) -> "Trained":
    return train_network(
        architecture,
        data,
        out,
        recipe=training.recipe,
        seed=training.seed,
        start=training.start,
        threads=training.threads,
        checkpoint=training.checkpoint,
        until=training.until,
        hooks=hooks,
        progress=training.progress,
        template=training.template,
        precision=training.precision,
    )


def _drafted(
    architecture: "Architecture",
    data: Path,
    template: Path,
    insertion: Insertion,
    training: Training,
    owner: Owner,
    key: Key,
) -> tuple[Subject, Record, tuple[str, ...]]:
    """The network before its training, and the bound part of its record."""
    from onnxnnw.exporters.base import export

    start, seed = training.start, training.seed
    module = architecture.build(seed) if start is None else architecture.load(start)
    export(architecture, module, template, training.template)
    with open_network(template, for_writing=True) as network:  # or small layers would count as read-only
        subject = subject_of(architecture, network, data, seed)
        record, warnings = draft_record(network, subject, insertion, owner, key)
    return subject, record, warnings


def subject_of(architecture: "Architecture", network: Network, data: Path, seed: int = 0) -> Subject:
    """A network as methods that insert in training see it.

    Args:
        network: Opened with ``for_writing=True``.
        data: Directory of the task's data, for the shapes of a batch.

    Raises:
        MissingData: The data is not below the directory.
    """
    task = architecture.task()
    inputs, targets = task.training(data).batch(np.arange(1), np.random.default_rng(seed))
    view = find_slots(network)
    return Subject(view, inputs.shape[1:], targets.shape[1:], task.number_of_classes, task.mean, task.deviation)


def draft_record(
    network: Network, subject: Subject, insertion: Insertion, owner: Owner, key: Key
) -> tuple[Record, tuple[str, ...]]:
    """The bound part of a record, before the mark is inserted, and what the tracker should know of it.

    Args:
        network: As it is before the mark, opened.
        subject: The same network as methods see it.

    Raises:
        UsageError: The mark does not fit the network.
    """
    draft, account = insertion.draft(subject), account_of(network, subject.view)
    return begin_record(network, subject.view, account, insertion.method, draft, owner, key), draft.warnings


def _notes_path(checkpoint: Path | None) -> Path | None:
    return None if checkpoint is None else checkpoint.with_name(f"{checkpoint.name}.inserted")


def _draft_path(record_path: Path) -> Path:
    return record_path.with_name(f"{record_path.name}.draft")


def _kept_draft(record: Record, path: Path) -> Record:
    """The record with the key of an earlier start of the same training, if there was one; else kept for later ones.

    Raises:
        UsageError: The draft is of another mark.
    """
    if not path.exists():
        save_record(record, path)
        return record
    earlier = load_record(path)
    if earlier.with_key(record.key).to_bytes() != record.to_bytes():
        raise UsageError(
            f"{path} is the draft of another mark or of another training; remove it or name another record"
        )
    return earlier
