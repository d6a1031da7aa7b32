"""Findings against known modifications: how often each is right, how often it is said wrongly, how far its number is off.

    python -m benchmarks findings [--keys 4] [--data DIR] [--output FILE]

Networks that ship with the package and some that are drawn, marked or fingerprinted under several keys, and every strength of
the standard's grid. With ``--data``, a directory with CIFAR-10, fine-tuning is measured too.
"""

import argparse
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from benchmarks import findings_trained
from benchmarks.findings_cases import CASES, ESTIMATES, Case, fine_tuned
from benchmarks.tables import Report, progress
from onnxnnw.enrolment.enrol import embed, fingerprint
from onnxnnw.records.key import Key
from onnxnnw.records.record import Record
from onnxnnw.records.record_file import load_record
from onnxnnw.training.cards import model_file
from onnxnnw.verification.verify import verify

__all__ = ["Observation", "Subject", "observe", "subjects"]

SHIPPED = ("resnet8", "rdn-small", "pix2pix-small")
DRAWN = ("vgg", "mobilenet", "transformer")
UNFIT = ("a part", "bf16 behind Cast")
"""Cases that make nothing else of the trained networks, which are chains."""

FINE_TUNED = 2
"""Subjects that are trained on: minutes each."""


@dataclass(frozen=True)
class Subject:
    """A network with what its tracker keeps: a marked file with its mark's record, or any file with a fingerprint's."""

    network: str
    kind: str
    path: Path
    record: Record


@dataclass(frozen=True)
class Observation:
    """What was found after one modification of one subject.

    Attributes:
        case: What was done.
        subject: To what.
        traced: Whether the network was recognised at all; without that nothing is said of changes.
        found: Finding -> its evidence.
    """

    case: Case
    subject: Subject
    traced: bool
    found: Mapping[str, Mapping[str, Any]]


def subjects(folder: Path, keys: int, drawn: Sequence[str] = DRAWN) -> Iterator[Subject]:
    """Every network under every key, marked and fingerprinted."""
    files = {name: model_file(name) for name in SHIPPED}
    for name in drawn:
        from benchmarks.pipeline_networks import NETWORKS, export
        from benchmarks.pipeline_networks import drawn as module_of

        files[name] = folder / f"{name}.onnx"
        export(NETWORKS[name], module_of(NETWORKS[name], 1), files[name], dynamo=True, optimize=False)
        model = onnx.load(files[name])
        del model.graph.value_info[:]  # shapes of the traced batch, which quantisers then contradict
        onnx.save(model, files[name])
    for name, path in files.items():
        for number in range(keys):
            key = Key(f"findings {name} {number}".encode().ljust(32, b".")[:32])
            place = folder / f"{name}-{number}"
            place.mkdir()
            embed(path, place / "marked.onnx", place / "mark.record", strength=0.4, key=key)
            fingerprint(path, place / "fingerprint.record", key=key)
            yield Subject(name, "watermark", place / "marked.onnx", load_record(place / "mark.record"))
            yield Subject(name, "fingerprint", path, load_record(place / "fingerprint.record"))


def trained_subjects(folder: Path, keys: int) -> Iterator[tuple[Subject, Path]]:
    """Networks that are trained on the spot, marked and fingerprinted; with the file that was marked."""
    for number in range(keys):
        for name in findings_trained.NETWORKS:
            place = folder / f"{name}-{number}"
            place.mkdir()
            path = findings_trained.build(name, place / "network.onnx", number)
            key = Key(f"trained {name} {number}".encode().ljust(32, b".")[:32])
            embed(path, place / "marked.onnx", place / "mark.record", strength=0.4, key=key)
            fingerprint(path, place / "fingerprint.record", key=key)
            yield Subject(name, "watermark", place / "marked.onnx", load_record(place / "mark.record")), path
            yield Subject(name, "fingerprint", path, load_record(place / "fingerprint.record")), path


def observe_original(subject: Subject, original: Path) -> Observation:
    """The network before it was marked, held against the record of the mark: nothing is due but that the mark is not there."""
    verdict = verify(original, [subject.record])[0]
    case = Case("the original, never marked", lambda source, out, seed: None, {}, frozenset())
    return Observation(case, subject, True, {f.name: {**f.evidence, "class": f.category} for f in verdict.findings})


def observe(case: Case, subject: Subject, out: Path, seed: int) -> Observation:
    """Modify and verify."""
    case.change(subject.path, out, seed)
    verdict = verify(out, [subject.record])[0]
    found = {finding.name: {**finding.evidence, "class": finding.category} for finding in verdict.findings}
    return Observation(case, subject, verdict.decision in ("traced", "identical"), found)


WATCHED = frozenset("rescaled|shared positions".split("|"))
"""Findings of which no case of the first table is an instance."""


def by_class(seen: Sequence[Observation]) -> Iterator[list[str]]:
    """One row per class of findings: how many were said, and how many of them wrongly."""
    names = {name for one in seen for name in one.case.truth} | WATCHED
    for category in ("accuses", "describes"):
        said = [
            (one, name)
            for one in seen
            if one.traced
            for name, evidence in one.found.items()
            if name in names and evidence["class"] == category
        ]
        wrong = [(one, name) for one, name in said if name not in one.case.truth | one.case.tolerated]
        where = sorted({f"{name}: {one.case.name}" for one, name in wrong})
        part = f"{len(wrong)} of {len(said)} said ({len(wrong) / max(1, len(said)):.2%})"
        yield [category, part, "; ".join(where[:12])]


def by_finding(seen: Sequence[Observation]) -> Iterator[list[str]]:
    """One row per finding: hits, wrong hits, and how far its number is off."""
    names = sorted({name for one in seen for name in one.case.truth})
    for name in names:
        due = [one for one in seen if name in one.case.truth and one.traced]
        others = [one for one in seen if name not in one.case.truth | one.case.tolerated and one.traced]
        wrong = sorted({one.case.name for one in others if name in one.found})
        count = sum(name in one.found for one in others)
        hits = sum(name in one.found for one in due)
        yield [name, f"{hits} of {len(due)}", f"{count} of {len(others)}", ", ".join(wrong[:4]), _off(name, due)]


def _off(name: str, due: Sequence[Observation]) -> str:
    """How far the number of a finding is off, where it has one."""
    if name not in ESTIMATES:
        return "–"
    number = ESTIMATES[name]
    said = [one for one in due if number in one.found.get(name, ())]
    pairs = [(one.found[name][number], one.case.of(name, one.subject.record)) for one in said]
    pairs = [(float(value), float(true)) for value, true in pairs if true is not None]
    if not pairs:
        return "–"
    if name in ("lattice", "rounded"):
        off = np.array([value - true for value, true in pairs])
        return f"{number} {off.min():+.0f} … {off.max():+.0f}, median {np.median(off):+.0f}"
    off = np.array([abs(value - true) / true for value, true in pairs])
    return f"{number}: median {np.median(off):.1%}, 95 % within {np.quantile(off, 0.95):.1%}"


def by_case(seen: Sequence[Observation]) -> Iterator[list[str]]:
    """One row per modification: what was found, and the numbers that were said."""
    groups: dict[str, list[Observation]] = defaultdict(list)
    for one in seen:
        groups[one.case.name].append(one)
    for name, group in groups.items():
        traced = [one for one in group if one.traced]
        hits = [
            f"{finding} {sum(finding in one.found for one in traced)}/{len(traced)}" + _said(finding, traced)
            for finding in group[0].case.truth
        ]
        extra: dict[str, int] = defaultdict(int)
        for one in traced:
            for finding in one.found.keys() - one.case.truth - one.case.tolerated:
                extra[finding] += 1
        also = ", ".join(f"{finding} {count}" for finding, count in sorted(extra.items()))
        yield [name, f"{len(traced)}/{len(group)}", "; ".join(hits) or "–", also or "–"]


def _said(finding: str, traced: Sequence[Observation]) -> str:
    numbers = [
        float(one.found[finding][ESTIMATES[finding]])
        for one in traced
        if finding in one.found and finding in ESTIMATES and ESTIMATES[finding] in one.found[finding]
    ]
    if not numbers:
        return ""
    low, middle, high = np.quantile(numbers, (0.05, 0.5, 0.95))
    return f" ({ESTIMATES[finding]} {middle:.3g}, {low:.3g} … {high:.3g})"


def main(arguments: list[str]) -> int:
    """Print both tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks findings", description=__doc__)
    parser.add_argument("--keys", type=int, default=4, help="keys per network (default 4)")
    parser.add_argument(
        "--trained", type=int, default=4, help="networks of each kind that are trained on the spot (default 4)"
    )
    parser.add_argument("--data", type=Path, help="directory with CIFAR-10, to measure fine-tuning")
    parser.add_argument("--output", type=Path, help="a Markdown page that the report is put into, between its markers")
    options = parser.parse_args(arguments)
    report = Report("findings", [a if a != str(options.data) else "DIR" for a in arguments])
    seen = []
    with tempfile.TemporaryDirectory(prefix="onnxnnw-findings-") as folder:
        place = Path(folder)
        for number, subject in enumerate(subjects(place, options.keys)):
            tuned = options.data and subject.network == "resnet8" and number < FINE_TUNED
            cases = [*CASES, *(fine_tuned(options.data) if tuned else ())]
            for case in cases:
                if case.applies(subject.path):
                    seen.append(observe(case, subject, place / "candidate.onnx", number))
            progress(f"{subject.network} {subject.kind}: {len(cases)} modifications")
        for number, (subject, original) in enumerate(trained_subjects(place, options.trained)):
            for case in (*findings_trained.CASES, *(case for case in CASES if case.name not in UNFIT)):
                if case.applies(subject.path):
                    seen.append(observe(case, subject, place / "candidate.onnx", number))
            if subject.kind == "watermark":
                seen.append(observe_original(subject, original))
            progress(f"{subject.network} {subject.kind}, trained")
    traced = sum(one.traced for one in seen)
    report.say(
        f"{len(seen)} modified networks, {traced} of them traced; where a network is not traced, nothing is said of what changed."
    )
    report.table("Classes", ["class", "said wrongly", "where"], by_class(seen))
    report.table(
        "Findings", ["finding", "said when due", "said wrongly", "where", "its number is off by"], by_finding(seen)
    )
    report.table(
        "Modifications", ["modification", "traced", "due, with the numbers said (5 … 95 %)", "others"], by_case(seen)
    )
    report.publish(options.output)
    return 0
