"""Small networks that were trained here, and every record of theirs against every one: which are taken for another?

    python -m benchmarks unicity --data DIRECTORY [--folder FOLDER] [--output FILE]

Four architectures – a linear model, dense layers, convolutions, convolutions with normalisation –, sixteen networks each: eight
from initial weights of their own, four more from the same initial weights as the first four but on other images, and four that
are the marked copies of the other four, trained on with other images. Each network gets a fingerprint and an added mark; its
marked copy is what others hold. Every record is asked about every copy, each question by itself.
"""

import argparse
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from benchmarks.alignment_strangers import images_of
from benchmarks.layered import Layer, file_of, loaded, module_of
from benchmarks.tables import Report, progress
from onnxnnw.enrolment.enrol import embed, fingerprint
from onnxnnw.records.key import Key
from onnxnnw.records.record_file import load_record
from onnxnnw.verification.verdict import Verdict
from onnxnnw.verification.verify import search, verify

__all__ = ["ARCHITECTURES", "Member", "Question", "main", "members", "relation"]

SIDE, CLASSES, PER_CLASS, BATCH, EPOCHS = 16, 10, 400, 50, 3
OWN, TWINS, CHILDREN = 8, 4, 4
SHAPE = (3, SIDE, SIDE)

ARCHITECTURES: dict[str, tuple[Layer, ...]] = {
    "linear": (("flatten", 0, 0), ("dense", 3 * SIDE * SIDE, CLASSES)),
    "dense": (
        ("flatten", 0, 0), ("dense", 3 * SIDE * SIDE, 64), ("relu", 0, 0), ("dense", 64, 32), ("relu", 0, 0),
        ("dense", 32, CLASSES),
    ),
    "convolutions": (
        ("conv", 3, 32), ("relu", 0, 0), ("halve", 0, 0), ("conv", 32, 32), ("relu", 0, 0), ("halve", 0, 0),
        ("conv", 32, 48), ("relu", 0, 0), ("pool", 0, 0), ("dense", 48, CLASSES),
    ),
    "normalised": (
        ("conv", 3, 32), ("norm", 32, 0), ("relu", 0, 0), ("halve", 0, 0), ("conv", 32, 32), ("norm", 32, 0),
        ("relu", 0, 0), ("halve", 0, 0), ("conv", 32, 48), ("norm", 48, 0), ("relu", 0, 0), ("pool", 0, 0),
        ("dense", 48, CLASSES),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Member:
    """One network.

    Attributes:
        architecture: Its name.
        number: Among those of its architecture.
        start: Number of its initial weights.
        parent: The network whose marked copy was trained on to become it; None where there is none.
    """

    architecture: str
    number: int
    start: int
    parent: int | None = None

    @property
    def name(self) -> str:
        """Of its files."""
        return f"{self.architecture}-{self.number}"


@dataclass(frozen=True)
class Question:
    """A record of one network asked about the marked copy of another."""

    owner: Member
    candidate: Member
    verdict: Verdict


def members(architecture: str) -> tuple[Member, ...]:
    """The networks of an architecture, parents before children."""
    first = 100 * list(ARCHITECTURES).index(architecture)  # equal seeds give layers of one shape equal initial weights
    own = [Member(architecture, k, first + k) for k in range(OWN)]
    twins = [Member(architecture, OWN + k, first + k) for k in range(TWINS)]
    children = [Member(architecture, OWN + TWINS + k, first + TWINS + k, TWINS + k) for k in range(CHILDREN)]
    return (*own, *twins, *children)


def relation(owner: Member, candidate: Member) -> str:
    """What two networks have to do with each other."""
    if owner == candidate:
        return "itself"
    if owner.architecture != candidate.architecture:
        return "another architecture"
    if candidate.parent == owner.number:
        return "trained on from it"
    if owner.parent == candidate.number:
        return "what it was trained on from"
    if owner.start == candidate.start:
        return "the same initial weights, other images"
    return "other initial weights"


def make(member: Member, folder: Path, images: NDArray[np.float32], labels: NDArray[np.int64]) -> None:
    """Train a network, enrol it, and write the copy that others hold; ``folder`` keeps what an earlier run made."""
    import torch

    plain, marked = folder / f"{member.name}.onnx", folder / f"{member.name}.marked.onnx"
    if (folder / f"{member.name}.print").exists():
        return
    torch.set_num_threads(1)
    torch.manual_seed(member.start)
    layers = ARCHITECTURES[member.architecture]
    if member.parent is None:
        module = module_of(layers)
    else:
        module = loaded(layers, onnx.load(folder / f"{member.architecture}-{member.parent}.marked.onnx"))
    torch.manual_seed(1000 + member.number)  # the order of its images
    half = np.arange(len(images)) % 2 == (
        member.number >= OWN
    )  # twins and children have seen none of the others' images
    right = _train(module, images[half], labels[half], EPOCHS if member.parent is None else 1)
    onnx.save(file_of(layers, module, SHAPE), plain)
    embed(plain, marked, folder / f"{member.name}.mark", key=_key(member, "mark"))
    fingerprint(plain, folder / f"{member.name}.print", key=_key(member, "print"))
    progress(f"{member.name}: {right:.0%} of its images")


def _key(member: Member, kind: str) -> Key:
    return Key(f"{kind} {member.name}".encode().ljust(32, b"."))


def _train(module: Any, images: NDArray[np.float32], labels: NDArray[np.int64], epochs: int) -> float:
    """Train in place; the share of the images that it knows then."""
    import torch
    from torch.nn import functional

    inputs = functional.avg_pool2d(torch.from_numpy(images), 2)
    inputs = (inputs - inputs.mean((0, 2, 3), keepdim=True)) / inputs.std((0, 2, 3), keepdim=True)
    targets = torch.from_numpy(labels)
    adam = torch.optim.Adam(module.parameters(), 2e-3)
    module.train()
    for _ in range(epochs):
        for batch in torch.randperm(len(inputs)).split(BATCH):
            adam.zero_grad()
            functional.cross_entropy(module(inputs[batch]), targets[batch]).backward()
            adam.step()
    module.eval()
    with torch.no_grad():
        return float((module(inputs).argmax(1) == targets).float().mean())


def questions(everyone: Sequence[Member], folder: Path) -> Iterator[Question]:
    """Every record of each kind, asked about every marked copy."""
    records = {
        (owner, kind): load_record(folder / f"{owner.name}.{kind}") for owner in everyone for kind in ("print", "mark")
    }
    for candidate in everyone:
        for (owner, _), record in records.items():
            (verdict,) = verify(folder / f"{candidate.name}.marked.onnx", [record])
            yield Question(owner, candidate, verdict)
        progress(f"{candidate.name} was asked about")


def rows(asked: Sequence[Question]) -> Iterator[tuple[str, ...]]:
    """The table: by kind of record, what the networks have to do with each other, and whether they are linear."""
    groups: dict[tuple[str, str, str], list[Question]] = {}
    for one in asked:
        linear = "linear" if one.owner.architecture == "linear" else "others"
        linear = "all" if one.owner.architecture != one.candidate.architecture else linear
        groups.setdefault((one.verdict.kind, relation(one.owner, one.candidate), linear), []).append(one)
    for (kind, what, which), group in sorted(groups.items()):
        traced = [one for one in group if one.verdict.decision in ("traced", "identical")]
        undecided = sum(one.verdict.decision == "inconclusive" for one in group)
        owners = {one.owner for one in group}
        effects = [one.verdict.effect for one in group]
        yield (
            kind,
            what,
            which,
            f"{len(group):,}",
            f"{len(traced):,}",
            str(undecided),
            f"{len({one.owner for one in traced})} of {len(owners)}",
            f"{min(one.verdict.log10_p for one in group):.1f}",
            f"{np.median(effects):.2f} ({min(effects):.2f}–{max(effects):.2f})",
        )


def main(arguments: Sequence[str]) -> int:
    """Train, ask, and print the table; 1 where a stranger's network was traced."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks unicity", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="a directory of CIFAR-10 with train/CLASS/*.jpg")
    parser.add_argument("--folder", type=Path, help="where networks are kept for another run")
    parser.add_argument("--output", type=Path, help="a Markdown page that the report is put into, between its markers")
    options = parser.parse_args(arguments)
    report = Report("unicity", arguments)
    images, labels = images_of(options.data, PER_CLASS)
    everyone = [member for architecture in ARCHITECTURES for member in members(architecture)]
    with TemporaryDirectory() as name:
        folder = Path(name) if options.folder is None else options.folder
        folder.mkdir(parents=True, exist_ok=True)
        for member in everyone:
            make(member, folder, images, labels)
        asked = list(questions(everyone, folder))
        headers = ["record", "its network and the candidate's", "which", "questions", "traced", "inconclusive"]
        headers += ["networks of which one was traced", "least log10 p", "effect: median (all)"]
        report.table(f"{len(everyone)} networks, {len(asked):,} questions", headers, rows(asked))
        _say_limits(report, asked)
        _say_search(report, everyone, folder)
    report.publish(options.output)
    return int(any(one.verdict.decision in ("traced", "identical") for one in _of_strangers(asked)))


def _of_strangers(asked: Sequence[Question]) -> list[Question]:
    """Questions whose right answer is no.

    A mark is in its own copy and what was trained on from that. Fingerprints of networks that share initial weights, or come
    from each other, have something in common; linear models are trained towards one solution from wherever they start.
    """
    out = []
    for one in asked:
        what = relation(one.owner, one.candidate)
        both_linear = one.owner.architecture == one.candidate.architecture == "linear"
        if one.verdict.kind == "watermark":
            stranger = what not in ("itself", "trained on from it")
        else:
            stranger = what == "another architecture" or (what == "other initial weights" and not both_linear)
        if stranger:
            out.append(one)
    return out


def _say_limits(report: Report, asked: Sequence[Question]) -> None:
    strangers = _of_strangers(asked)
    false = {one.owner for one in strangers if one.verdict.decision in ("traced", "identical")}
    owners = {one.owner for one in strangers}
    limit = f"; were it as often as once in {1 / (1 - 0.05 ** (1 / len(owners))):.0f}, that would be seen with 95 %"
    report.say(
        f"False matches among strangers: {len(false)} of {len(owners)} networks had one, in {len(strangers):,} questions"
        + (limit if not false else "")
        + ". Questions about one network share its record, so that networks are counted, not questions."
    )


def _say_search(report: Report, everyone: Sequence[Member], folder: Path) -> None:
    """Each copy against a folder of all records: is its own first?"""
    with TemporaryDirectory() as name:
        place = Path(name)
        for owner in everyone:
            for kind in ("print", "mark"):
                (place / f"{owner.name}.{kind}.record").write_bytes((folder / f"{owner.name}.{kind}").read_bytes())
        first, times = 0, []
        for candidate in everyone:
            start = time.perf_counter()
            best = search(folder / f"{candidate.name}.marked.onnx", place).best
            times.append(time.perf_counter() - start)
            first += best.record in (f"{candidate.name}.print.record", f"{candidate.name}.mark.record")
    report.say(
        f"Search among all {2 * len(everyone)} records: a record of its own was first for {first} of {len(everyone)} copies; "
        f"{np.median(times):.2f} s each (median, {math.ceil(1000 * np.median(times) / 2 / len(everyone))} ms a record)."
    )
