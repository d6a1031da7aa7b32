"""safetensors: tensors by name without a graph; the format's rules strictly; traced to ONNX exports and back."""

import contextlib
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxnnw.enrolment.enrol import fingerprint
from onnxnnw.enrolment.inspection import inspect
from onnxnnw.errors import UnreadableNetwork
from onnxnnw.graph.digest import network_digest
from onnxnnw.graph.slots import find_slots
from onnxnnw.network_file.file import open_network
from onnxnnw.records.record_file import load_record
from onnxnnw.sources.limits import Budget, limited
from onnxnnw.verification.verify import verify
from tests.support.networks import dense, save
from tests.support.range_server import RangeServer

Tensors = dict[str, np.ndarray]


def tensors(seed: int = 0) -> Tensors:
    """Two layers, a normalisation, and a counter."""
    rng = np.random.default_rng(seed)
    out = {
        "conv.weight": rng.normal(0, 0.1, (32, 16, 3, 3)),
        "conv.bias": rng.normal(0, 0.1, 32),
        "head.weight": rng.normal(0, 0.1, (64, 96)),
        **{f"bn.{name}": rng.uniform(0.5, 2, 32) for name in ("weight", "bias", "running_mean", "running_var")},
    }
    return {name: value.astype(np.float32) for name, value in out.items()} | {"steps": np.array(7, np.int64)}


def written(path: Path, content: Tensors) -> Path:
    """A file as the format's own library writes it."""
    from safetensors.numpy import save_file

    save_file(content, path, {"format": "np"})
    return path


def made(path: Path, header: object, body: bytes = b"", length: int | None = None) -> Path:
    """A file with any header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + body)
    return path


def test_tensors_are_slots_by_their_names(tmp_path: Path) -> None:
    """All live, values as they are; vectors are parameters; nothing is left over, and nothing is dead."""
    content = tensors()
    path = written(tmp_path / "m.safetensors", content)
    with open_network(path) as network:
        view = find_slots(network)
        assert {slot.name for slot in view.slots} == {"conv.weight", "head.weight"}
        for slot in view.slots:
            np.testing.assert_array_equal(slot.array().reshape(-1), content[slot.name].reshape(-1))
    found = inspect(path)
    assert found.account.amounts["weight"] == 32 * 16 * 9 + 64 * 96
    assert found.account.amounts["parameter"] == 5 * 32 + 1
    assert found.account.not_understood == found.account.dead == found.account.doubtful == 0


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "float64", "int8"])
def test_element_types_are_read_as_numbers(tmp_path: Path, dtype: str) -> None:
    """As the format's own library and torch read them."""
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    value = (torch.randn(16, 24) * 5).to(getattr(torch, dtype))
    save_file({"w": value}, tmp_path / "m.safetensors")
    with open_network(tmp_path / "m.safetensors") as network:
        found = network.tensor(network.model.graph.initializer[0]).array()
    np.testing.assert_array_equal(found, value.double().numpy())


@pytest.mark.parametrize("name", ["m.safetensors", "weights.bin", "m.onnx"])
def test_it_is_known_by_name_or_by_content(tmp_path: Path, name: str) -> None:
    """An ONNX network is never taken for one, nor one for an ONNX network."""
    with open_network(written(tmp_path / name, tensors())) as network:
        assert not network.has_graph
    with open_network(save(dense(), tmp_path / "real.onnx")) as network:
        assert network.has_graph


def sharded(folder: Path, content: Tensors) -> Path:
    """The same network in two files with an index."""
    names = sorted(content)
    parts = {"a-1-of-2.safetensors": names[::2], "a-2-of-2.safetensors": names[1::2]}
    for file, some in parts.items():
        written(folder / file, {name: content[name] for name in some})
    weight_map = {name: file for file, some in parts.items() for name in some}
    path = folder / "a.safetensors.index.json"
    path.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}))
    return path


def test_several_files_are_one_network(tmp_path: Path) -> None:
    """By their index: one digest, and records of the one trace the other."""
    whole, parts = written(tmp_path / "m.safetensors", tensors()), sharded(tmp_path, tensors())
    with open_network(whole) as one, open_network(parts) as several:
        assert network_digest(one, find_slots(one)) == network_digest(several, find_slots(several))
    fingerprint(whole, tmp_path / "r.record", 300)
    assert verify(parts, [load_record(tmp_path / "r.record")], full=True)[0].decision == "identical"


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda index: index["weight_map"].update(ghost="a-1-of-2.safetensors"), "is in no file"),
        (lambda index: index["weight_map"].pop("steps"), "the index does not say"),
        (lambda index: index["weight_map"].update(steps="../a.safetensors"), "not a relative path"),
        (lambda index: index["weight_map"].update(steps="none.safetensors"), "leads to nothing"),
        (lambda index: index["weight_map"].update(steps="a.json"), "names no such files"),
        (lambda index: index.pop("weight_map"), "names no such files"),
    ],
)
def test_an_index_that_contradicts_its_files_is_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], match: str
) -> None:
    """Names, files and places."""
    path = sharded(tmp_path, tensors())
    index = json.loads(path.read_text())
    change(index)
    path.write_text(json.dumps(index))
    with pytest.raises(UnreadableNetwork, match=match):
        open_network(path)


W = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}


@pytest.mark.parametrize(
    ("header", "body", "match"),
    [
        ({"a": W, "b": {**W, "data_offsets": [8, 24]}}, 24, "overlaps"),
        ({"a": W, "b": W}, 16, "overlaps"),
        ({"a": W, "b": {**W, "data_offsets": [20, 36]}}, 36, "leaves a hole"),
        ({"a": {**W, "data_offsets": [4, 20]}}, 20, "leaves a hole"),
        ({"a": W}, 17, "nothing behind"),
        ({"a": W}, 15, "nothing behind"),
        ({"a": {**W, "shape": [2, 3]}}, 16, "needs 24 bytes"),
        ({"a": {**W, "shape": [2**40, 2**40]}}, 16, "impossible shape"),
        ({"a": {**W, "shape": [-2, -2]}}, 16, "impossible shape"),
        ({"a": {**W, "shape": [2.0, 2]}}, 16, "impossible shape"),
        ({"a": {**W, "shape": [True, 4]}}, 16, "impossible shape"),
        ({"a": {**W, "shape": [1] * 99}}, 16, "impossible shape"),
        ({"a": {**W, "data_offsets": [16, 0]}}, 16, "impossible offsets"),
        ({"a": {**W, "data_offsets": [0, 2**70]}}, 16, "impossible offsets"),
        ({"a": {**W, "dtype": "F31"}}, 16, "unknown element type"),
        ({"a": {**W, "dtype": ["F32"]}}, 16, "unknown element type"),
        ({"a": {**W, "extra": 1}}, 16, "other fields"),
        ({"a": 3}, 16, "other fields"),
        ({"__metadata__": {"a": 1}, "a": W}, 16, "texts and nothing else"),
        ({"__metadata__": [], "a": W}, 16, "texts and nothing else"),
        (b'{"a":1,"a":2}', 0, "stands twice"),
        (b'{"__metadata__":{"a":"1","a":"2"}}', 0, "stands twice"),
        (b'{"a":{"dtype":"F32","shape":[NaN],"data_offsets":[0,0]}}', 0, "no JSON"),
        (b'{"\\ud800":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}', 0, "without a readable name"),
        (b'{"":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}', 0, "without a readable name"),
        (b" {}", 0, "begins with {"),
        (b"{}[]", 0, "no JSON"),
        (b"{" * 100_000, 0, "no JSON"),
        (b'{"a":' * 100_000, 0, "no JSON"),
        (b"\xff{}", 0, "begins with {"),
        (b'{"\xff":1}', 0, "no JSON"),
    ],
)
def test_the_rules_of_the_header_are_held(tmp_path: Path, header: object, body: int, match: str) -> None:
    """Length, names, holes, overlaps, types, shapes: what other readers refuse or read in another way is refused."""
    with pytest.raises(UnreadableNetwork, match=match):
        open_network(made(tmp_path / "m.safetensors", header, bytes(body)))


@pytest.mark.parametrize("length", [0, 3, 2**20, 2**40, 2**63, 2**64 - 1])
def test_the_length_of_the_header_is_bounded(tmp_path: Path, length: int) -> None:
    """By the file and by a limit, before anything is reserved for it."""
    with pytest.raises(UnreadableNetwork, match=r"header|nothing behind|no JSON"):
        open_network(made(tmp_path / "m.safetensors", {"a": W}, bytes(16), length))


def test_the_own_library_refuses_what_is_refused(tmp_path: Path) -> None:
    """Where both look at the same rule, they agree."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    for number, header in enumerate(
        ({"a": W, "b": W}, {"a": {**W, "data_offsets": [4, 20]}}, {"a": {**W, "shape": [2, 3]}})
    ):
        path = made(tmp_path / f"{number}.safetensors", header, bytes(20))
        with pytest.raises((SafetensorError, ValueError)):
            load_file(path)
        with pytest.raises(UnreadableNetwork):
            open_network(path)


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_a_damaged_file_is_an_error_or_a_network(data: st.DataObject) -> None:
    """Bytes of the header changed, cut or added anywhere: never a traceback, never a value from outside the file."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = written(Path(folder) / "m.safetensors", {"a": np.ones((8, 8), np.float32), "b": np.ones(3, np.float16)})
        content = bytearray(path.read_bytes())
        for _ in range(data.draw(st.integers(1, 4))):
            place = data.draw(st.integers(0, min(200, len(content) - 1)))
            kind = data.draw(st.sampled_from(["set", "cut", "add"]))
            if kind == "set":
                content[place] = data.draw(st.integers(0, 255))
            elif kind == "cut":
                del content[place]
            else:
                content[place:place] = data.draw(st.binary(max_size=3))
        path.write_bytes(bytes(content))
        with contextlib.suppress(UnreadableNetwork), open_network(path) as network:
            for slot in find_slots(network).slots:
                slot.array()


@pytest.mark.slow
def test_it_is_read_behind_an_address_too(tmp_path: Path) -> None:
    """Header and positions, sharded or not."""
    rng = np.random.default_rng(0)
    content = {f"layer{n}.weight": rng.normal(0, 1, (1500, 1200)).astype(np.float32) for n in range(3)}
    path = written(tmp_path / "m.safetensors", content)
    parts = sharded(tmp_path, content)
    fingerprint(path, tmp_path / "r.record", 64)
    record = load_record(tmp_path / "r.record")
    with RangeServer(tmp_path) as server:
        for name in (path.name, parts.name):
            with limited(Budget()) as budget:
                assert verify(f"{server.url}/{name}", [record])[0] == verify(tmp_path / name, [record])[0]
                assert budget.received < path.stat().st_size / 3
