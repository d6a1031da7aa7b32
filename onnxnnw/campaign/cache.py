"""Results of steps on the disk, by address: written once, checked when they are read, shared by campaigns.

``entries/ab/<address>/`` holds a finished step's files and ``entry.json``; it appears by one rename. ``work/<address>/``
is where a step works; what a killed one left there is found again. A lock beside it keeps two workers off one step.
"""

import contextlib
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnxnnw.campaign.environment import environment
from onnxnnw.campaign.step import Place, Step
from onnxnnw.errors import CannotLook
from onnxnnw.files import read_regular

__all__ = ["ENTRY_FORMAT", "Cache", "CachedStep", "DamagedEntry"]

ENTRY_FORMAT = "onnxnnw/entry/1"
_ENTRY = "entry.json"
_BLOCK = 1 << 20
MAX_ENTRY = 256 * 2**20


class DamagedEntry(CannotLook):
    """An entry's files are not as they were written; it was set aside, and its step has to be done again.

    Args:
        address: Of the step.
    """

    def __init__(self, address: str) -> None:
        super().__init__(address)
        self.address = address

    def __str__(self) -> str:
        return f"the cached result {self.address[:12]} is damaged"


@dataclass(frozen=True)
class CachedStep:
    """What is kept of a finished step beside its files.

    Attributes:
        seconds: Of the step itself.
        overhead_seconds: Of looking up, checking and keeping.
        environment: Where it was done.
        files: Name -> (bytes, SHA-256).
    """

    kind: str
    unit: str
    amount: float
    result: Mapping[str, Any]
    cost: Mapping[str, Any]
    seconds: float
    overhead_seconds: float
    environment: Mapping[str, str]
    files: Mapping[str, tuple[int, str]]


@dataclass(frozen=True)
class Cache:
    """A folder of results; any number of processes and machines may share it."""

    folder: Path

    # --- reading

    def has(self, address: str) -> bool:
        """Whether there is a readable entry; a damaged one is set aside. Its files are checked when they are used."""
        with contextlib.suppress(DamagedEntry):
            return self.find(address) is not None
        return False

    def find(self, address: str) -> CachedStep | None:
        """The entry, or None.

        Raises:
            DamagedEntry: It is damaged.
        """
        path = self._entry(address) / _ENTRY
        try:
            if not path.exists():
                raise FileNotFoundError(path)
            content = json.loads(read_regular(path, CannotLook, MAX_ENTRY).decode("utf-8"))
            check = content.pop("check")
            if content["format"] != ENTRY_FORMAT or content["address"] != address or check != _digest_of(content):
                raise ValueError(address)
            files = {name: (int(size), str(digest)) for name, (size, digest) in content["files"].items()}
            for name, (size, _) in files.items():
                if (path.parent / name).stat().st_size != size:
                    raise ValueError(name)
            known = ("kind", "unit", "amount", "result", "cost", "seconds", "overhead_seconds", "environment")
            return CachedStep(**{name: content[name] for name in known}, files=files)
        except FileNotFoundError:
            if not path.parent.exists():
                return None
        except (ValueError, KeyError, TypeError, AttributeError, OSError, RecursionError, CannotLook):
            pass
        self._set_aside(address)
        raise DamagedEntry(address)

    def entry(self, address: str) -> CachedStep:
        """The entry of a step that is done.

        Raises:
            DamagedEntry: It is damaged, or gone.
        """
        found = self.find(address)
        if found is None:
            raise DamagedEntry(address)
        return found

    def files(self, address: str) -> Path:
        """The folder of a finished step's files, every byte checked.

        Raises:
            DamagedEntry: One is not as it was written.
        """
        folder = self._entry(address)
        for name, (_, digest) in self.entry(address).files.items():
            if _digest(folder / name) != digest:
                self._set_aside(address)
                raise DamagedEntry(address)
        return folder

    def entries(self) -> Iterator[CachedStep]:
        """All readable entries: what earlier campaigns took, for estimates."""
        for path in sorted((self.folder / "entries").glob("*/*")):
            with contextlib.suppress(DamagedEntry):
                found = self.find(path.name)
                if found is not None:
                    yield found

    # --- making

    def make(self, step: Step, data: Path | None) -> CachedStep:
        """Do a step unless it is done.

        Raises:
            DamagedEntry: An input is damaged and has to be done again first.
            CannotLook: The step cannot be done, or not be kept.
        """
        begin = time.perf_counter()
        with self._locked(step.address):
            with contextlib.suppress(DamagedEntry):  # it was set aside, and is made anew
                found = self.find(step.address)
                if found is not None:
                    return found
            folder = self._work(step.address)
            folder.mkdir(exist_ok=True)
            started = time.perf_counter()
            outcome = step.run(Place(folder, data, self))
            ended = time.perf_counter()
            self._keep(step, folder, outcome.result, outcome.cost, ended - started, started - begin)
            with contextlib.suppress(OSError):  # whoever waits for this lock finds the entry; without one it stays
                self._lock(step.address).unlink()
        return self.entry(step.address)

    def _keep(
        self,
        step: Step,
        folder: Path,
        result: Mapping[str, Any],
        cost: Mapping[str, Any],
        seconds: float,
        waited: float,
    ) -> None:
        begin = time.perf_counter()
        for path in folder.iterdir():
            if path.name not in step.files:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        work = step.work()
        files = {p.name: (p.stat().st_size, _digest(p)) for p in sorted(folder.iterdir())}
        content: dict[str, Any] = {
            "format": ENTRY_FORMAT,
            "address": step.address,
            "kind": step.kind,
            "unit": work.unit,
            "amount": work.amount,
            "result": result,
            "cost": cost,
            "seconds": round(seconds, 4),
            "overhead_seconds": round(waited + time.perf_counter() - begin, 4),
            "environment": environment(),
            "files": files,
        }
        content = json.loads(json.dumps(content))  # as it will be read: tuples are lists
        content["check"] = _digest_of(content)
        try:
            with (folder / _ENTRY).open("w", encoding="utf-8") as file:
                json.dump(content, file)
                file.flush()
                os.fsync(file.fileno())
            place = self._entry(step.address)
            place.parent.mkdir(parents=True, exist_ok=True)
            folder.rename(place)
        except OSError as error:
            raise CannotLook(f"{self.folder}: cannot keep a result: {error.strerror}") from error

    # --- places

    def _entry(self, address: str) -> Path:
        return self.folder / "entries" / address[:2] / address

    def _work(self, address: str) -> Path:
        return self.folder / "work" / address

    def _lock(self, address: str) -> Path:
        return self.folder / "work" / f"{address}.lock"

    def _set_aside(self, address: str) -> None:
        with contextlib.suppress(OSError):
            target = self.folder / "damaged" / f"{address}-{time.time_ns()}"
            target.parent.mkdir(parents=True, exist_ok=True)
            self._entry(address).rename(target)
            shutil.rmtree(target, ignore_errors=True)

    @contextlib.contextmanager
    def _locked(self, address: str) -> Iterator[None]:
        """One worker at a time; the lock ends with its process. Where there are no locks, entries still appear whole."""
        try:
            (self.folder / "work").mkdir(parents=True, exist_ok=True)
            file = self._lock(address).open("w")
        except OSError as error:
            raise CannotLook(f"{self.folder}: cannot be written: {error.strerror}") from error
        with file:
            with contextlib.suppress(ImportError):
                import fcntl

                fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _digest_of(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
