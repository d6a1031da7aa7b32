"""What a fingerprint claims: values of one origin where there is one, and never that two networks are the same."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from onnxnnw.enrolment.enrol import embed, fingerprint
from onnxnnw.enrolment.origins import is_near_identity
from onnxnnw.errors import CapacityError
from onnxnnw.verification.verify import verify
from tests.support import calibration_networks as networks
from tests.support.networks import model_of, save, tensor
from tests.support.origins import KINDS, held

SKIP = {"a": (30, 32), "b": (32, 30), "skip": (30, 30)}

PAIRS = 40
"""Of each kind; ``python -m tests.support.origins 200`` looks at more."""


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_a_shared_origin_is_claimed_only_where_there_is_one(name: str, tmp_path: Path) -> None:
    """Linear models, identity starts, tables, backbones, equal seeds; what is told at enrolment carries nothing."""
    for number in range(2):
        verdict = held(KINDS[name], number, tmp_path)
        if verdict is not None:
            assert "same network" not in verdict.evidence.sentence
            assert KINDS[name].shared or verdict.decision != "traced"
            assert ("shares an origin" in verdict.evidence.sentence) == (verdict.decision == "traced")


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_many_pairs_of_each_kind(name: str, tmp_path: Path) -> None:
    """The same with enough pairs to see one in a hundred."""
    for number in range(PAIRS):
        verdict = held(KINDS[name], number, tmp_path)
        assert verdict is None or "same network" not in verdict.evidence.sentence
        assert verdict is None or KINDS[name].shared or verdict.decision != "traced"


def test_identity_starts_are_recognised_and_ordinary_matrices_are_not() -> None:
    """In gates, in taps, and after some drift; of a thousand random matrices none is taken for one."""
    rng = np.random.default_rng(0)
    for side in (8, 16, 64):
        identity = np.eye(side) + 0.05 * rng.standard_normal((side, side))
        assert is_near_identity(identity)
        assert is_near_identity(np.concatenate([rng.standard_normal((side, side)) / 8, identity]))
        assert is_near_identity(np.concatenate([rng.standard_normal((side, side)) / 8, identity], 1))
        for _ in range(330):
            assert not is_near_identity(rng.standard_normal((side, side)) + 1.0)


def test_embed_says_what_share_of_a_small_network_it_replaces(tmp_path: Path) -> None:
    """Above one in a hundred eligible weights, and not below."""
    path = networks.save(networks.trained_weights(), tmp_path / "n.onnx")
    for positions, dear in ((1024, True), (512, False)):
        made = embed(path, tmp_path / f"{positions}.onnx", tmp_path / f"{positions}.record", positions)
        assert any("of the 77" in each and "changes" in each for each in made.warnings) == dear


def test_a_skip_connection_makes_no_network_linear(tmp_path: Path) -> None:
    """Where too many positions are asked for, the answer is that they do not fit."""
    node, rng = onnx.helper.make_node, np.random.default_rng(3)
    arrays = {name: rng.normal(size=shape).astype("f4") for name, shape in SKIP.items()}
    nodes = [node("MatMul", ["x", "a"], ["h"]), node("Relu", ["h"], ["r"]), node("MatMul", ["r", "b"], ["s"]),
             node("MatMul", ["x", "skip"], ["t"]), node("Add", ["s", "t"], ["y"])]  # fmt: skip
    path = save(model_of(nodes, [tensor(name, array) for name, array in arrays.items()]), tmp_path / "n.onnx")
    made = fingerprint(path, tmp_path / "fits.record", 200)
    assert "linear" not in made.record.parameters
    assert [slot.eligible for slot in made.record.slots].count(True) == 2
    with pytest.raises(CapacityError, match="room for"):
        fingerprint(path, tmp_path / "too-many.record", 900)


def test_a_network_without_hidden_units_is_traced_as_a_near_copy_only(tmp_path: Path) -> None:
    """Its own file and one in eight bits; one that only correlates is neither traced nor a stranger, as another one is."""
    weight = np.random.default_rng(1).normal(size=(64, 64)).astype("f4")
    made = {}
    for name, noise in (("own", 0.0), ("near", 0.01), ("alike", 0.4), ("stranger", 20.0)):
        other = weight + noise * np.random.default_rng(2).normal(size=weight.shape).astype("f4")
        model = model_of([onnx.helper.make_node("MatMul", ["x", "w"], ["y"])], [tensor("w", other)])
        made[name] = save(model, tmp_path / f"{name}.onnx")
    record = fingerprint(made["own"], tmp_path / "r", 512).record
    assert record.parameters["linear"] == 1
    decisions = {name: verify(path, [record])[0].decision for name, path in made.items()}
    assert decisions == {"own": "traced", "near": "traced", "alike": "inconclusive", "stranger": "not traced"}
