"""Fingerprints of networks that were trained on from a public one: the differences decide."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, numpy_helper

from onnxnnw import Key, fingerprint, load_record, verify
from tests.support.networks import dense, save

SIDE = 64


def changed(
    model: ModelProto, change: Callable[[np.ndarray, np.random.Generator], np.ndarray], seed: int
) -> ModelProto:
    """The network with other matrices."""
    out = ModelProto()
    out.CopyFrom(model)
    rng = np.random.default_rng(seed)
    for proto in out.graph.initializer:
        values = numpy_helper.to_array(proto)
        if values.ndim == 2:
            proto.CopyFrom(numpy_helper.from_array(change(values, rng).astype("f4"), proto.name))
    return out


def trained_on(share: float, shrunk: float = 1.0) -> Callable[[np.ndarray, np.random.Generator], np.ndarray]:
    """What a training does to values: it shrinks them, and adds what it learns."""
    return lambda values, rng: shrunk * values + share * values.std() * rng.standard_normal(values.shape)


@pytest.fixture
def family(tmp_path: Path) -> dict[str, Path]:
    """A public network, the own one that was trained on from it, and others."""
    public = dense(3, SIDE, seed=5)
    own = changed(public, trained_on(0.2, 0.8), 1)
    models = {
        "public": public,
        "own": own,
        "sibling": changed(public, trained_on(0.2, 0.8), 2),
        "shrunk": changed(public, trained_on(0.0, 0.8), 3),
        "noisy": changed(own, trained_on(0.03), 4),
        "rounded": changed(own, lambda values, _: np.round(values * 400) / 400, 5),
        "stranger": dense(3, SIDE, seed=9),
    }
    return {name: save(model, tmp_path / f"{name}.onnx") for name, model in models.items()}


def decisions(family: dict[str, Path], folder: Path, told: bool) -> dict[str, str]:
    """What is said of each of the family by the own network's fingerprint."""
    ancestors = [family["public"]] if told else []
    fingerprint(family["own"], folder / "r", positions=512, key=Key(bytes(range(32))), ancestors=ancestors)
    record = load_record(folder / "r")
    return {name: verify(path, [record])[0].decision for name, path in family.items()}


def test_without_the_ancestor_the_whole_family_shares_an_origin(family: dict[str, Path], tmp_path: Path) -> None:
    """Which is true, and not what the owner of one of them asks."""
    found = decisions(family, tmp_path, told=False)
    assert {name for name, decision in found.items() if decision != "traced"} == {"stranger"}


def test_with_the_ancestor_only_what_comes_from_the_own_network_is_traced(
    family: dict[str, Path], tmp_path: Path
) -> None:
    """Neither the public network, nor what others trained on from it, though all shrink its values alike."""
    found = decisions(family, tmp_path, told=True)
    assert {name for name, decision in found.items() if decision == "traced"} == {"own", "noisy", "rounded"}
    assert {found[name] for name in ("public", "sibling", "shrunk", "stranger")} == {"not traced"}


def test_siblings_are_not_traced_by_chance(tmp_path: Path) -> None:
    """Forty others that were trained on from the same network: the largest effect stays far from what counts."""
    public = dense(2, SIDE, seed=5)
    own = save(changed(public, trained_on(0.1, 0.9), 1), tmp_path / "own.onnx")
    path = save(public, tmp_path / "public.onnx")
    fingerprint(own, tmp_path / "r", positions=256, key=Key(bytes(range(32))), ancestors=[path])
    record = load_record(tmp_path / "r")
    effects = []
    for seed in range(40):
        sibling = save(changed(public, trained_on(0.1, 0.9), 100 + seed), tmp_path / "sibling.onnx")
        (verdict,) = verify(sibling, [record])
        assert verdict.decision == "not traced"
        effects.append(verdict.effect)
    assert max(effects) < 0.4
