"""What inspection says of a mark's room is what enrolment finds."""

from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from onnxnnw.enrolment.enrol import fingerprint
from onnxnnw.enrolment.inspection import inspect
from tests.support.networks import model_of, save, tensor


def test_tables_that_carry_nothing_are_not_offered(tmp_path: Path) -> None:
    """A table that is added to activations is listed as carrying no mark, and makes no room."""
    rng = np.random.default_rng(0)
    arrays = {"w": (40, 60), "table": (30, 60), "v": (60, 20)}
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("Add", ["h", "table"], ["s"]),
        helper.make_node("Relu", ["s"], ["r"]),
        helper.make_node("MatMul", ["r", "v"], ["y"]),
    ]
    initializers = [tensor(name, rng.normal(size=shape).astype("f4")) for name, shape in arrays.items()]
    path = save(model_of(nodes, initializers), tmp_path / "n.onnx")
    found = inspect(path)
    assert {weight.name: weight.mark for weight in found.weights} == {"w": "yes", "table": "no", "v": "yes"}
    made = fingerprint(path, tmp_path / "r", 200)
    assert made.capacity == 40 * 60 + 60 * 20
    assert found.room_to_fingerprint == pytest.approx(made.capacity // 2 - 32 * 3)
