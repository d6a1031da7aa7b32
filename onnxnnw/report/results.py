"""Read and check a folder of results: results.json, and trials.jsonl, compressed or not.

Nothing in it is executed or believed: sizes are bounded, numbers are finite, and a damaged line is named by its number.
"""

import gzip
import hashlib
import json
import os
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from onnxnnw.errors import MissingData, UnreadableData
from onnxnnw.files import open_descriptor
from onnxnnw.report.campaign_networks import CampaignNetwork, networks_of
from onnxnnw.report.fields import Fields
from onnxnnw.report.trials import Trial, read_trial
from onnxnnw.texts import visible

__all__ = ["FILES", "RESULTS_FORMAT", "CampaignSteps", "Part", "Reduction", "Results", "read_results"]

RESULTS_FORMAT = "onnxnnw/results/1"
RESULTS, TRIALS, PACKED = FILES = ("results.json", "trials.jsonl", "trials.jsonl.gz")
MAX_RESULTS = 16 * 2**20
MAX_LINE = 256 * 1024
MAX_BYTES = 2**30
"""Of all lines together, decompressed."""
MAX_TRIALS = 1_000_000
_MAX_SENTENCE = 2000

Kind = TypeVar("Kind", bound=Trial)


@dataclass(frozen=True)
class Reduction:
    """What the campaign does with less than the standard asks for, and the tables that it touches."""

    tables: tuple[int, ...]
    sentence: str


@dataclass(frozen=True)
class CampaignSteps:
    """How the campaign went: steps, the seconds in them, the seconds around them, and the steps that failed."""

    count: int = 0
    seconds: float = 0.0
    overhead_seconds: float = 0.0
    failed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Part:
    """One folder: how many trials, their digest, and what went into them (data, networks, seed) in digests."""

    name: str
    trials: int
    digest: str
    inputs: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Results:
    """What a campaign left.

    Attributes:
        parts: The folders that it was read from.
        unknown: Studies that this version does not know, with the number of their trials.
    """

    name: str
    date: str
    cuts: tuple[Reduction, ...]
    environment: tuple[tuple[str, str], ...]
    steps: CampaignSteps
    trials: tuple[Trial, ...]
    unknown: Mapping[str, int] = field(default_factory=dict)
    parts: tuple[Part, ...] = ()

    def of(self, kind: type[Kind]) -> tuple[Kind, ...]:
        """The trials of one kind."""
        return tuple(trial for trial in self.trials if isinstance(trial, kind))


def read_results(folder: Path) -> Results:
    """Read and check a folder of results.

    Raises:
        MissingData: There is no such folder, or it lacks one of the files.
        UnreadableData: A file is damaged, hostile, or of a format that this version does not know.
    """
    if not folder.is_dir():
        raise MissingData(f"{folder}: no folder of results; onnxnnw evaluate CAMPAIGN -o {folder} makes one")
    head = _read_head(folder / RESULTS)
    plain, packed = folder / TRIALS, folder / PACKED
    if plain.exists() and packed.exists():
        raise UnreadableData(f"{folder}: holds both {TRIALS} and {PACKED}; remove the one that is not meant")
    name = head.text("name", folder.name)
    trials, unknown, digest = _read_trials(packed if packed.exists() else plain, name, networks_of(head, name))
    steps = head.inner("steps") if head.has("steps") else Fields({}, "steps")
    return Results(
        name=name,
        date=head.text("date", ""),
        cuts=tuple(_cut(cut, f"{head.place}: cut {number}") for number, cut in enumerate(_list(head, "cuts"), 1)),
        environment=head.texts("environment"),
        steps=CampaignSteps(
            steps.maybe_count("count") or 0,
            steps.maybe("seconds") or 0.0,
            steps.maybe("overhead_seconds") or 0.0,
            tuple(visible(str(name)[:_MAX_SENTENCE]) for name in _list(steps, "failed")),
        ),
        trials=trials,
        unknown=unknown,
        parts=(Part(name, len(trials), digest, head.texts("inputs")),),
    )


def _read_head(path: Path) -> Fields:
    with _open(path) as file:
        content = file.read(MAX_RESULTS + 1)
    if len(content) > MAX_RESULTS:
        raise UnreadableData(f"{path.name}: larger than {MAX_RESULTS // 2**20} MiB")
    head = Fields(_decode(content, path.name), path.name)
    form = head.text("format", "")
    if form != RESULTS_FORMAT:
        raise UnreadableData(f"{path.name}: format {form!r} is not known; this version reads {RESULTS_FORMAT}")
    return head


def _list(fields: Fields, name: str) -> list[Any]:
    found = fields.content.get(name)
    if found is not None and not isinstance(found, list):
        raise fields.wrong(name, "a list")
    return found or []


def _cut(content: Any, place: str) -> Reduction:
    fields = Fields(content, place)
    tables = _list(fields, "tables")
    sentence = fields.content.get("sentence")
    if not isinstance(sentence, str) or len(sentence) > _MAX_SENTENCE:
        raise fields.wrong("sentence", f"a text of at most {_MAX_SENTENCE} characters")
    if not all(isinstance(number, int) for number in tables):
        raise fields.wrong("tables", "numbers of tables")
    return Reduction(tuple(tables), visible(sentence))


def _read_trials(
    path: Path, part: str, networks: Mapping[str, CampaignNetwork]
) -> tuple[tuple[Trial, ...], Mapping[str, int], str]:
    trials: dict[str, Trial] = {}
    unknown: Counter[str] = Counter()
    digest = hashlib.sha256()
    origins = {name: network.origin for name, network in networks.items()}
    for number, line in enumerate(_lines(path), 1):
        place = f"{path.name}: line {number}"
        digest.update(line)
        if not line.strip():
            continue
        found = read_trial(_decode(line, place), place, part, origins)
        if isinstance(found, str):
            unknown[found] += 1
        elif found.id in trials:
            raise UnreadableData(f"{place}: trial {found.id!r} stood there before")
        else:
            trials[found.id] = networks[found.network].in_order(found) if found.network in networks else found
        if len(trials) + len(unknown) > MAX_TRIALS:
            raise UnreadableData(f"{place}: more than {MAX_TRIALS:,} trials")
    return tuple(trials.values()), dict(unknown), digest.hexdigest()


def _lines(path: Path) -> Iterator[bytes]:
    """Lines of a file, decompressed where it is packed, never more at a time than one."""
    total = number = 0
    with _open(path) as raw:
        file: Any = gzip.GzipFile(fileobj=raw) if path.suffix == ".gz" else raw
        while True:
            number += 1
            try:
                line = file.readline(MAX_LINE + 1)
            except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                raise UnreadableData(f"{path.name}: line {number}: damaged compression ({error})") from error
            if not line:
                return
            total += len(line)
            if len(line) > MAX_LINE or total > MAX_BYTES:
                raise UnreadableData(
                    f"{path.name}: line {number}: more than {MAX_LINE:,} bytes, or {MAX_BYTES:,} in all"
                )
            yield line


@contextmanager
def _open(path: Path) -> Iterator[BinaryIO]:
    """A regular file: a device or a pipe might never end."""
    try:
        descriptor, _ = open_descriptor(path, UnreadableData, path.name)
    except UnreadableData as error:
        if not isinstance(error.__cause__, FileNotFoundError):
            raise
        raise MissingData(f"{path.parent}: there is no {path.name}; is this the folder of a campaign?") from error
    with os.fdopen(descriptor, "rb") as file:
        yield file


def _decode(content: bytes, place: str) -> Any:
    try:
        return json.loads(content.decode("utf-8"), parse_constant=_refuse, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        reason = str(error) or "nested too deeply"
        raise UnreadableData(f"{place}: not JSON as it is written here ({reason[:200]})") from error


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no number")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return found
