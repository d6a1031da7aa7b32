"""Damaged networks and records, held against the library and the command line in a process with limits.

Run as ``python -m tests.support.byte_fuzz KIND SEED CASES FOLDER``; it prints what went wrong as JSON, one text per
failure. Kinds: ``networks``, ``records``, ``commands``.
"""

import contextlib
import io
import json
import os
import random
import resource
import shutil
import signal
import sys
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, helper, numpy_helper

from onnxnnw.enrolment.enrol import embed, fingerprint
from onnxnnw.errors import TraceabilityError
from onnxnnw.graph.slots import find_slots
from onnxnnw.network_file.file import Network, open_network
from onnxnnw.records.key import Key
from onnxnnw.records.record import Record
from onnxnnw.verification.named_records import named_record
from onnxnnw.verification.verify import verify
from tests.support.networks import convolutional, dense, model_of, save, subgraph, tensor, weight

SECONDS_PER_CASE = 20
MEMORY = 6 * 2**30
"""Address space, of which threads reserve most."""

_INTERESTING = (b"\x00", b"\xff", b"\x7f", b"\x80\x01", b"\xff" * 9 + b"\x01", b"\x00\x00\x80\x7f", b"\xed\xa0\x80")

_OTHER_VALUES = (
    *(0, 1, -1, 2**31, 2**62, 2**63, 10**30, 1.5, None, True, [], {}, [1, 2], [2**61, 2], {"dtype": "<f8", "data": ""}),
    *("", "x", "\ud800", "\x1b[31m", "nan", "1e400", "-1", "AAAA", "gather", "bfloat16", "string", "nct"),
)


def structured() -> ModelProto:
    """A bit of everything: branch, loop, function, quantised weight, typed fields, sparse constant."""
    branch = subgraph("b", [helper.make_node("MatMul", ["x", "wb"], ["t"])], ["t"], weight("wb", 16, 16))
    inside = [helper.make_node("Constant", [], ["wf"], value=weight("", 16, 16, seed=3)),
              helper.make_node("Gemm", ["a", "wf"], ["b"])]  # fmt: skip
    inside[1].attribute.add(name="transB", ref_attr_name="turn", type=2)
    function = helper.make_function("local", "layer", ["a"], ["b"], inside, [helper.make_opsetid("", 21)], ["turn"])
    nodes = [
        helper.make_node("If", ["cond"], ["h1"], then_branch=branch, else_branch=branch, name="if"),
        helper.make_node("layer", ["h1"], ["h2"], domain="local", turn=1),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["w"], axis=1),
        helper.make_node("MatMul", ["h2", "w"], ["h3"]),
        helper.make_node("Constant", [], ["c"], value_floats=[0.5, 2.0]),
        helper.make_node("Mul", ["h3", "c"], ["h4"]),
        helper.make_node("Where", ["cond", "h4", "h3"], ["h5"]),
        helper.make_node("ConvTranspose", ["h5", "t"], ["y"], group=2),
    ]
    rng = np.random.default_rng(0)
    tensors = [
        tensor("q", rng.integers(-99, 99, (16, 16)).astype("i1")), tensor("s", rng.uniform(0.1, 1, 16).astype("f4")),
        tensor("z", np.zeros(16, "i1")),
        helper.make_tensor("t", 1, [8, 4, 2, 2], rng.normal(size=128).tolist()),
        helper.make_tensor("h", 10, [4, 4], rng.normal(size=16).tolist()), tensor("cond", np.array(True)),
    ]  # fmt: skip
    return model_of(nodes, tensors, functions=[function], domains=["local"])


def seeds() -> list[bytes]:
    """Serialised networks to damage: ours, the shipped one, and onnx's own backend test models."""
    found = [m.SerializeToString() for m in (structured(), convolutional(), dense(1, 16), structured())]
    shipped = Path(__file__).parents[2] / "models" / "resnet8.onnx"
    if shipped.is_file():
        found.append(shipped.read_bytes())
    backend = sorted((Path(onnx.__file__).parent / "backend" / "test" / "data").glob("*/*/model.onnx"))
    return found + [path.read_bytes() for path in backend if path.stat().st_size < 200_000]


def damaged(content: bytes, rng: random.Random) -> bytes:
    """One to four accidents: a flipped bit, a cut, bytes inserted, removed, repeated or replaced."""
    out = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        if not out:
            break
        near_end = rng.random() < 0.7  # names and nodes stand at the ends; the middle is mostly weights
        reach = min(len(out), 3000)
        place = (
            rng.choice((rng.randrange(reach), len(out) - 1 - rng.randrange(reach)))
            if near_end
            else rng.randrange(len(out))
        )
        length = rng.choice((1, 2, 4, 16, 200))
        match rng.randrange(7):
            case 0 | 1:
                out[place] ^= 1 << rng.randrange(8)
            case 2:
                out[place] = rng.randrange(256)
            case 3:
                del out[rng.choice((place, len(out) - length)) :]
            case 4:
                out[place:place] = rng.choice((rng.randbytes(length), rng.choice(_INTERESTING)))
            case 5:
                del out[place : place + length]
            case _:
                out[place:place] = out[place : place + length]
    return bytes(out)


def disagreement(path: Path) -> str:
    """How our reading of a network differs from onnx.load's; empty where we agree or refuse."""
    try:
        network = open_network(path)
    except TraceabilityError:
        return ""
    with network:
        try:
            find_slots(network)
        except TraceabilityError:
            return ""
        try:
            theirs = onnx.load(path)
        except Exception as error:
            return f"onnx.load refuses ({error}), we do not"
        return _compare(network, theirs)


def _compare(network: Network, theirs: ModelProto) -> str:
    ours = network.model.graph
    if [(n.op_type, n.name, n.input, n.output) for n in ours.node] != [
        (n.op_type, n.name, n.input, n.output) for n in theirs.graph.node
    ]:
        return "other nodes"
    if len(ours.initializer) != len(theirs.graph.initializer):
        return "another number of initializers"
    for mine, proto in zip(ours.initializer, theirs.graph.initializer, strict=True):
        stored = network.tensor(mine)
        if (stored.name, stored.shape, stored.data_type) != (proto.name, tuple(proto.dims), proto.data_type):
            return f"another name, shape or type of {proto.name!r}"
        try:
            expected = numpy_helper.to_array(proto)
        except Exception as error:
            return f"onnx cannot read {proto.name!r} ({error}), we can"
        raw = b"".join(stored.raw_chunks())
        if stored.itemsize and expected.dtype.itemsize == stored.itemsize and raw != expected.tobytes():
            same = np.frombuffer(raw, expected.dtype).reshape(expected.shape)
            if not np.array_equal(same, expected, equal_nan=expected.dtype.kind == "f"):
                return f"other values of {proto.name!r}"
    return ""


@contextlib.contextmanager
def limits() -> Iterator[None]:
    """An alarm and warnings as errors; what is raised on purpose is an answer."""

    def expired(*_: object) -> None:
        raise TimeoutError(f"more than {SECONDS_PER_CASE} seconds")

    signal.signal(signal.SIGALRM, expired)
    signal.alarm(SECONDS_PER_CASE)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with contextlib.suppress(TraceabilityError):
                yield
    finally:
        signal.alarm(0)


class ByteFuzz:
    """Files to start from, and one method per kind of case; each returns what went wrong."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path, self.record_path = folder / "damaged.onnx", folder / "damaged.record"
        original = save(dense(width=48), folder / "original.onnx")
        self.marked = folder / "marked.onnx"
        embed(original, self.marked, folder / "w.record", positions=256, key=Key(b"w" * 32))
        fingerprint(original, folder / "f.record", positions=64, key=Key(b"f" * 32))
        self.record_paths = [folder / "w.record", folder / "f.record"]
        self.records = [named_record(path) for path in self.record_paths]
        self.seeds = [*seeds(), self.marked.read_bytes(), original.read_bytes()]

    def networks(self, rng: random.Random) -> str:
        """Open, compare with onnx.load, verify."""
        self.path.write_bytes(damaged(rng.choice(self.seeds), rng))
        with limits():
            wrong = disagreement(self.path)
            if wrong:
                return wrong
            verify(self.path, [rng.choice(self.records)], full=rng.random() < 0.5)
        return ""

    def records_(self, rng: random.Random) -> str:
        """Read a damaged record, and verify with it where it can be read."""
        content = rng.choice(self.record_paths).read_bytes()
        changed = self._rewritten(content, rng) if rng.random() < 0.5 else damaged(content, rng)
        with limits():
            record = Record.from_bytes(changed)
            (verdict,) = verify(self.marked, [record])
            json.dumps(verdict.to_json(), allow_nan=False)
            assert verdict.role.isprintable()
        return ""

    @staticmethod
    def _rewritten(content: bytes, rng: random.Random) -> bytes:
        """Well-formed JSON with one value exchanged for another."""
        document = json.loads(content)
        parent, key, node = None, None, document
        while isinstance(node, dict | list) and node and not (parent is not None and rng.random() < 0.1):
            key = rng.choice(list(node) if isinstance(node, dict) else range(len(node)))
            parent, node = node, node[key]
        parent[key] = rng.choice(_OTHER_VALUES)  # type: ignore[index]
        return json.dumps(document, sort_keys=True, separators=(",", ":")).encode() + b"\n"

    def commands(self, rng: random.Random) -> str:
        """``onnxnnw verify`` in a child process: an exit code of the contract and one line of reason, no traceback."""
        model, record = self.marked, rng.choice(self.record_paths)
        if rng.random() < 0.6:
            model = self.path
            model.write_bytes(damaged(rng.choice(self.seeds), rng))
        else:
            content = record.read_bytes()
            record = self.record_path
            record.write_bytes(self._rewritten(content, rng) if rng.random() < 0.5 else damaged(content, rng))
        arguments = ["verify", str(model), "--record", str(record), *rng.choice(([], ["--json"], ["--full"]))]
        code, text = self._run(arguments)
        if code not in (0, 1, 2, 3):
            return f"exit code {code}: {text[-500:]}"
        if "Traceback" in text or "internal error" in text:
            return text[-500:]
        if not all(c.isprintable() or c == "\n" for c in text):
            return f"control characters: {text!r}"
        return ""

    def _run(self, arguments: list[str]) -> tuple[int, str]:
        output = self.folder / "output.txt"
        child = os.fork()
        if child == 0:
            signal.alarm(SECONDS_PER_CASE)
            descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            for stream in (1, 2):
                os.dup2(descriptor, stream)
            sys.stdout, sys.stderr = (io.TextIOWrapper(os.fdopen(n, "wb", closefd=False)) for n in (1, 2))
            code = 70
            try:
                from onnxnnw.cli import main

                main(arguments)
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else 71
            except BaseException:
                traceback.print_exc()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        _, status = os.waitpid(child, 0)
        return os.waitstatus_to_exitcode(status), output.read_text(errors="replace")


def main() -> None:
    kind, seed, cases, folder = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    fuzz = ByteFuzz(folder)
    run = {"networks": fuzz.networks, "records": fuzz.records_, "commands": fuzz.commands}[kind]
    failures = []
    for case in range(seed, seed + cases):
        try:
            wrong = run(random.Random(case))
        except Exception:
            wrong = traceback.format_exc()[-1500:]
        if wrong:
            failures.append(f"case {case}: {wrong}")
            shutil.copy(fuzz.path, folder / f"case-{case}") if fuzz.path.exists() else None
    sys.stdout.write(json.dumps(failures))


if __name__ == "__main__":
    main()
