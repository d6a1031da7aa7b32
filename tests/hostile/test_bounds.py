"""Graphs built to cost time or memory: an honest verdict or a named error, within DESIGN's bounds."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from onnx import ModelProto, helper

from onnxnnw.enrolment.enrol import fingerprint
from onnxnnw.errors import FileChanged
from onnxnnw.graph.slots import find_slots
from onnxnnw.network_file.file import open_network
from onnxnnw.records.record_file import load_record
from onnxnnw.verification import looking, short_cut
from onnxnnw.verification.verify import verify
from tests.hostile.conftest import Victim
from tests.support.bounded_run import bound, look
from tests.support.costly_graphs import CASES, alike
from tests.support.networks import model_of, point_outside, save, subgraph, weight


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.replace(" ", "-"))
def test_hostile_graphs_cost_bounded_time_and_memory(victim: Victim, tmp_path: Path, case: str) -> None:
    """Within a minute, within 200 MB + 40 bytes per byte outside large tensors, without a word on standard error."""
    build, expected = CASES[case]
    path = tmp_path / "m.onnx"
    path.write_bytes(build(tmp_path))
    for record in victim.records:
        found = look(path, record)
        assert found.outcome in expected, found.text
        assert found.peak <= bound(path.stat().st_size)
        assert len(found.text) < 20_000


@pytest.mark.slow
@pytest.mark.parametrize(
    "case",
    [
        "recursive function",
        "claims of 1e12 elements",
        "squaring constants",
        "NaN",
        "strange axes",
        "joined to itself",
        "norms of norms",
        "sparse claims",
        "packed claims",
        "long tails",
    ],
)
def test_hostile_graphs_are_answered(victim: Victim, tmp_path: Path, case: str) -> None:
    """The quick ones, each in a process of its own."""
    build, expected = CASES[case]
    path = tmp_path / "m.onnx"
    path.write_bytes(build(tmp_path))
    found = look(path, victim.watermark)
    assert found.outcome in expected, found.text
    assert found.peak <= bound(path.stat().st_size)


@pytest.mark.slow
@pytest.mark.parametrize("crowd", [600, 12_000])
def test_a_crowd_of_alike_weights_does_not_make_matching_slow(tmp_path: Path, crowd: int) -> None:
    """A record of 200 slots of one shape against a crowd of that shape: bounded, and the true ones are found."""
    original, other = tmp_path / "o", tmp_path / "c"
    for folder, count in ((original, 200), (other, crowd)):
        folder.mkdir()
        (folder / "m.onnx").write_bytes(alike(count, False, 16)(folder))
    fingerprint(original / "m.onnx", tmp_path / "record")
    found = look(other / "m.onnx", tmp_path / "record")
    assert found.outcome == "traced"
    assert found.peak <= bound((other / "m.onnx").stat().st_size)


@pytest.mark.slow
def test_a_function_named_like_a_standard_operator_is_not_read(victim: Victim, tmp_path: Path) -> None:
    """Which one runs differs between runtimes: what it is given is not understood, in the domain under either of its names."""
    for domain in ("", "ai.onnx"):
        node = helper.make_node("Identity", ["a"], ["b"])
        function = helper.make_function(domain, "MatMul", ["a", "w"], ["b"], [node], [helper.make_opsetid("", 21)])
        model = ModelProto()
        model.CopyFrom(victim.model)
        model.functions.append(function)
        found = look(save(model, tmp_path / "m.onnx"), victim.watermark)
        assert found.outcome == "inconclusive"
        assert "MatMul is named like an operator of runtimes" in found.text


@pytest.mark.parametrize(
    ("module", "name"), [(looking, "find_slots"), (short_cut, "_verdict")], ids=["traced", "known"]
)
def test_a_file_that_changes_while_it_is_read_is_an_error(
    victim: Victim, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str
) -> None:
    """Size, time or inode: what was read is not what is there; whether it was traced or its skeleton known."""
    path = tmp_path / "m.onnx"
    judge = getattr(module, name)

    for change in (
        lambda: os.truncate(path, 10),
        lambda: os.utime(path, ns=(1, 1)),
        lambda: (path.unlink(), path.write_bytes(victim.path.read_bytes())),
        lambda: path.unlink(),
    ):
        path.write_bytes(victim.path.read_bytes())

        def meddling(*arguments: object, change: Callable[[], object] = change) -> object:
            view = judge(*arguments)  # type: ignore[arg-type]
            change()
            return view

        monkeypatch.setattr(module, name, meddling)
        with pytest.raises(FileChanged):
            verify(path, [load_record(victim.watermark)], thorough=name == "find_slots")


@pytest.mark.slow
def test_names_from_a_file_are_never_printed_raw(victim: Victim, tmp_path: Path) -> None:
    """Control characters, right-to-left overrides and line breaks are made visible; markup stays text in JSON."""
    evil = "\x1b[2J\u202e<script>alert(1)</script>\n\r\x07"
    model = ModelProto()
    model.CopyFrom(victim.model)
    for old in ("w0", "w1", "b0"):
        for proto in model.graph.initializer:
            if proto.name == old:
                proto.name = evil + old
        for node in model.graph.node:
            for k, name in enumerate(node.input):
                if name == old:
                    node.input[k] = evil + old
    custom = helper.make_node(evil, ["y", evil + "w0"], ["z"], domain=evil)
    model.graph.node.append(custom)
    model.graph.output.append(helper.make_tensor_value_info("z", 1, None))
    found = look(save(model, tmp_path / "m.onnx"), victim.watermark)
    assert found.outcome == "traced"

    def texts(node: object) -> list[str]:
        if isinstance(node, dict):
            return [text for part in node.values() for text in texts(part)]
        if isinstance(node, list):
            return [text for part in node for text in texts(part)]
        return [node] if isinstance(node, str) else []

    printed = texts(json.loads(found.text))
    assert any("renamed" in text for text in printed)
    assert all(text.isprintable() for text in printed)


def test_opening_reads_on_demand(tmp_path: Path) -> None:
    """A network whose external data is a sparse file of 10 GB opens without reading it."""
    with (tmp_path / "w.bin").open("wb") as file:
        file.truncate(10 * 10**9)
    model = model_of([helper.make_node("MatMul", ["x", "w"], ["y"])], [weight("w", 2, 2)])
    proto = model.graph.initializer[0]
    proto.dims[:] = [50_000, 50_000]
    point_outside(proto, "w.bin", 0, 10**10)
    with open_network(save(model, tmp_path / "m.onnx")) as network:
        tensor_ = network.tensor(network.model.graph.initializer[0])
        assert tensor_.take(np.array([0, 2_499_999_999])).tolist() == [0.0, 0.0]


def test_branches_may_be_nested_but_not_without_end(tmp_path: Path) -> None:
    """Ten levels are fine."""
    graph = subgraph("g", [helper.make_node("MatMul", ["x", "w"], ["t"])], ["t"])
    for k in range(10):
        graph = subgraph(
            "g", [helper.make_node("If", ["x"], ["t"], then_branch=graph, else_branch=graph, name=f"i{k}")], ["t"]
        )
        if k > 4:
            graph.node[0].attribute.pop()
    model = model_of([helper.make_node("If", ["x"], ["y"], then_branch=graph)], [weight("w", 16, 16)])
    with open_network(save(model, tmp_path / "m.onnx")) as network:
        assert [slot.conditional for slot in find_slots(network).slots] == [True]
