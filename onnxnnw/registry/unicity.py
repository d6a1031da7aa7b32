"""Unicity: how often a registry's fingerprints are found in networks that they do not belong to [NNW-TEC 3, "Unicity"]."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from onnxnnw.errors import CannotLook, UsageError
from onnxnnw.network_file.file import open_network
from onnxnnw.registry.entry import Filters
from onnxnnw.registry.store import Registry
from onnxnnw.statistics import refuse_impossible_rate
from onnxnnw.verification.examiner import Examiner
from onnxnnw.verification.named_records import NamedRecord

__all__ = ["FORMAT", "LayoutUnicity", "Unicity", "unicity"]

FORMAT = "onnxnnw/unicity/1"
CONFIDENCE = 0.95


@dataclass(frozen=True)
class LayoutUnicity:
    """Pairs of fingerprints of one layout and networks they do not belong to.

    Attributes:
        layout: The first slot and the number of slots, for people.
        records: Fingerprints.
        pairs: Pairs that were held against each other and could be decided.
        false: Those that were called traced.
        undecided: Pairs of which too little could be read.
        rate, upper: Share of false matches, and its upper 95 % limit (Clopper and Pearson).
    """

    layout: str
    records: int
    pairs: int
    false: int
    undecided: int

    @property
    def rate(self) -> float:
        return self.false / self.pairs if self.pairs else 0.0

    @property
    def upper(self) -> float:
        """3 / pairs where none was false."""
        if not self.pairs or self.false == self.pairs:
            return 1.0
        from scipy.stats import beta

        return float(beta.ppf(CONFIDENCE, self.false + 1, self.pairs - self.false))

    def to_json(self) -> dict[str, Any]:
        """The documented form, see docs/reference/registry-formats.md."""
        return {**vars(self), "rate": round(self.rate, 9), "upper": round(self.upper, 9)}


@dataclass(frozen=True)
class Unicity:
    """What was found.

    Attributes:
        layouts: One entry for each layout.
        own: Pairs of a fingerprint and the very network it was made of, which were left out.
        false: Commitment and network of the first false matches.
        rate: False-positive rate of each decision.
        unreadable: Networks that could not be looked at.
    """

    layouts: tuple[LayoutUnicity, ...]
    own: int
    false: tuple[tuple[str, str], ...]
    rate: float
    unreadable: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The documented form, see docs/reference/registry-formats.md."""
        return {
            "format": FORMAT,
            "false_positive_rate": self.rate,
            "own": self.own,
            "layouts": [each.to_json() for each in self.layouts],
            "false": [list(pair) for pair in self.false],
            "unreadable": list(self.unreadable),
        }


def unicity(
    registry: Registry,
    networks: Sequence[Path],
    rate: float = 1e-6,
    sample: int | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Unicity:
    """Hold a registry's fingerprints against networks; each pair is decided by itself.

    Args:
        networks: ONNX files. A pair where the network's digest is the one that was fingerprinted is its own, and left out.
        sample: So many fingerprints for each network, drawn; None takes all.

    Raises:
        UsageError: No networks, or no fingerprints.
    """
    refuse_impossible_rate(rate)
    entries = registry.entries(Filters(kind="fingerprint"))
    if not networks or not entries:
        raise UsageError("unicity needs fingerprints in the registry and networks to hold them against")
    rng = np.random.default_rng(seed)
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    records: dict[str, set[str]] = defaultdict(set)
    false: list[tuple[str, str]] = []
    unreadable: list[str] = []
    own = 0
    for done, path in enumerate(networks):
        chosen = entries
        if sample is not None and sample < len(entries):
            chosen = tuple(entries[k] for k in sorted(rng.choice(len(entries), sample, replace=False).tolist()))
        named = [NamedRecord(registry.record(entry.commitment), entry.commitment, entry.commitment) for entry in chosen]
        layouts = {one.name: f"{one.record.slots[0].name} and {len(one.record.slots) - 1} more" for one in named}
        try:
            with open_network(path) as network:
                examiner = Examiner(network, named, rate, True, 1)
                assert examiner.digests is not None
                digest = examiner.digests.network
                own_names = {one.name for one in named if one.record.derived.get("digest") == digest}
                verdicts, _ = examiner.verdicts()
        except CannotLook as error:
            unreadable.append(f"{path.name}: {error}")
            continue
        own += len(own_names)
        for verdict in verdicts:
            if verdict.record in own_names:
                continue
            at = {"not traced": 0, "traced": 1, "identical": 1, "inconclusive": 2}[verdict.decision]
            counts[layouts[verdict.record]][at] += 1
            records[layouts[verdict.record]].add(verdict.record)
            if at == 1:
                false.append((verdict.record, path.name))
        progress(done + 1, len(networks))
    found = (
        LayoutUnicity(layout, len(records[layout]), no + yes, yes, open_) for layout, (no, yes, open_) in counts.items()
    )
    return Unicity(tuple(sorted(found, key=lambda one: -one.pairs)), own, tuple(false[:20]), rate, tuple(unreadable))
