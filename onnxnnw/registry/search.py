"""One candidate against a registry: scan, then the whole verifier on the best; every record counts as an alternative."""

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import NormalDist
from typing import Any

from onnxnnw.errors import UnreadableRecord, UnreadableRegistry
from onnxnnw.network_file.file import open_network
from onnxnnw.records.record import Record
from onnxnnw.registry.entry import RegistryEntry
from onnxnnw.registry.scan import BEST, Hit, scan
from onnxnnw.registry.store import Registry
from onnxnnw.statistics import refuse_impossible_rate
from onnxnnw.verification.examiner import Examiner
from onnxnnw.verification.named_records import NamedRecord
from onnxnnw.verification.verdict import SearchResult, Verdict
from onnxnnw.verification.verdicts import COMPLETE, rank
from onnxnnw.verification.verify import DEFAULT_RATE
from onnxnnw.verification.visible import visible

__all__ = ["FORMAT", "RegistrySearch", "search_registry"]

FORMAT = "onnxnnw/search/1"

ASKED = ("tbw",)
"""Methods that run the candidate: only where they were named."""

SURE = 1.5
"""A hit is far beyond chance where z is so many times what its p-value needs, and in question down to that divided by it."""


@dataclass(frozen=True)
class RegistrySearch:
    """What a registry says of a candidate.

    Attributes:
        search: The verdicts of the records that came nearest, best first; every p-value is multiplied by all records.
        entries: Each of those records as the registry lists it, in the same order.
        tried: Records of the registry.
        looked_at, passed: Records whose first positions were scanned, and those that passed.
        seconds: Of all.
    """

    search: SearchResult
    entries: tuple[RegistryEntry, ...]
    tried: int
    looked_at: int
    passed: int
    seconds: float

    def meets(self, require: str = "traced", min_explained: float = 0.0) -> bool:
        """Whether a gate opens for a record that was not revoked."""
        pairs = zip(self.search.verdicts, self.entries, strict=True)
        return any(entry.revoked_at is None and verdict.meets(require, min_explained) for verdict, entry in pairs)

    def to_json(self) -> dict[str, Any]:
        """The documented form, see docs/reference/registry-formats.md."""
        pairs = zip(self.search.verdicts, self.entries, strict=True)
        return {
            "format": FORMAT,
            "decision": self.search.best.decision,
            "tried": self.tried,
            "looked_at": self.looked_at,
            "passed": self.passed,
            "seconds": round(self.seconds, 6),
            "records": [{"entry": entry.to_json(), "verdict": verdict.to_json()} for verdict, entry in pairs],
            "unreadable_records": list(self.search.unreadable),
        }


def search_registry(
    candidate: Path | str,
    registry: Registry,
    rate: float = DEFAULT_RATE,
    full: bool = False,
    thorough: bool = False,
    methods: tuple[str, ...] = (),
    others: int = 0,
    cluster: str = "",
    key_file: Path | None = None,
) -> RegistrySearch:
    """Find the record of a registry that a candidate comes from.

    Args:
        candidate: An ONNX file. It is hostile input until proven otherwise.
        registry: Where the records are.
        rate: The false-positive rate of the decision, over all records together.
        full: Also compute the canonical digest, which alone can say ``identical``.
        thorough: Look at all positions of every record, rather than of those whose first 64 pass.
        methods: Methods that run the candidate and are tried all the same: ``tbw``.
        others: Records outside the registry that were tried for the same decision.
        cluster: Address of a Dask scheduler whose workers scan; here by default.
        key_file: Key of an encrypted registry, where its workers find it.

    Raises:
        CannotLook: The candidate or the registry cannot be examined.
    """
    refuse_impossible_rate(rate)
    start = time.perf_counter()
    tried = len(registry)
    if not tried:
        raise UnreadableRegistry(f"{registry.place}: holds no records yet")
    with open_network(candidate) as network:
        examiner = Examiner(network, [], rate, full, tried + others)
        with ExitStack() as workers:
            parts = None
            if cluster:
                from onnxnnw.registry.cluster import on_cluster

                where = registry.address
                parts = workers.enter_context(on_cluster(cluster, where, key_file, candidate, network, thorough))
            found = scan(registry, examiner, thorough, parts)
        for hits in _in_question(found.hits, rate / (tried + others)):
            wanted = [*(hit.number for hit in hits), *found.unscanned]
            named, entries, unreadable = _named(registry, wanted or registry.numbers(1), methods)
            examiner.records = named
            verdicts, failed = _verdicts(examiner)
            if verdicts and verdicts[0].decision in ("identical", "traced"):
                break
        network.check_unchanged()
    if not verdicts:
        raise UnreadableRecord(f"no record that can be examined: {(*unreadable, *failed, 'none near')[0]}")
    kept = tuple(
        replace(verdict, record=entries[verdict.record].network or verdict.record[:16]) for verdict in verdicts
    )
    seconds = time.perf_counter() - start
    search = SearchResult(kept, (*unreadable, *failed), seconds / tried)
    own = tuple(entries[verdict.record] for verdict in verdicts)
    return RegistrySearch(search, own, tried, found.looked_at, found.passed, seconds)


def _in_question(hits: tuple[Hit, ...], p: float) -> Iterator[tuple[Hit, ...]]:
    """Hits to verify, and more of them where none of those is traced.

    Where there are as many as a scan returns, most passed by chance: beside one that is far beyond chance these are left out.

    Args:
        hits: Best first.
        p: The p-value that one record needs.
    """
    least = -NormalDist().inv_cdf(max(p, sys.float_info.min))
    if len(hits) == BEST and hits[0].z > SURE * least:
        yield tuple(hit for hit in hits if hit.z > least / SURE)
    yield hits


def _verdicts(examiner: Examiner) -> tuple[list[Verdict], list[str]]:
    """The verdicts, best first, and what failed; whole are the best, and those that found something.

    Of the others, which passed the scan by chance, what a candidate explains and what happened to it are not asked.
    """
    looked, failed = [], []
    for named in examiner.records:
        try:
            looked.append(examiner.brief(named))
        except UnreadableRecord as error:
            failed.append(f"{visible(named.name)}: {visible(str(error))}")
    looked.sort(key=lambda pair: rank(pair[0]))
    verdicts = []
    for place, (brief, look) in enumerate(looked):
        found = place == 0 or (brief.decision in ("identical", "traced") and place < COMPLETE)
        verdicts.append(examiner.whole(look) if found else brief)
    return verdicts, failed


def _named(
    registry: Registry, numbers: list[int], methods: tuple[str, ...]
) -> tuple[list[NamedRecord], dict[str, RegistryEntry], list[str]]:
    """Records by number, with their entries by commitment; and those that cannot be read."""
    named, entries, unreadable = [], {}, []
    for entry in registry.entries_of(numbers):
        if entry.method in ASKED and entry.method not in methods:
            continue
        try:
            record = Record.from_bytes(registry.content(entry.commitment))
        except UnreadableRecord as error:
            unreadable.append(f"{entry.commitment[:16]}: {error}")
            continue
        named.append(NamedRecord(record, entry.commitment, entry.commitment))
        entries[entry.commitment] = entry
    return named, entries, unreadable
