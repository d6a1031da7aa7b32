"""OpenVINO's representation: constants by name from the XML, bytes beside it; traced to the ONNX file that it was made of."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from onnxnnw.enrolment.enrol import fingerprint
from onnxnnw.errors import UnreadableNetwork
from onnxnnw.graph.slots import find_slots
from onnxnnw.network_file.file import open_network
from onnxnnw.records.record_file import load_record
from onnxnnw.verification.verify import verify
from tests.support.networks import dense, save

TYPES = {"float32": "f32", "float16": "f16", "int64": "i64", "int8": "i8", "uint8": "u8"}


def converted(model: onnx.ModelProto, path: Path, dtype: str | None = None) -> Path:
    """What a converter makes of the initializers: matrices transposed, names with a suffix, perhaps in float16."""
    layers, content = [], b""
    for number, proto in enumerate(model.graph.initializer):
        values = np.ascontiguousarray(numpy_helper.to_array(proto).T)
        values = values.astype(dtype) if dtype else values
        content += bytes(-len(content) % 64)
        data = f'element_type="{TYPES[str(values.dtype)]}" shape="{", ".join(map(str, values.shape))}"'
        place = f'offset="{len(content)}" size="{values.nbytes}"'
        layers.append(
            f'<layer id="{number}" name="Constant_{number}" type="Const" version="opset1"><data {data} {place}/>'
            f'<output><port id="0" precision="FP32"><dim>1</dim></port></output></layer>'
        )
        content += values.tobytes()
    path.write_text(f'<?xml version="1.0"?>\n<net name="n" version="11"><layers>{"".join(layers)}</layers></net>')
    path.with_suffix(".bin").write_bytes(content)
    return path


@pytest.mark.parametrize("dtype", [None, "float16"])
def test_it_is_traced_to_its_source_and_back(tmp_path: Path, dtype: str | None) -> None:
    """Under other names, transposed, in half the bits; strangers are not."""
    model = dense(4, 64)
    source, made = save(model, tmp_path / "m.onnx"), converted(model, tmp_path / "m.xml", dtype)
    stranger = converted(dense(4, 64, seed=9), tmp_path / "s.xml", dtype)
    for enrolled, candidate in ((source, made), (made, source)):
        record = tmp_path / f"{enrolled.name}.record"
        fingerprint(enrolled, record, 400)
        assert verify(candidate, [load_record(record)])[0].decision == "traced"
        assert verify(stranger, [load_record(record)])[0].decision != "traced"


def test_a_real_graph_of_layers_is_read(tmp_path: Path) -> None:
    """Names within bodies, scalars, constants that share bytes, comments and other layers."""
    (tmp_path / "m.bin").write_bytes(np.arange(4096, dtype=np.float32).tobytes())
    const = '<data element_type="f32" shape="{}" offset="{}" size="{}"/></layer>'
    (tmp_path / "m.xml").write_text(
        '<?xml version="1.0"?><!-- made by hand --><net name="n" version="11"><layers>'
        '<layer id="0" name="x" type="Parameter" version="opset1"><data shape="?,3" element_type="f32"/></layer>'
        '<layer id="1" name="w" type="Const" version="opset1">' + const.format("32, 32", 0, 4096) +
        '<layer id="2" name="again" type="Const" version="opset1">' + const.format("32,32", 0, 4096) +
        '<layer id="3" name="one" type="Const" version="opset1">' + const.format("", 8, 4) +
        '<layer id="4" name="loop" type="TensorIterator" version="opset1"><body><layers>'
        '<layer id="0" name="w" type="Const" version="opset1">' + const.format("16,16", 8192, 1024) +
        "</layers></body></layer></layers><edges/></net>"
    )  # fmt: skip
    with open_network(tmp_path / "m.xml") as network:
        slots = {slot.name: slot for slot in find_slots(network).slots}
        assert slots.keys() in ({"w", "loop/w"}, {"again", "loop/w"})
        np.testing.assert_array_equal(slots["loop/w"].array().reshape(-1), np.arange(2048, 2048 + 256))


LAYER = '<layer name="w" type="Const"><data element_type="f32" shape="8,8" offset="0" size="256"/></layer>'
CONST = f"<net><layers>{LAYER}</layers></net>"


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("<html/>", "no OpenVINO network"),
        ("<net>", "damaged"),
        ("", "damaged"),
        (CONST + "<net/>", "damaged"),
        ('<!DOCTYPE net [<!ENTITY a "b">]>' + CONST, "document type or entities"),
        ('<!DOCTYPE net SYSTEM "file:///etc/passwd"><net>&x;</net>', "document type or entities"),
        ("<net>" + "<a>" * 200, "nested deeper"),
        (CONST.replace('"f32"', '"f31"'), "unknown element type"),
        (CONST.replace('shape="8,8"', 'shape="8,9"'), "needs 288 bytes"),
        (CONST.replace('shape="8,8"', 'shape="8,-8"'), "impossible shape"),
        (CONST.replace('shape="8,8"', 'shape="99999999999,99999999999"'), "impossible shape"),
        (CONST.replace('offset="0"', 'offset="1000"'), "ends at byte"),
        (CONST.replace('offset="0"', 'offset="0x1"'), "impossible shape"),
        (CONST.replace('offset="0"', ""), "impossible shape"),
        (CONST.replace('name="w"', ""), "has no name"),
        (
            CONST.replace(LAYER, 2 * LAYER),
            "stands twice",
        ),
    ],
)
def test_what_is_none_is_refused(text: str, match: str, tmp_path: Path) -> None:
    """Other documents, damaged ones, entities, places outside the file."""
    (tmp_path / "m.xml").write_text(text)
    (tmp_path / "m.bin").write_bytes(bytes(512))
    with pytest.raises(UnreadableNetwork, match=match):
        open_network(tmp_path / "m.xml")


def test_the_constants_must_be_beside_it(tmp_path: Path) -> None:
    """As external data must: a regular file in the same folder."""
    (tmp_path / "m.xml").write_text(CONST)
    with pytest.raises(UnreadableNetwork, match="leads to nothing"):
        open_network(tmp_path / "m.xml")
