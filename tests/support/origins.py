"""What fingerprints say of networks alike without copying, or of one origin: ``python -m tests.support.origins 200``."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from onnxnnw.enrolment.enrol import fingerprint
from onnxnnw.errors import CapacityError
from onnxnnw.records.key import Key
from onnxnnw.records.record_file import load_record
from onnxnnw.verification.verdict import Verdict
from onnxnnw.verification.verify import verify
from tests.support.null_draws import say

Array = NDArray[np.float32]
POSITIONS = 256
SIDE, STATE, CLASSES, HIDDEN = 64, 32, 10, 48


@dataclass(frozen=True)
class Kind:
    """One kind of pairs.

    Attributes:
        make: Folder, number -> enrolled file, other file, and the file of an ancestor where there is one.
        shared: Whether the two have an origin in common.
        told: Whether the enrolment is told of the ancestor, or of an unrelated network that holds the same table.
    """

    make: Callable[[Path, int], tuple[Path, Path, Path | None]]
    shared: bool
    told: str = ""


def _save(path: Path, nodes: list[onnx.NodeProto], tensors: Mapping[str, Array], shape: list[int | str]) -> Path:
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.ascontiguousarray(array, np.float32), name) for name, array in tensors.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), path)
    return path


def _dense(path: Path, matrices: list[Array]) -> Path:
    nodes, value = [], "x"
    for number in range(len(matrices)):
        last = number == len(matrices) - 1
        nodes.append(helper.make_node("MatMul", [value, f"w{number}"], ["y" if last else f"h{number}"]))
        if not last:
            nodes.append(helper.make_node("Relu", [f"h{number}"], [f"v{number}"]))
            value = f"v{number}"
    return _save(path, nodes, {f"w{k}": m for k, m in enumerate(matrices)}, ["batch", len(matrices[0])])


def linear(folder: Path, number: int) -> tuple[Path, Path, None]:
    """Logistic regressions, fitted to the end on disjoint halves of one data set."""
    rng = np.random.default_rng(number)
    true = rng.standard_normal((SIDE, CLASSES))
    inputs = rng.standard_normal((4000, SIDE))
    labels = (inputs @ true + 2 * rng.gumbel(size=(4000, CLASSES))).argmax(1)
    files = []
    for part, name in ((slice(0, 2000), "a"), (slice(2000, 4000), "b")):
        weights = 0.1 * rng.standard_normal((SIDE, CLASSES))
        wanted = np.eye(CLASSES)[labels[part]]
        for _ in range(150):
            scores = inputs[part] @ weights
            likely = np.exp(scores - scores.max(1, keepdims=True))
            weights -= 0.5 * inputs[part].T @ (likely / likely.sum(1, keepdims=True) - wanted) / 2000
        files.append(_dense(folder / f"{name}.onnx", [weights]))
    return files[0], files[1], None


def identity_start(folder: Path, number: int) -> tuple[Path, Path, None]:
    """Recurrent networks whose recurrent weight starts as the identity, trained on one task from other input weights."""
    import torch

    torch.set_num_threads(1)
    files = []
    for name in "ab":
        torch.manual_seed(2 * number + (name == "b"))
        net = torch.nn.RNN(8, STATE, nonlinearity="relu", batch_first=True)
        head = torch.nn.Linear(STATE, 1)
        with torch.no_grad():
            net.weight_hh_l0.copy_(torch.eye(STATE))
            net.weight_ih_l0.normal_(0, 0.05)
        stepper = torch.optim.Adam([*net.parameters(), *head.parameters()], 3e-3)
        for _ in range(40):
            sequence = torch.randn(32, 10, 8)
            loss = ((head(net(sequence)[0][:, -1]) - sequence[:, :, :1].sum(1)) ** 2).mean()
            stepper.zero_grad()
            loss.backward()
            stepper.step()
        tensors = {
            "w": net.weight_ih_l0.detach().numpy()[None],
            "r": net.weight_hh_l0.detach().numpy()[None],
            "head": np.tile(head.weight.detach().numpy().T, (1, 2)),
        }
        nodes = [
            helper.make_node("RNN", ["x", "w", "r"], ["", "h"], hidden_size=STATE, activations=["Relu"]),
            helper.make_node("MatMul", ["h", "head"], ["y"]),
        ]
        files.append(_save(folder / f"{name}.onnx", nodes, tensors, ["time", "batch", 8]))
    return files[0], files[1], None


def table(number: int) -> Array:
    """A fixed table that code may compute anywhere: Gabor, DCT blocks, a graph's Laplacian, 2-D sine, a projection."""
    grid = np.arange(SIDE)
    kind = number % 5
    x, y = np.meshgrid(np.linspace(-1, 1, 8), np.linspace(-1, 1, 8))
    if kind == 0:
        filters = []
        for k in range(SIDE):
            angle, wave = k % 8 * np.pi / 8, 1.5 + k // 8
            filters.append(np.exp(-3 * (x**2 + y**2)) * np.cos(wave * np.pi * (x * np.cos(angle) + y * np.sin(angle))))
        return np.stack(filters).reshape(SIDE, SIDE).T.astype(np.float32)
    if kind == 1:
        one = np.cos(np.pi * np.outer(np.arange(8), np.arange(8) + 0.5) / 8)
        return np.kron(one, one).astype(np.float32)
    if kind == 2:
        edges = np.random.default_rng(7).random((SIDE, SIDE)) < 0.2
        edges = np.triu(edges, 1) | np.triu(edges, 1).T
        degrees = np.maximum(edges.sum(1), 1)
        return (np.eye(SIDE) - edges / np.sqrt(np.outer(degrees, degrees))).astype(np.float32)
    if kind == 3:
        waves = 10000 ** -(np.arange(16) / 16)
        across, down = np.outer(grid % 8, waves), np.outer(grid // 8, waves)
        return np.concatenate([np.sin(across), np.cos(across), np.sin(down), np.cos(down)], 1).astype(np.float32)
    return np.random.default_rng(42).standard_normal((SIDE, SIDE)).astype(np.float32)


def over_a_table(folder: Path, number: int) -> tuple[Path, Path, None]:
    """Heads of their own over one computed table, which holds more than half of the weights."""
    files = []
    for name in "ab":
        rng = np.random.default_rng([number, name == "b"])
        own = [rng.standard_normal((SIDE, STATE)) / 8, rng.standard_normal((STATE, CLASSES)) / 6]
        files.append(_dense(folder / f"{name}.onnx", [table(number), *own]))
    return files[0], files[1], None


def over_a_backbone(folder: Path, number: int) -> tuple[Path, Path, Path]:
    """Heads of their own over one frozen public backbone."""
    files = []
    rng = np.random.default_rng([number, 2])
    backbone = [rng.standard_normal((SIDE, HIDDEN)) / 8, rng.standard_normal((HIDDEN, HIDDEN)) / 7]
    for name in "abc":  # the last is the backbone with the head that it was published with
        rng = np.random.default_rng([number, 3, ord(name)])
        own = [rng.standard_normal((HIDDEN, STATE)) / 7, rng.standard_normal((STATE, CLASSES)) / 6]
        files.append(_dense(folder / f"{name}.onnx", [*backbone, *own]))
    return files[0], files[1], files[2]


def equal_seeds(folder: Path, number: int) -> tuple[Path, Path, None]:
    """One initialisation, trained on two tasks."""
    import torch

    torch.set_num_threads(1)
    files = []
    for name in "ab":
        torch.manual_seed(number)
        net = torch.nn.Sequential(torch.nn.Linear(SIDE, HIDDEN), torch.nn.ReLU(), torch.nn.Linear(HIDDEN, CLASSES))
        torch.manual_seed(1000 + 2 * number + (name == "b"))
        true = torch.randn(SIDE, CLASSES)
        stepper = torch.optim.Adam(net.parameters(), 1e-3)
        for _ in range(60):
            inputs = torch.randn(64, SIDE)
            stepper.zero_grad()
            torch.nn.functional.cross_entropy(net(inputs), (inputs @ true).argmax(1)).backward()
            stepper.step()
        files.append(_dense(folder / f"{name}.onnx", [net[k].weight.detach().numpy().T for k in (0, 2)]))
    return files[0], files[1], None


KINDS: Mapping[str, Kind] = {
    "linear models": Kind(linear, False),
    "recurrent, identity start": Kind(identity_start, False),
    "heads over one table, nothing told": Kind(over_a_table, True),
    "heads over one table, --unrelated": Kind(over_a_table, False, "unrelated"),
    "one backbone, nothing told": Kind(over_a_backbone, True),
    "one backbone, --ancestor": Kind(over_a_backbone, False, "ancestor"),
    "equal seeds": Kind(equal_seeds, True),
}


def held(kind: Kind, number: int, folder: Path) -> Verdict | None:
    """What is said of the other file; None where the enrolled one can have no fingerprint."""
    one, other, ancestor = kind.make(folder, number)
    unrelated = []
    for path in folder.glob("*.record"):
        path.unlink()
    if kind.told == "unrelated":
        fingerprint(other, folder / "o.record", POSITIONS, key=Key((number + 1).to_bytes(32, "little")))
        unrelated.append(load_record(folder / "o.record"))
    try:
        fingerprint(
            one,
            folder / "f.record",
            POSITIONS,
            key=Key((number + 1).to_bytes(32, "big")),
            ancestors=[ancestor] if kind.told == "ancestor" and ancestor else [],
            unrelated=unrelated,
        )
    except CapacityError:
        return None
    return verify(other, [load_record(folder / "f.record")])[0]


def main(pairs: int) -> None:
    """Print the table of docs/reference/statistics.md."""
    say("| pairs | no fingerprint | not traced | inconclusive | traced | largest effect | said |")
    say("|---|---|---|---|---|---|---|")
    with TemporaryDirectory() as folder:
        for name, kind in KINDS.items():
            seen = [held(kind, number, Path(folder)) for number in range(pairs)]
            verdicts = [verdict for verdict in seen if verdict is not None]
            counts = [sum(v.decision == each for v in verdicts) for each in ("not traced", "inconclusive", "traced")]
            words = {"the same network": 0, "shares an origin": 0}
            for verdict in verdicts:
                for each in words:
                    words[each] += each in verdict.evidence.sentence
            effect = max((v.effect for v in verdicts), default=0.0)
            spoken = ", ".join(f'"{each}" {count}' for each, count in words.items())
            say(f"| {name} | {seen.count(None)} | {' | '.join(map(str, counts))} | {effect:.2f} | {spoken} |")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
