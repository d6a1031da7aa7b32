"""A step of a campaign, made from other steps; its address is the digest of everything that decides its result."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from onnxnnw.records.key import Key

if TYPE_CHECKING:
    from onnxnnw.campaign.cache import Cache

__all__ = ["ELSEWHERE", "LATER", "NETWORK", "RECORD", "Outcome", "Place", "Step", "Work", "key_of"]

NETWORK = "network.onnx"
RECORD = "mark.record"

LATER: Mapping[str, Any] = {"later": True}
"""Metadata of a dataclass field that steps did not always have, and whose default is what held before: it stands in the
address where it is something else, so that what was done before is found by those who ask for just that."""

ELSEWHERE: Mapping[str, Any] = {"elsewhere": True}
"""Metadata of a dataclass field that says where something lies whose content another field is the digest of: no part of the
address, so that a file that was moved is the same."""


ADDRESS_NAMES: Mapping[str, str] = {"setup": "bench", "written": "moment"}
"""Fields by the names that addresses know them by: a field that was renamed leaves the address as it was, so that steps that
were done before are found."""


@dataclass(frozen=True)
class Outcome:
    """What a step found, apart from its files.

    Attributes:
        result: Plain JSON; equal in every run with the same inputs.
        cost: Plain JSON; durations and memory, which differ from run to run.
    """

    result: Mapping[str, Any] = field(default_factory=dict)
    cost: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Work:
    """How much there is to do, for the estimate of ``--dry-run``.

    Attributes:
        unit: What the time is proportional to, e.g. ``"train resnet8"``.
        amount: How many of it.
        usual: Seconds per unit where nothing was measured yet, on one core.
        bytes: What stays on the disk.
    """

    unit: str
    amount: float = 1.0
    usual: float = 1.0
    bytes: float = 2000.0


@dataclass(frozen=True)
class Place:
    """Where a step works.

    Attributes:
        folder: Its own; what a killed run left there is still there. Only the step's ``files`` are kept in the end.
        data: Directory of the tasks' data, if the campaign needs one.
    """

    folder: Path
    data: Path | None
    cache: "Cache"

    def input(self, step: "Step") -> Path:
        """Folder of another step's files.

        Raises:
            DamagedEntry: They are not as they were written.
        """
        return self.cache.files(step.address)

    def result(self, step: "Step") -> Mapping[str, Any]:
        """What another step found."""
        return self.cache.entry(step.address).result


@dataclass(frozen=True)
class Step(ABC):
    """Concrete steps are frozen dataclasses of plain values and of other steps, which are their inputs.

    Attributes:
        kind: Its name; with the fields it makes the address.
        edition: Raised when the same fields come to mean something else.
        files: What it leaves.
    """

    kind: ClassVar[str]
    edition: ClassVar[int] = 1
    files: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def run(self, place: Place) -> Outcome:
        """Make the files in ``place.folder``; called again after a kill, it may go on from what it finds there."""

    @abstractmethod
    def work(self) -> Work:
        """How much there is to do."""

    @cached_property
    def inputs(self) -> tuple["Step", ...]:
        """The steps that this one is made from."""
        return tuple(_steps(tuple(getattr(self, f.name) for f in fields(self))))

    @cached_property
    def address(self) -> str:
        """SHA-256 of kind, edition and fields; an input stands there with its own address."""
        content = {
            "kind": self.kind,
            "edition": self.edition,
            **_plain_fields(self),
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    @property
    def title(self) -> str:
        """For people: what is being done."""
        return self.kind


def key_of(label: str) -> Key:
    """The secret of an experiment: fixed by its label, so that a campaign can be repeated. No key for real marks."""
    return Key(hashlib.sha256(b"onnxnnw/campaign/key/1\0" + label.encode()).digest())


def _steps(value: Any) -> Iterator[Step]:
    if isinstance(value, Step):
        yield value
    elif isinstance(value, tuple):
        for part in value:
            yield from _steps(part)
    elif is_dataclass(value):
        for f in fields(value):
            yield from _steps(getattr(value, f.name))


def _plain(value: Any) -> Any:
    if isinstance(value, Step):
        return {"step": value.address}
    if isinstance(value, tuple):
        return [_plain(part) for part in value]
    if is_dataclass(value):
        return _plain_fields(value)
    return value


def _plain_fields(value: Any) -> dict[str, Any]:
    found = ((f, getattr(value, f.name)) for f in fields(value) if not f.metadata.get("elsewhere"))
    return {
        ADDRESS_NAMES.get(f.name, f.name): _plain(one)
        for f, one in found
        if not (f.metadata.get("later") and one == f.default)
    }
