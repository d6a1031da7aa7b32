"""Check a method against the contract of all methods, calibrate its p-values, and write the dossier of NNW-TEC 7.1."""

import inspect
import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from onnxnnw.accounting.classing import account_of
from onnxnnw.enrolment.method_mark import begin_record, embed_by_method
from onnxnnw.enrolment.owner import Owner
from onnxnnw.errors import CannotLook, UnreadableRecord, UsageError
from onnxnnw.graph.slots import find_slots
from onnxnnw.matching.row_scale import row_magnitudes, row_scales
from onnxnnw.methods.base import NO_READS, Candidate, FileInsertion, Insertion, Method, Subject
from onnxnnw.methods.discovery import (
    file_insertion_names,
    find_file_insertion,
    find_insertion,
    find_method,
    insertion_names,
)
from onnxnnw.network_file.file import open_network
from onnxnnw.parameters import describe
from onnxnnw.records.key import Key
from onnxnnw.records.record import Record
from onnxnnw.report.counts import exact_limits
from onnxnnw.runtime import open_runtime
from onnxnnw.verification.verify import verify

__all__ = ["Calibration", "Dossier", "Law", "check_method"]

LOG10_RATE = -6.0
LEVELS = (0.05, 0.01)
INPUTS, MEAN, DEVIATION = (3, 32, 32), (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)


@dataclass(frozen=True)
class Law:
    """One clause of the contract: whether it holds, and the counterexample where it does not."""

    sentence: str
    kept: bool
    came: str = ""


@dataclass(frozen=True)
class Calibration:
    """P-values of keys whose mark was never inserted.

    Attributes:
        shares: Level -> (how many p-values are at most that, 95 % limits of the share).
        smallest: log10 of the smallest one.
    """

    keys: int
    shares: tuple[tuple[float, int, float, float], ...]
    smallest: float

    @property
    def sound(self) -> bool:
        """No level is exceeded beyond chance: the lower limit of each share is at most the level; and there are p-values."""
        return bool(self.shares) and all(low <= level for level, _, low, _ in self.shares)


@dataclass(frozen=True)
class Dossier:
    """The dossier of a method: description, parameters, training strategy, checks."""

    method: str
    module: str
    description: str
    parameters: tuple[tuple[str, str], ...]
    strategy: str
    laws: tuple[Law, ...]
    calibration: Calibration
    network: str

    @property
    def kept(self) -> bool:
        """Whether every law that can be checked here holds."""
        return self.calibration.sound and all(law.kept for law in self.laws)

    def to_markdown(self) -> str:
        """As a file to hand in; tables of a campaign are added by whoever has one."""
        lines = [f"# {self.method}: dossier [NNW-TEC 7.1]", "", "## Description", "", self.description, ""]
        lines += ["## Parameters", "", "| Parameter | Meaning |", "|---|---|"]
        lines += [f"| {name} | {sentence} |" for name, sentence in self.parameters] or ["| none | |"]
        lines += ["", "## Training strategy", "", self.strategy, "", "## What every method owes", ""]
        lines += [
            f"- [{'x' if law.kept else ' '}] {law.sentence}{f': {law.came}' if law.came else ''}" for law in self.laws
        ]
        found = self.calibration
        lines += [
            "",
            "## Calibration",
            "",
            f"{found.keys:,} keys whose mark was never inserted, asked of {self.network}.",
        ]
        lines += ["", "| p at most | of the keys | share | 95 % limits |", "|---|---|---|---|"]
        for level, hits, low, high in found.shares:
            share, limits = f"{100 * hits / found.keys:.2f} %", f"{100 * low:.2f} … {100 * high:.2f} %"
            lines.append(f"| {100 * level:g} % | {hits} of {found.keys:,} | {share} | {limits} |")
        lines += ["", f"Smallest p: 10^{found.smallest:.2f}." if found.shares else "None could be asked.", ""]
        return "\n".join(lines)


def check_method(name: str, network: Path, keys: int = 1000) -> Dossier:
    """Try a method on a network that does not carry its mark.

    Args:
        name: Of a method that is inserted in training or into a file, wherever its package comes from.
        network: An unmarked ONNX file that reads 32×32 images in colour, as the shipped ResNet8 does.
        keys: How many wrong keys are asked.

    Returns:
        What was found; whatever the method raises is a broken law.

    Raises:
        UnknownName: There is no such method.
        UsageError: It can be inserted neither in training nor into a file, or there are no keys.
    """
    if keys < 1:
        raise UsageError("a calibration takes at least one key")
    method = find_method(name)
    in_training = name in insertion_names() or name not in file_insertion_names()
    kind: Any = find_insertion(name) if in_training else find_file_insertion(name)
    laws, logarithms = _asked(method, kind, network, keys)
    if name in file_insertion_names():
        laws += _laws_in_files(network, find_file_insertion(name))
    return Dossier(
        name,
        kind.__module__,
        inspect.getdoc(inspect.getmodule(kind)) or inspect.getdoc(type(method)) or "",
        tuple(describe(kind)),
        "\n\n".join(filter(None, (inspect.getdoc(kind), inspect.getdoc(kind.hooks if in_training else kind.values)))),
        tuple(laws),
        _calibrated(logarithms, keys),
        network.name,
    )


def _asked(method: Method, kind: Any, network: Path, keys: int) -> tuple[list[Law], Any]:
    """Laws of a record that the method drafted, and log10 p of each wrong key; of a method that drafts none, only that."""
    candidate, drafts, raised = _candidate(network), list[Record](), list[str]()

    def drafted() -> bool:
        drafts.append(_drafted(network, kind()))
        return True

    def asked(number: int) -> float:
        try:
            return float(method.judge(_with_key(drafts[0], number), candidate, LOG10_RATE).association.log10_p)
        except Exception as error:  # of a stranger's code: whatever it raises is what came
            raised.append(f"{type(error).__name__}: {error}"[:200])
            return math.nan

    law = _tried("with its defaults it drafts a record of a network", drafted)
    if not law.kept:
        return [law], np.array([])
    logarithms = np.array([asked(number) for number in range(keys)])
    judged = Law("every key gets a judgement", not raised, raised[0] if raised else "")
    return [law, judged, *_laws(method, kind, drafts[0], candidate, logarithms)], logarithms


def _laws(method: Method, kind: type[Insertion], record: Record, candidate: Candidate, logarithms: Any) -> "list[Law]":
    nothing = Candidate(_InMemory(()), lambda: NO_READS, _no_answer)

    def comes_back() -> bool:
        content = record.to_bytes()
        return Record.from_bytes(content).to_bytes() == content

    def empty_is_refused() -> bool:
        try:
            method.judge(replace(record, parameters={}, arrays={}), candidate, LOG10_RATE)
        except UnreadableRecord:
            return True
        return False

    def nothing_is_a_result() -> bool:
        judgement = method.judge(record, nothing, LOG10_RATE)
        silent = (judgement.read, judgement.association.log10_p) == (0, 0)
        return silent and not judgement.significant and not judgement.standard.retrieved

    def takes_more() -> bool:
        needed = [method.required(record, rate) for rate in (1e-1, 1e-3, 1e-6)]
        return needed == sorted(needed) and 1 <= needed[0] < needed[-1]

    def decides() -> bool:
        return len(np.unique(logarithms)) > 1 or len(logarithms) < 2

    return [
        _tried("every parameter has a sentence and a default", lambda: all(text for _, text in describe(kind))),
        _tried("a draft comes back from the disk as it was", comes_back),
        _tried("no wrong key is significant at 10^-6", lambda: bool((logarithms > LOG10_RATE).all())),
        _tried("the key decides something: p-values differ from key to key", decides),
        _tried("p-values are probabilities", lambda: bool(((logarithms <= 0) & np.isfinite(logarithms)).all())),
        _tried("a candidate without the recorded layers is a result, not an error", nothing_is_a_result),
        _tried("a record of nothing is refused", empty_is_refused),
        _tried("a stricter rate takes more Symbols", takes_more),
    ]


def _laws_in_files(network: Path, kind: type[FileInsertion]) -> "Iterator[Law]":
    """What a method owes that writes into files."""

    def embedded(folder: str) -> tuple[Path, Record]:
        out, kept = Path(folder) / "marked.onnx", Path(folder) / "mark.record"
        return out, embed_by_method(network, out, kept, kind(), key=_key(0)).record

    def is_traced() -> bool:
        with tempfile.TemporaryDirectory() as folder:
            out, record = embedded(folder)
            return verify(out, [record])[0].decision == "traced"

    def original_is_not() -> bool:
        with tempfile.TemporaryDirectory() as folder:
            return verify(network, [embedded(folder)[1]])[0].decision in ("not traced", "inconclusive")

    def is_pure() -> bool:
        with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
            return embedded(one)[0].read_bytes() == embedded(other)[0].read_bytes()

    yield _tried("a file that it marked is traced", is_traced)
    yield _tried("the unmarked file is not", original_is_not)
    yield _tried("one key marks a file in one way", is_pure)


def _tried(sentence: str, law: Callable[[], bool]) -> Law:
    try:
        return Law(sentence, law())
    except Exception as error:  # of a stranger's code: whatever it raises is what came
        return Law(sentence, False, f"{type(error).__name__}: {error}"[:200])


def _calibrated(logarithms: Any, keys: int) -> Calibration:
    if not len(logarithms):
        return Calibration(keys, (), math.nan)
    shares = []
    for level in LEVELS:
        hits = int(np.count_nonzero(logarithms <= np.log10(level) + 1e-12))
        shares.append((level, hits, *exact_limits(hits, keys)))
    numbers = logarithms[~np.isnan(logarithms)]
    return Calibration(keys, tuple(shares), float(numbers.min()) if len(numbers) else math.nan)


# --- what is asked


@dataclass(frozen=True)
class _InMemory:
    """A network's weights, as a record of the same network numbers its slots."""

    arrays: tuple[Any, ...]

    def has(self, slot: int) -> bool:
        return slot < len(self.arrays)

    def values(self, slot: int, positions: Any) -> Any:
        return self.arrays[slot].reshape(-1)[positions].astype(np.float64) if self.has(slot) else None

    def array(self, slot: int) -> Any:
        return self.arrays[slot] if self.has(slot) else None

    def row_scales(self, slot: int) -> Any:
        return row_scales(row_magnitudes(self.arrays[slot])) if self.has(slot) else None

    def share(self, slots: Sequence[int]) -> float:
        return float(self.has(0))


def _no_answer(inputs: Any) -> Any:
    raise CannotLook("it does not answer")


def _candidate(network: Path) -> Candidate:
    with open_network(network) as opened:
        arrays = tuple(slot.array() for slot in find_slots(opened).slots)
    return Candidate(_InMemory(arrays), lambda: NO_READS, open_runtime(network, threads=1).predict)


def _drafted(network: Path, insertion: Insertion | FileInsertion) -> Record:
    if isinstance(insertion, FileInsertion):
        with open_network(network, for_writing=True) as opened:
            view = find_slots(opened)
            draft, account = insertion.draft(view), account_of(opened, view)
            return begin_record(opened, view, account, insertion.method, draft, Owner(), _key(0))

    from onnxnnw.training.insertion import draft_record

    with open_network(network) as opened:
        subject = Subject(find_slots(opened), INPUTS, (), 10, MEAN, DEVIATION)
        record, _ = draft_record(opened, subject, insertion, Owner(), _key(0))
    return record


def _with_key(record: Record, number: int) -> Record:
    return replace(record, key=_key(number + 1))


def _key(number: int) -> Key:
    """Keys of an experiment; none for a real mark."""
    return Key(b"onnxnnw/method check/" + number.to_bytes(11, "little"))
