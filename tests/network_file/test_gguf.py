"""GGUF: plain and block types as numbers, the format's rules strictly; traced to the network that it was made of."""

import contextlib
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

from onnxnnw.enrolment.enrol import fingerprint
from onnxnnw.errors import CannotLook, UnreadableNetwork
from onnxnnw.graph.slots import find_slots
from onnxnnw.network_file.ahead import extents
from onnxnnw.network_file.file import open_network
from onnxnnw.network_file.tensor_files.gguf_blocks import BLOCKS
from onnxnnw.records.record_file import load_record
from onnxnnw.verification.verify import verify
from tests.support.networks import dense, save
from tests.support.range_server import RangeServer

Parts = list[tuple[str, tuple[int, ...], int, bytes]]
"""Name, shape as ONNX has it, type and bytes of each tensor."""


def text(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value


def made(parts: Parts, values: bytes = b"", count: int = 0, version: int = 3, gap: int = 0, tail: bytes = b"") -> bytes:
    """A file of this format, byte by byte."""
    head, body = struct.pack("<4sIQQ", b"GGUF", version, len(parts), count) + values, b""
    for name, shape, kind, content in parts:
        head += text(name.encode()) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape[::-1])
        head += struct.pack("<IQ", kind, len(body) + gap)
        body += content + bytes(-len(content) % 32)
    return head + bytes(-len(head) % 32) + body + tail


def plain(values: np.ndarray, name: str = "w") -> Parts:
    return [(name, values.shape, 0, values.astype("<f4").tobytes())]


WEIGHTS = np.random.default_rng(1).normal(0, 0.1, (16, 512)).astype(np.float32)


def read(path: Path) -> np.ndarray:
    with open_network(path) as network:
        return network.tensor(network.model.graph.initializer[0]).array()


def quantized(kind: str) -> tuple[bytes, np.ndarray]:
    """Blocks with any bytes and sane scales, and what the format's own library reads in them."""
    gguf = pytest.importorskip("gguf")
    form = BLOCKS[kind]
    stored = np.random.default_rng(3).integers(0, 256, (24, form.size), dtype=np.uint8)
    halves = {"q6_k": (208,), "q4_0": (0,), "q5_0": (0,), "q8_0": (0,)}.get(kind, (0, 2))
    for place in halves:
        scale = np.random.default_rng(place).uniform(0.001, 0.1, 24).astype("<f2")
        stored[:, place : place + 2] = scale.view(np.uint8).reshape(24, 2)
    wanted = gguf.dequantize(stored.reshape(3, -1), gguf.GGMLQuantizationType[kind.upper()])
    return stored.tobytes(), wanted


TYPES = {"q4_0": 2, "q4_1": 3, "q5_0": 6, "q5_1": 7, "q8_0": 8, "q4_k": 12, "q5_k": 13, "q6_k": 14}


@pytest.mark.parametrize("kind", BLOCKS)
def test_blocks_are_read_as_the_formats_own_library_reads_them(kind, tmp_path):
    """All of them, some positions, a part; here and behind an address."""
    content, wanted = quantized(kind)
    (tmp_path / "m.gguf").write_bytes(made([("w", wanted.shape, TYPES[kind], content)]))
    flat = np.random.default_rng(0).integers(0, wanted.size, (7, 5))
    with RangeServer(tmp_path) as server:
        for place in (tmp_path / "m.gguf", f"{server.url}/m.gguf"):
            with open_network(place) as network:
                tensor = network.tensor(network.model.graph.initializer[0])
                np.testing.assert_allclose(tensor.array(), wanted, rtol=1e-6)
                np.testing.assert_array_equal(tensor.take(flat), tensor.array().reshape(-1)[flat])
                np.testing.assert_array_equal(np.concatenate(list(tensor.blocks(96))), tensor.array().reshape(-1))
                assert b"".join(tensor.raw_chunks(1000)) == tensor.array().astype("<f4").tobytes()
                assert (tensor.type_name, tensor.shape) == (kind, wanted.shape)
                assert "blocks of" in tensor.read_only
                places, lengths = extents(tensor, flat)
                assert all(length % BLOCKS[kind].size == 0 for length in lengths)
                assert min(places) >= tensor.offset


@pytest.mark.parametrize(("kind", "dtype"), [(0, "<f4"), (1, "<f2"), (24, "i1"), (25, "<i2"), (26, "<i4"), (28, "<f8")])
def test_plain_types_are_read_as_they_are(kind, dtype, tmp_path):
    """With ONNX's order of dimensions."""
    values = (WEIGHTS * 100).astype(dtype)
    (tmp_path / "weights.bin").write_bytes(made([("w", values.shape, kind, values.tobytes())]))
    np.testing.assert_array_equal(read(tmp_path / "weights.bin"), values.astype(np.float64))


def test_bfloat16_is_read(tmp_path):
    """Upper halves of float32."""
    stored = (WEIGHTS.view("<u4") >> 16).astype("<u2")
    (tmp_path / "m.gguf").write_bytes(made([("w", WEIGHTS.shape, 30, stored.tobytes())]))
    np.testing.assert_array_equal(read(tmp_path / "m.gguf"), (stored.astype("<u4") << 16).view("<f4"))


def test_a_file_of_the_formats_own_library_is_read(tmp_path):
    """With metadata of all kinds, and another alignment."""
    gguf = pytest.importorskip("gguf")
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "test")
    writer.add_custom_alignment(64)
    writer.add_token_list(["a", "b" * 300, "ü"])
    writer.add_array("numbers", [1, 2, 3])
    writer.add_float64("x", 1.5)
    writer.add_tensor("a.weight", WEIGHTS)
    writer.add_tensor("b.weight", WEIGHTS[:8, :40].astype(np.float16))
    writer.add_tensor("b.bias", WEIGHTS[0, :8])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with open_network(tmp_path / "m.gguf") as network:
        assert not network.has_graph
        found = {proto.name: network.tensor(proto).array() for proto in network.model.graph.initializer}
        assert {slot.name for slot in find_slots(network).slots} == {"a.weight", "b.weight"}
    np.testing.assert_array_equal(found["a.weight"], WEIGHTS)
    np.testing.assert_array_equal(found["b.weight"], WEIGHTS[:8, :40].astype(np.float16).astype(np.float32))
    np.testing.assert_array_equal(found["b.bias"], WEIGHTS[0, :8])


@pytest.mark.parametrize("kind", ["q8_0", "q4_0"])
def test_a_quantised_copy_is_traced_and_a_stranger_is_not(kind, tmp_path):
    """From an ONNX network to GGUF, as it is written for llama.cpp; and the finding says in what it is stored."""
    gguf = pytest.importorskip("gguf")
    for seed in (0, 9):
        model = dense(layers=3, width=128, seed=seed)
        save(model, tmp_path / f"{seed}.onnx")
        parts: Parts = []
        for proto in model.graph.initializer:
            values = numpy_helper.to_array(proto)
            if values.ndim == 2:
                stored = gguf.quantize(np.ascontiguousarray(values.T), gguf.GGMLQuantizationType[kind.upper()])
                parts.append((f"blk.{proto.name}.weight", values.T.shape, TYPES[kind], stored.tobytes()))
        (tmp_path / f"{seed}.gguf").write_bytes(made(parts))
    fingerprint(tmp_path / "0.onnx", tmp_path / "r.record", 300)
    record = load_record(tmp_path / "r.record")
    traced = verify(tmp_path / "0.gguf", [record])[0]
    assert traced.decision == "traced"
    assert {"no-graph", "type-changed"} <= {finding.id for finding in traced.findings}
    assert any(finding.evidence.get("to") == kind for finding in traced.findings)
    assert verify(tmp_path / "9.gguf", [record])[0].decision == "not traced"
    fingerprint(tmp_path / "0.gguf", tmp_path / "g.record", 300)
    assert verify(tmp_path / "0.onnx", [load_record(tmp_path / "g.record")])[0].decision == "traced"


SMALL = plain(WEIGHTS[:2, :16])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (made(SMALL, version=1), "of version 1"),
        (made(SMALL, version=3 << 24), "another order of bytes"),
        (struct.pack("<4sIQQ", b"GGUF", 3, 2**60, 0), "at most"),
        (struct.pack("<4sIQQ", b"GGUF", 3, 0, 2**60), "at most"),
        (struct.pack("<4sIQQ", b"GGUF", 3, 0, 1) + text(b"a") + struct.pack("<IQ", 8, 2**62), "behind its end"),
        (made(SMALL, text(b"a") + struct.pack("<IIQ", 9, 0, 2**63), 1), "behind its end"),
        (made(SMALL, text(b"a") + struct.pack("<IIQ", 9, 8, 2**40), 1), "lists of more than"),
        (made(SMALL, text(b"a") + struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 9, 1), "unknown type"),
        (made(SMALL, text(b"a") + struct.pack("<I", 77), 1), "unknown type 77"),
        (made(SMALL, (text(b"a") + struct.pack("<IB", 0, 1)) * 2, 2), "stands twice"),
        (made(SMALL, text(b"general.alignment") + struct.pack("<II", 4, 3), 1), "alignment"),
        (made(SMALL, text(b"x" * 2000) + struct.pack("<IB", 0, 1), 1), "2,000 bytes"),
        (made(SMALL * 2), "stands twice"),
        (made(plain(WEIGHTS[:2, :16], "\udcff".encode("utf-8", "surrogatepass").decode("latin-1"))), ""),
        (made([("w", (2,) * 9, 0, bytes(2048))]), "9 dimensions"),
        (made([("w", (2**40, 2**40), 0, b"")]), "impossible shape"),
        (made([("w", (2, 32), 99, bytes(64))]), "unknown type 99"),
        (made([("w", (2, 256), 10, bytes(168))]), "q2_k blocks, which are not read"),
        (made([("w", (2, 33), 8, bytes(68))]), "no whole q8_0 blocks"),
        (made([("w", (), 8, bytes(34))]), "no whole q8_0 blocks"),
        (made([("w", (64, 64), 0, bytes(64))]), "ends behind the file"),
        (made(SMALL, gap=32), "leaves a hole"),
        (made([*SMALL, *plain(WEIGHTS[:2, :16], "v")])[:-128], "ends behind the file"),
        (made(SMALL, tail=bytes(64)), "belong to none"),
        (b"GGUF", "behind its end"),
        (made(SMALL)[:40], "behind its end"),
    ],
)
def test_what_breaks_a_rule_is_refused(content, said, tmp_path):
    """One clear sentence with the file's name, whatever the file is called."""
    for name in ("m.gguf", "m.onnx"):
        (tmp_path / name).write_bytes(content)
        if not said:
            with contextlib.suppress(UnreadableNetwork):
                open_network(tmp_path / name).close()
            continue
        with pytest.raises(UnreadableNetwork) as refused:
            open_network(tmp_path / name)
        assert said in str(refused.value)
        assert name in str(refused.value)


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_any_damage_is_a_clear_error_or_a_network(data, tmp_path_factory):
    """Bytes changed, cut or added anywhere: nothing else is raised, and what opens can be read."""
    values = (
        text(b"list") + struct.pack("<IIQ", 9, 8, 2) + text(b"a") + text(b"b") + text(b"n") + struct.pack("<IQ", 10, 5)
    )
    content = bytearray(made([*SMALL, ("b", (2, 32), 8, bytes(68))], values, 2))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.sampled_from([0, 1, 2, 8, 9, 31, 127, 255]))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content))) :]
    path = tmp_path_factory.mktemp("gguf") / "m.gguf"
    path.write_bytes(content)
    with contextlib.suppress(CannotLook), open_network(path) as network:
        for proto in network.model.graph.initializer:
            network.tensor(proto).array()


@pytest.mark.slow
def test_a_hostile_header_costs_no_memory(tmp_path):
    """A long list of texts that are not there, in a file of 16 GiB that holds nothing."""
    import tracemalloc

    path = tmp_path / "m.gguf"
    path.write_bytes(made([], text(b"a") + struct.pack("<IIQ", 9, 8, 99_999), 1))
    with path.open("r+b") as file:
        file.truncate(2**34)
    tracemalloc.start()
    with pytest.raises(UnreadableNetwork, match="belong to none"):
        open_network(path)
    assert tracemalloc.get_traced_memory()[1] < 32 * 2**20
    tracemalloc.stop()
