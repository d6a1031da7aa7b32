"""Marked and fingerprinted networks through real deployment tools: what is left of the evidence, row by row.

    python -m benchmarks pipeline [--insertion added|replaced] [--output FILE] [--only PATTERN] [--networks NAMES]

Every network is exported unmodified, marked, and the marked file is fingerprinted, so that both records speak of what was
shipped. Each row holds the result of one tool or chain against both records and against three wrong ones.
"""

import argparse
import fnmatch
import importlib.metadata
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from benchmarks.pipeline_chains import ToolFailed, Transform, run_chain, transforms
from benchmarks.pipeline_networks import NETWORKS, Subject, drawn, export
from benchmarks.pipeline_tools import KINDS
from benchmarks.tables import Report, progress
from onnxnnw.enrolment.enrol import embed, fingerprint
from onnxnnw.errors import TraceabilityError
from onnxnnw.records.key import Key
from onnxnnw.records.positions import plan_of
from onnxnnw.records.record import Record
from onnxnnw.records.record_file import load_record
from onnxnnw.verification.verdict import Verdict
from onnxnnw.verification.verify import verify

__all__ = ["Enrolled", "Row", "enrolled", "row"]

POSITIONS = 512
ADDED = {"8 bits": 0.9, "4 bits": 0.6}
"""Of an added mark, .4 of a deviation high, rounding to a grid takes more: the share of its effect that must be left."""

PACKAGES = (
    "torch onnx onnxruntime-gpu onnxruntime onnxscript onnxsim onnxslim onnxoptimizer onnxconverter-common onnx2torch"
).split()


@dataclass(frozen=True)
class Enrolled:
    """A network as it was shipped, with what its tracker keeps.

    Attributes:
        subject: The architecture.
        marked: The marked file.
        mark: Record of the watermark.
        fingerprint: Record of the marked file's fingerprint.
        wrong: A record of the same network under another key that was never written into it.
        baseline: Effects of mark and fingerprint in the marked file itself.
        insertion: How the mark was written.
    """

    subject: Subject
    marked: Path
    mark: Record
    fingerprint: Record
    wrong: Record
    baseline: tuple[float, float]
    insertion: str = "replaced"


@dataclass(frozen=True)
class Row:
    """What became of one network on one way.

    Attributes:
        network, transform, kind: Which.
        mark, fingerprint: Verdicts; None where a tool failed.
        false_alarms: Wrong records that were called traced.
        coverage: The share of the mark that can be there.
        baseline: Effects in the unmodified file.
        failed: The reason why there is no file, or why it could not be looked at.
        insertion: How the mark was written.
    """

    network: str
    transform: str
    kind: str
    mark: Verdict | None
    fingerprint: Verdict | None
    false_alarms: int
    coverage: float
    baseline: tuple[float, float]
    failed: str = ""
    insertion: str = "replaced"

    @property
    def shortcoming(self) -> str:
        """What the row misses of its target; empty where it holds or a tool failed."""
        if self.mark is None or self.fingerprint is None:
            return ""
        problems = ["a wrong record is traced"] * bool(self.false_alarms)
        own, mark = KINDS[self.kind], KINDS[self.kind]
        if self.insertion == "added":
            mark = ADDED.get(self.kind, mark)
        for name, verdict, before, least in zip(
            ("mark", "fingerprint"), (self.mark, self.fingerprint), self.baseline, (mark, own), strict=True
        ):
            if verdict.decision not in ("traced", "identical"):
                problems.append(f"{name} {verdict.decision}")
            elif verdict.effect < least * before:
                problems.append(f"{name}'s effect {verdict.effect / before:.3f} of {least}")
        if abs(self.mark.coverage - self.coverage) > 1e-9:
            problems.append(f"coverage {self.mark.coverage:.2f} of {self.coverage:.2f}")
        if self.kind.endswith("bits") and any(finding.name == "unchanged" for finding in self.mark.findings):
            problems.append("the tool changed nothing")
        return "; ".join(problems)

    @property
    def outcome(self) -> str:
        """``holds``, what is missing, or why there is nothing to look at."""
        if self.mark is None:
            return self.failed
        return f"**{self.shortcoming}**" if self.shortcoming else "holds"


def enrolled(subject: Subject, folder: Path, seed: int = 0, insertion: str = "replaced") -> Enrolled:
    """Draw, export, mark and fingerprint one network."""
    original, marked = folder / "original.onnx", folder / "marked.onnx"
    export(subject, drawn(subject, seed), original, dynamo=True, optimize=False)
    secrets = [Key(f"pipeline {subject.name} {part}".encode().ljust(32, b".")[:32]) for part in ("m", "f", "w")]
    embed(original, marked, folder / "mark.record", POSITIONS, key=secrets[0], insertion=insertion)
    fingerprint(marked, folder / "fingerprint.record", POSITIONS, key=secrets[1])
    embed(marked, folder / "elsewhere.onnx", folder / "wrong.record", POSITIONS, key=secrets[2], insertion=insertion)
    mark, own, wrong = (load_record(folder / f"{name}.record") for name in ("mark", "fingerprint", "wrong"))
    effects = [verify(marked, [record])[0].effect for record in (mark, own)]
    return Enrolled(subject, marked, mark, own, wrong, (effects[0], effects[1]), insertion)


def row(network: Enrolled, transform: Transform, others: Sequence[Record], folder: Path) -> Row:
    """Send a marked file on its way and hold the result against right and wrong records.

    Args:
        others: Records of other networks.
        folder: Where the tools' files lie.
    """
    place = (network.subject.name, transform.name, transform.kind)
    places = (network.marked, folder)
    try:
        result = run_chain(transform, network.subject, *places)
        mark, own = (verify(result, [record])[0] for record in (network.mark, network.fingerprint))
        wrong = [verify(result, [record])[0] for record in (network.wrong, *others)]
        coverage = 1.0
        if transform.kind == "part":
            coverage = _remaining(network, run_chain(Transform(transform.steps[:1]), network.subject, *places))
    except ToolFailed as error:
        return Row(*place, None, None, 0, 0.0, network.baseline, f"tool failed: {error}")
    except TraceabilityError as error:
        return Row(*place, None, None, 0, 0.0, network.baseline, f"**not read: {error}**".replace(str(folder), "…"))
    alarms = sum(verdict.decision in ("traced", "identical") for verdict in wrong)
    return Row(*place, mark, own, alarms, coverage, network.baseline, insertion=network.insertion)


def _remaining(network: Enrolled, part: Path) -> float:
    """The share of the mark that lies in weights that a sub-model, just extracted, still has under their names."""
    left = {tensor.name for tensor in onnx.load(part).graph.initializer}
    plan = plan_of(network.mark)
    inside = [network.mark.slots[number].name in left for number in plan.slots.tolist()]
    return sum(inside) / len(inside)


def rows(names: Sequence[str], pattern: str, insertion: str, folder: Path) -> Iterator[Row]:
    """All rows of the chosen networks."""
    networks = []
    for name in names:
        place = folder / name
        place.mkdir()
        networks.append(enrolled(NETWORKS[name], place, insertion=insertion))
    for number, network in enumerate(networks):
        other = networks[(number + 1) % len(networks)] if len(networks) > 1 else None
        others = [other.mark, other.fingerprint] if other else []
        for transform in transforms():
            if fnmatch.fnmatch(transform.name, pattern) and transform.applies(network.subject.name):
                found = row(network, transform, others, folder / network.subject.name)
                progress(f"{found.network}: {found.transform}: {found.outcome}")
                yield found


def publish(report: Report, found: Sequence[Row]) -> None:
    """Counts, a table of tools by networks, and one table per network."""
    looked = [one for one in found if one.mark is not None]
    missed = [one for one in looked if one.shortcoming]
    unread = [one for one in found if one.mark is None and not one.failed.startswith("tool failed")]
    report.say(
        "Tools: " + ", ".join(_versions()) + ".",
        f"{len(found)} rows: {len(looked) - len(missed)} hold, {len(missed) + len(unread)} do not, "
        f"in {len(found) - len(looked) - len(unread)} a tool fails on the network. "
        f"Wrong records called traced: {sum(one.false_alarms for one in found)}.",
    )
    for name in dict.fromkeys(one.network for one in found):
        report.table(
            name,
            "tool or chain/kind/coverage/explained/effect (mark, fingerprint)/log10 p/verdict/findings/target".split(
                "/"
            ),
            [_cells(one) for one in found if one.network == name],
        )


def _cells(one: Row) -> list[str]:
    if one.mark is None or one.fingerprint is None:
        return [one.transform, one.kind, *["–"] * 6, one.outcome]
    mark, own = one.mark, one.fingerprint
    verdict = mark.decision if mark.decision == own.decision else f"{mark.decision}, {own.decision}"
    return [
        one.transform,
        one.kind,
        f"{mark.coverage:.0%}",
        f"{mark.explained:.0%}",
        f"{mark.effect:.4f}, {own.effect:.4f}",
        f"{mark.log10_p:.0f}, {own.log10_p:.0f}",
        verdict,
        ", ".join(dict.fromkeys(finding.name for finding in mark.findings)),
        one.outcome,
    ]


def _versions() -> Iterator[str]:
    for name in PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            yield f"{name} {importlib.metadata.version(name)}"


def main(arguments: list[str]) -> int:
    """Print the table; 0 when every row holds that a tool did not fail on."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks pipeline", description=__doc__)
    parser.add_argument("--only", default="*", help="pattern for the names of tools and chains, e.g. '*onnxsim*'")
    parser.add_argument("--networks", default=",".join(NETWORKS), help="separated by commas (default: all)")
    parser.add_argument(
        "--insertion", choices=("added", "replaced"), default="replaced", help="how the mark is written"
    )
    parser.add_argument("--output", type=Path, help="a Markdown page that the report is put into, between its markers")
    options = parser.parse_args(arguments)
    names = options.networks.split(",")
    unknown = [name for name in names if name not in NETWORKS]
    if unknown:
        parser.error(f"no network named {unknown[0]!r}; there are {', '.join(NETWORKS)}")
    added = options.insertion == "added"
    report = Report("pipeline", arguments, section="pipeline-added" if added else "pipeline")
    np.seterr(all="ignore")
    with tempfile.TemporaryDirectory(prefix="onnxnnw-pipeline-") as folder:
        found = list(rows(names, options.only, options.insertion, Path(folder)))
    publish(report, found)
    report.publish(options.output)
    bad = [one for one in found if one.shortcoming or (one.failed and not one.failed.startswith("tool failed"))]
    return 1 if bad else 0
