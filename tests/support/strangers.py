"""Measure real networks against each other's records: ``python -m tests.support.strangers --data DIR``.

All ordered pairs among public networks and small ones trained here (same architecture and data, other initial values),
through the code that verification runs, with every way of matching. Public pairs are labelled by provenance.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.tables import Report, progress
from onnxnnw.enrolment.enrol import embed, fingerprint
from onnxnnw.errors import CannotLook
from onnxnnw.records.key import Key
from onnxnnw.records.record import Record
from onnxnnw.records.record_file import load_record
from onnxnnw.statistics import required_reads
from onnxnnw.verification.verdict import Verdict
from onnxnnw.verification.verify import verify
from tests.support.packages import MORE, PACKAGES, download, relation
from tests.support.small_networks import retrained_head, trained

__all__ = ["Pair", "draw", "pairs", "table"]

SMALL, HEADS = 20, 3
LEVELS = (0.05, 0.01, 0.001)


@dataclass(frozen=True)
class Network:
    """A network of the study.

    Attributes:
        name: As in the table.
        path: Its file.
        kind: ``public``, ``small`` or ``head`` (a small one with a head of its own).
        origin: Name of the small network that it comes from.
    """

    name: str
    path: Path
    kind: str
    origin: str


@dataclass(frozen=True)
class Pair:
    """A candidate held against another network's record."""

    owner: Network
    candidate: Network
    method: str
    verdict: Verdict

    @property
    def label(self) -> str:
        """What is known of the two, and so what the verdict should be."""
        if self.owner.kind == self.candidate.kind == "public":
            return f"public, {relation(self.owner.name, self.candidate.name)}"
        if self.owner.origin == self.candidate.origin:
            return "small, itself" if self.owner.name == self.candidate.name else "small, another head"
        kinds = {self.owner.kind, self.candidate.kind}
        return "public and small" if "public" in kinds else "small, other initial values"

    @property
    def null(self) -> bool:
        """Whether nothing connects the two: for a mark, every network that was never marked with it."""
        return self.method == "watermark" or self.label in NULLS

    @property
    def legible(self) -> bool:
        """Whether enough could be read to say something: in most pairs of other architectures nothing corresponds."""
        return self.verdict.read >= required_reads(self.verdict.rate)


NULLS = ("public, unrelated", "public and small", "small, other initial values")


def gather(folder: Path, data: Path | None, small: int, packages: Mapping[str, str]) -> list[Network]:
    """Public networks, and small ones where there is data to train them on."""
    found = [Network(name, path, "public", name) for name, path in sorted(download(packages, folder).items())]
    if data is None:
        return found
    for number in range(small):
        path = trained(100 + number, data, folder / f"{100 + number}.onnx")
        found.append(Network(f"small-{number}", path, "small", f"small-{number}"))
        if number < HEADS:
            head = retrained_head(path, 500 + number, folder / f"{100 + number}-head.onnx")
            found.append(Network(f"small-{number}-head", head, "head", f"small-{number}"))
    return found


def records(networks: Sequence[Network], folder: Path) -> Iterator[tuple[Network, str, Record]]:
    """A fingerprint and a mark of each network that has room for them."""
    for number, network in enumerate(networks):
        key = Key(f"strangers {number}".encode().ljust(32, b"."))
        for method in ("fingerprint", "watermark"):
            path = folder / f"{network.name}.{method}"
            try:
                if method == "fingerprint":
                    fingerprint(network.path, path, key=key)
                else:
                    embed(network.path, folder / "marked.onnx", path, key=key)
            except CannotLook as error:
                progress(f"no {method} of {network.name}: {error}")
                continue
            yield network, method, load_record(path)


def pairs(networks: Sequence[Network], folder: Path) -> Iterator[Pair]:
    """Every record against every network."""
    for owner, method, record in records(networks, folder):
        progress(f"{method} of {owner.name}")
        for candidate in networks:
            yield Pair(owner, candidate, method, verify(candidate.path, [record])[0])


def table(found: Sequence[Pair]) -> list[list[str]]:
    """One row per method and label."""
    rows = []
    for method in ("fingerprint", "watermark"):
        labels = sorted(
            {pair.label for pair in found if pair.method == method}, key=lambda label: (label not in NULLS, label)
        )
        for label in labels:
            group = [pair for pair in found if (pair.method, pair.label) == (method, label)]
            p = np.array([pair.verdict.log10_p for pair in group])
            legible = [pair for pair in group if pair.legible]
            effect = f"{max(pair.verdict.effect for pair in legible):.3f}" if legible else "–"
            traced = sum(pair.verdict.decision in ("traced", "identical") for pair in group)
            shares = [f"{np.mean(p <= np.log10(level)):.2%}" if group[0].null else "–" for level in LEVELS]
            rows.append(
                [method, label, str(len(group)), str(len(legible)), *shares, f"{p.min():.1f}", effect, str(traced)]
            )
    return rows


def draw(found: Sequence[Pair], ax: "Axes") -> "Axes":  # type: ignore[name-defined]  # noqa: F821
    """Quantiles of the nulls against those of a uniform p: above the diagonal p-values are too small."""
    groups: dict[tuple[str, str], list[float]] = {}
    for pair in found:
        if pair.null:
            label = pair.label if pair.method == "fingerprint" else "every network, never marked with it"
            groups.setdefault((pair.method, label), []).append(-pair.verdict.log10_p)
    for (method, label), values in sorted(groups.items()):
        ordered = np.sort(values)[::-1]
        expected = -np.log10((np.arange(ordered.size) + 0.5) / ordered.size)
        ax.plot(expected, ordered, ".", markersize=4, label=f"{method}: {label} ({ordered.size:,})")
    limit = 4.0
    ax.plot([0, limit], [0, limit], color="0.6", linewidth=1, zorder=0)
    ax.axhline(6, color="0.3", linestyle="--", linewidth=1)
    ax.text(0.02, 6.08, "traced needs p ≤ 1e-6 (a fingerprint also an effect of .25)", fontsize=8, va="bottom")
    ax.set(xlim=(0, limit), ylim=(0, 7), xlabel="−log10 of the uniform quantile", ylabel="−log10 p as printed")
    ax.legend(loc="upper left", bbox_to_anchor=(0, 0.84), fontsize=8, frameon=False)
    return ax


def bounds(found: Sequence[Pair]) -> Iterator[str]:
    """The bound 3/M per method, and who was traced although nothing is known to connect them."""
    for method in ("fingerprint", "watermark"):
        null = [pair for pair in found if pair.method == method and pair.null]
        traced = [pair for pair in null if pair.verdict.decision in ("traced", "identical")]
        sentence = f"{method}: {len(traced)} false `traced` among {len(null):,} pairs that nothing connects"
        if not traced and null:
            several = sum(pair.legible for pair in null)
            sentence += f", so with 95 % confidence its rate is below 3/M = {3 / len(null):.2g}"
            sentence += (
                f"; of these, {several:,} are pairs in which {required_reads(1e-6)} positions and more could be read"
            )
            sentence += f" (3/{several:,} = {3 / several:.2g})" if several else ""
        yield sentence + "."
        if traced:
            yield "Falsely traced: " + ", ".join(f"{pair.candidate.name} by {pair.owner.name}" for pair in traced) + "."


def main(arguments: list[str]) -> int:
    """Print table and bounds, write the figure; 1 where something unrelated was traced."""
    parser = argparse.ArgumentParser(prog="python -m tests.support.strangers", description=__doc__)
    parser.add_argument("--data", type=Path, help="directory with CIFAR-10, to train the small networks")
    parser.add_argument("--folder", type=Path, help="where networks are kept from one run to the next")
    parser.add_argument("--output", type=Path, help="a Markdown page that the report is put into, between its markers")
    parser.add_argument("--figure", type=Path, help="where the quantile plot is written")
    options = parser.parse_args(arguments)
    report = Report("strangers", [], command="python -m tests.support.strangers --data DIR")
    with tempfile.TemporaryDirectory() as temporary:
        place = options.folder or Path(temporary)
        networks = gather(place, options.data, SMALL, {**PACKAGES, **MORE})
        found = list(pairs(networks, Path(temporary)))
    counts = {kind: sum(network.kind == kind for network in networks) for kind in ("public", "small", "head")}
    report.say(
        f"{counts['public']} public networks, {counts['small']} small ones (ResNet8 of size small, one epoch of CIFAR-10's "
        f"stand-in, other initial values) and {counts['head']} of these with a head drawn anew; N = 512.",
        *bounds(found),
    )
    heads = [
        "record",
        "pair",
        "pairs",
        "legible",
        *(f"p ≤ {level:g}" for level in LEVELS),
        "smallest log10 p",
        "largest effect",
        "traced",
    ]
    report.table("Records against other networks", heads, table(found))
    odd = [pair for pair in found if pair.label == "public, same family" and pair.method == "fingerprint"]
    report.table(
        "Public networks of one family",
        ["record of", "candidate", "log10 p", "effect", "verdict"],
        [
            [p.owner.name, p.candidate.name, f"{p.verdict.log10_p:.1f}", f"{p.verdict.effect:.3f}", p.verdict.decision]
            for p in odd
        ],
    )
    report.publish(options.output)
    if options.figure:
        import matplotlib

        matplotlib.use("Agg")
        import matplotlib.pyplot as plt

        figure, ax = plt.subplots(figsize=(6.4, 4.8), layout="constrained")
        draw(found, ax)
        figure.savefig(options.figure, dpi=120)
    return int(any(pair.null and pair.verdict.decision in ("traced", "identical") for pair in found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
