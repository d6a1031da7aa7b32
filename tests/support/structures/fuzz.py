"""Networks of another structure, held against the command line and, where they are called the same, against onnxruntime.

Run as ``python -m tests.support.structures.fuzz SEED CASES FOLDER``; it prints as JSON what went wrong, one text per failure, how
many files and pairs were looked at, and ``hints``: files that are called identical and that onnxruntime refuses for what is only
said about the network (``value_info``, names of nodes, version of the format), and without that are the same to the last bit.
``FOLDER/case-N.onnx`` is the file of case N, ``FOLDER/at`` the case that is looked at.
"""

import contextlib
import io
import json
import os
import pickle
import random
import resource
import signal
import sys
import traceback
import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import onnxruntime
from onnx import ModelProto

from onnxnnw.cli.entry import main as command_line
from onnxnnw.enrolment.enrol import embed, fingerprint
from onnxnnw.errors import TraceabilityError
from onnxnnw.graph.digest import network_digest
from onnxnnw.network_file.file import open_network
from onnxnnw.records.key import Key
from tests.support.networks import save
from tests.support.structures import mutated, rewritten
from tests.support.structures.places import owners
from tests.support.structures.seeds import SEEDS, Seed

SECONDS_PER_CASE = 20
MEMORY = 8 * 2**30
"""Address space, of which threads reserve most."""

POSITIONS = 164
CODES = {"identical": 0, "traced": 0, "not traced": 1, "inconclusive": 3}
TYPES = {
    "tensor(float)": "f4",
    "tensor(bool)": "?",
    "tensor(int64)": "i8",
    "tensor(int8)": "i1",
    "tensor(double)": "f8",
}

Feeds = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Behaviour:
    """What a caller sees of a network.

    Attributes:
        refused: Why onnxruntime does not load it.
        inputs, replaceable, outputs: Their names.
        answers: For each set of inputs, name of an output -> type, shape and bytes; None where running ended in an error.
    """

    refused: str = ""
    inputs: frozenset[str] = frozenset()
    replaceable: frozenset[str] = frozenset()
    outputs: frozenset[str] = frozenset()
    answers: tuple[Mapping[str, object] | None, ...] = ()

    @property
    def runs(self) -> bool:
        """Whether it answered at all."""
        return any(answer is not None for answer in self.answers)

    def difference(self, other: "Behaviour") -> str:
        """How a caller could tell the two apart; empty where it cannot be done."""
        if self.refused or other.refused:
            return "" if self.refused and other.refused else f"onnxruntime refuses one: {self.refused or other.refused}"
        for what in ("inputs", "replaceable", "outputs"):
            if getattr(self, what) != getattr(other, what):
                return f"other {what}: {sorted(getattr(self, what) ^ getattr(other, what))}"
        for number, (mine, theirs) in enumerate(zip(self.answers, other.answers, strict=True)):
            if (mine is None) != (theirs is None):
                return f"one of them ends in an error on inputs {number}"
            for name in mine or ():
                if theirs is not None and mine is not None and mine[name] != theirs[name]:
                    return f"other values of {name} on inputs {number}"
        return ""


@dataclass(frozen=True)
class Subject:
    """A marked network with its two records."""

    seed: Seed
    path: Path
    records: tuple[Path, Path]

    @cached_property
    def model(self) -> ModelProto:
        """The marked network."""
        return ModelProto.FromString(self.path.read_bytes())

    @cached_property
    def digest(self) -> str | None:
        """Its digest."""
        return digest_of(self.path)

    @cached_property
    def behaviour(self) -> Behaviour:
        """What it answers."""
        return self.watch(self.path)

    def watch(self, path: Path) -> Behaviour:
        """What a network answers, asked in a process of its own: onnxruntime may die of a division by zero."""
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(SECONDS_PER_CASE)
            with os.fdopen(writing, "wb") as pipe:
                pickle.dump(self._watch_here(path), pipe)
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            content = pipe.read()
        _, status = os.waitpid(child, 0)
        if os.waitstatus_to_exitcode(status):
            return Behaviour(refused=f"onnxruntime ends with {os.waitstatus_to_exitcode(status)}")
        behaviour: Behaviour = pickle.loads(content)
        return behaviour

    def _watch_here(self, path: Path) -> Behaviour:
        """Run a network on ordinary numbers, zeros, and numbers with NaN and infinity among them, all given by name."""
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        try:
            session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            return Behaviour(refused=" ".join(str(error).split())[:200])
        wanted = {port.name: port for port in session.get_inputs()}
        replaceable = {port.name: port for port in session.get_overridable_initializers()}
        names = [port.name for port in session.get_outputs()]
        answers: list[Mapping[str, object] | None] = []
        for number, ports in enumerate((wanted, wanted, wanted, wanted, wanted | replaceable)):
            try:
                feeds = {name: self._values(port, number) for name, port in ports.items()}
                found = session.run(names, feeds)
            except Exception:
                answers.append(None)
                continue
            answers.append({name: _seen(value) for name, value in zip(names, found, strict=True)})
        return Behaviour("", frozenset(wanted), frozenset(replaceable), frozenset(names), tuple(answers))

    def _values(self, port: Any, number: int) -> np.ndarray:
        """The same values for the same name, whatever order the inputs stand in."""
        stored = {t.name: (tuple(t.dims), "") for t in self.model.graph.initializer}
        shape, _ = self.seed.feeds.get(port.name) or stored.get(port.name) or (tuple(map(_length, port.shape)), "")
        kind = TYPES.get(port.type, "f4")
        rng = np.random.default_rng([number, *port.name.encode()])
        if kind == "?":
            return np.full(shape, bool(number % 2))
        values = rng.normal(size=shape)
        if number == 1:
            values = values * 0
        if number in (2, 3) and values.size > 1:
            places = rng.permutation(values.size)[: max(1, values.size // 40)]
            values.flat[places] = rng.choice([np.nan, np.inf, -np.inf, 0.0, -0.0], places.size)
        if kind.startswith("i"):
            values = np.nan_to_num(values, posinf=3, neginf=-3)
        return values.astype(kind)


def _length(size: object) -> int:
    return size if isinstance(size, int) else 2


def _seen(value: object) -> object:
    return (str(value.dtype), value.shape, value.tobytes()) if isinstance(value, np.ndarray) else repr(value)


def digest_of(path: Path) -> str | None:
    """The canonical digest; None where we cannot look."""
    try:
        with open_network(path) as network:
            return network_digest(network)
    except TraceabilityError:
        return None


def run(arguments: list[str]) -> tuple[int, str, str]:
    """A command in this process: exit code, stdout, stderr."""
    out, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        try:
            command_line(arguments)
        except SystemExit as end:
            return int(end.code or 0), out.getvalue(), errors.getvalue()


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON")


class StructureFuzz:
    """Marked networks to start from, and what was seen of files with one digest."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.subjects: dict[str, Subject] = {}
        self.alike: dict[str, tuple[Path, Behaviour | None]] = {}
        self.hints: list[str] = []
        self.counts: Counter[str] = Counter()

    def subject(self, name: str) -> Subject:
        """The marked network of a seed."""
        if name not in self.subjects:
            place = self.folder / name
            place.mkdir()
            original = save(SEEDS[name].model, place / "original.onnx")
            marked, records = place / "marked.onnx", (place / "w.record", place / "f.record")
            embed(original, marked, records[0], positions=POSITIONS, key=Key(b"w" * 32))
            fingerprint(marked, records[1], positions=POSITIONS, key=Key(b"f" * 32))
            self.subjects[name] = Subject(SEEDS[name], marked, records)
        return self.subjects[name]

    def case(self, number: int) -> list[str]:
        """What is wrong with one mutated file and, in every third case, with another writing of it."""
        rng = random.Random(number)
        name = sorted(SEEDS)[number % len(SEEDS)]
        subject = self.subject(name)
        model, changes = mutated(subject.model, rng) if number % 6 else (subject.model, [])
        if number % 6 == 0:
            model, changes = rewritten(model, rng)
        path = save(model, self.folder / f"case-{number}.onnx")
        about = f"case {number} ({name}; {', '.join(changes)})"
        wrong = self._verified(path, subject)
        if not wrong:
            wrong = self._same_digest(path, subject)
        if not wrong and number % 6 == 0 and digest_of(path) != subject.digest:
            wrong = ["another digest for another writing of the network"]
        if not wrong and number % 2 == 0:
            wrong = self._twin(path, subject, model, rng)
        if not wrong and path not in {kept for kept, _ in self.alike.values()}:
            path.unlink()
        return [f"{about}: {one}" for one in wrong]

    def _twin(self, path: Path, subject: Subject, model: ModelProto, rng: random.Random) -> list[str]:
        """Another writing of a mutated file: the same digest, and the same answers."""
        other, writings = rewritten(model, rng)
        twin, digest = save(other, path.with_suffix(".twin.onnx")), digest_of(path)
        if digest is None:
            wrong = []
        elif digest_of(twin) != digest:
            wrong = [f"another digest after {', '.join(writings)}"]
        else:
            wrong = [f"after {', '.join(writings)}: {one}" for one in self._same_digest(twin, subject)]
        if not wrong:
            twin.unlink()
        return wrong

    def _verified(self, path: Path, subject: Subject) -> list[str]:
        """The command's answer, its form, and whether "identical" is what onnxruntime says."""
        arguments = ["verify", str(path), "--json", "--full"]
        for record in subject.records:
            arguments += ["--record", str(record)]
        code, out, errors = run(arguments)
        self.counts["files"] += 1
        if "internal error" in errors or "Traceback" in errors:
            return [errors.strip().replace(str(path), path.name)[-400:]]
        if code not in (0, 1, 3):
            return [f"exit code {code}: {errors[-300:]}"]
        if not out:
            lone = code == 3 and errors.count("\n") == 1 and errors.rstrip("\n").isprintable()
            self.counts["refused"] += 1
            return [] if lone else [f"exit code {code} and no reason in one line: {errors!r}"]
        try:
            document = json.loads(out, parse_constant=_no_number)
        except ValueError as error:
            return [f"no JSON ({error}): {out[:200]!r}"]
        decisions = [one["decision"] for one in document["records"]]
        self.counts[decisions[0]] += 1
        wrong = []
        if CODES[decisions[0]] != code:
            wrong.append(f"exit code {code} with {decisions}")
        if "identical" in decisions:
            seen = self._watched(path, subject)
            told = subject.behaviour.difference(seen)
            if seen.refused and not subject.behaviour.difference(subject.watch(self._without_hints(path, subject))):
                self.hints.append(f"{path.name}: {seen.refused}")
            elif told:
                wrong.append(f"identical, but: {told}")
        return wrong

    def _watched(self, path: Path, subject: Subject) -> Behaviour:
        if getattr(self, "_last", (None,))[0] != path:
            self._last = (path, subject.watch(path))
        return self._last[1]

    def _without_hints(self, path: Path, subject: Subject) -> Path:
        """The file without what is only said about the network: types of inner values, names of nodes, version of the format."""
        model = ModelProto.FromString(path.read_bytes())
        model.ir_version = subject.model.ir_version
        for owner in owners(model):
            del owner.value_info[:]
            for node in owner.node:
                node.name = ""
        return save(model, self.folder / "without-hints.onnx")

    def _same_digest(self, path: Path, subject: Subject) -> list[str]:
        """Whether a file does what the first one of its digest did; one that onnxruntime refuses does nothing."""
        digest = digest_of(path)
        if digest is None:
            return []
        if digest == subject.digest:
            first, before = subject.path, subject.behaviour
        elif digest not in self.alike:
            self.alike[digest] = (path, None)
            return []
        else:
            first, known = self.alike[digest]
            before = known or subject.watch(first)
            self.alike[digest] = (first, before)
        behaviour = self._watched(path, subject)
        if before.refused or behaviour.refused:
            return []
        self.counts["pairs"] += before.runs and behaviour.runs
        told = before.difference(behaviour)
        return [f"the same digest as {first.parent.name}/{first.name}, but: {told}"] if told else []


def main() -> None:
    start, cases, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    warnings.simplefilter("error")

    def expired(*_: object) -> None:
        raise TimeoutError(f"more than {SECONDS_PER_CASE} seconds")

    signal.signal(signal.SIGALRM, expired)
    fuzz = StructureFuzz(folder)
    failures: list[str] = []
    for number in range(start, start + cases):
        (folder / "at").write_text(str(number))
        signal.alarm(SECONDS_PER_CASE)
        try:
            failures += fuzz.case(number)
        except Exception:
            failures.append(f"case {number}: {traceback.format_exc()[-1500:]}")
        finally:
            signal.alarm(0)
    sys.stdout.write(json.dumps({"failures": failures, "hints": fuzz.hints, "counts": fuzz.counts}))


if __name__ == "__main__":
    main()
