"""Findings: known modifications, each found where it happened and not where it did not."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from onnxnnw.records.positions import plan_of
from onnxnnw.records.record import Record
from onnxnnw.verification.findings.base import Finding
from onnxnnw.verification.units import lattice_levels
from onnxnnw.verification.verify import verify
from tests.support import calibration_networks as networks

Change = Callable[[networks.Weights, int], networks.Weights]
NETWORKS = 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where candidates are written."""
    return tmp_path_factory.mktemp("findings")


@pytest.fixture(scope="module")
def subjects(folder: Path) -> list[tuple[networks.Weights, Record]]:
    """Marked networks with their records."""
    out = []
    for seed in range(NETWORKS):
        weights = networks.trained_weights(seed)
        record = networks.enrolled(networks.save(weights, folder / f"{seed}.onnx"), watermark=True, secret=seed)
        out.append((networks.apply_mark(weights, record), record))
    return out


def found(weights: networks.Weights, record: Record, folder: Path) -> dict[str, Finding]:
    """Findings by name."""
    (verdict,) = verify(networks.save(weights, folder / "candidate.onnx"), [record])
    assert verdict.decision == "traced"
    return {finding.name: finding for finding in verdict.findings}


def random_pruning(weights: networks.Weights, seed: int, share: float = 0.5) -> networks.Weights:
    """Half of the weights zeroed, whatever their size."""
    rng = np.random.default_rng(seed)
    return {n: np.where(rng.random(a.shape) < share, np.float32(0), a) for n, a in weights.items()}


def global_pruning(weights: networks.Weights, seed: int) -> networks.Weights:
    """The smallest 30 % of all weights zeroed."""
    bound = np.quantile(np.abs(np.concatenate([a.reshape(-1) for a in weights.values()])), 0.3)
    return {n: np.where(np.abs(a) < bound, np.float32(0), a) for n, a in weights.items()}


def finely_rounded(weights: networks.Weights, bits: int) -> networks.Weights:
    """Each column on a lattice of its own, as 8 bits per channel and back leave it: the smallest values become zero."""
    out = {}
    for name, values in weights.items():
        step = np.abs(values).max(0, keepdims=True) / (2 ** (bits - 1) - 1)
        out[name] = (np.round(values / step) * step).astype(np.float32)
    return out


def other_mark(weights: networks.Weights, seed: int) -> networks.Weights:
    """Five per cent of the weights replaced, as somebody else's mark does."""
    rng = np.random.default_rng(seed)
    return {
        n: np.where(rng.random(a.shape) < 0.05, a.std() * rng.standard_normal(a.shape), a).astype(np.float32)
        for n, a in weights.items()
    }


def through_half(weights: networks.Weights, seed: int) -> networks.Weights:
    """Rounded to float16 and stored as float32 again."""
    return {n: a.astype(np.float16).astype(np.float32) for n, a in weights.items()}


def lattice(bits: int) -> Change:
    """Quantised to so many bits and back."""
    return lambda weights, seed: networks.quantised(weights, bits)


def noise(ratio: float) -> Change:
    """Gaussian noise."""
    return lambda weights, seed: networks.noisy(weights, ratio, seed)


# what was done -> which findings must be there; every other one of WATCHED must not
WATCHED = {"unchanged", "values changed", "pruned", "lattice", "rounded", "other values", "type changed", "renamed"}
CASES: dict[str, tuple[Change, set[str]]] = {
    "nothing": (lambda weights, seed: weights, {"unchanged"}),
    "noise 1e-4": (noise(1e-4), {"values changed"}),
    "noise 0.5": (noise(0.5), {"values changed"}),
    "half pruned at random": (random_pruning, {"values changed", "pruned"}),
    "half pruned by size": (lambda weights, seed: networks.pruned(weights, 0.5), {"values changed", "pruned"}),
    "pruned globally": (global_pruning, {"values changed", "pruned"}),
    "8 bits": (lattice(8), {"values changed", "lattice"}),
    "7 bits": (lattice(7), {"values changed", "lattice"}),
    "24 bits": (lattice(24), {"values changed"}),  # hardly more than the precision of the values themselves
    "23 bits": (lattice(23), {"values changed"}),
    "22 bits": (lattice(22), {"values changed"}),
    "float16 and back": (through_half, {"values changed", "rounded"}),
    "stored as float16": (
        lambda w, seed: {n: a.astype(np.float16) for n, a in w.items()},
        {"values changed", "type changed"},
    ),
    "another mark": (other_mark, {"values changed", "other values"}),
}


@pytest.mark.parametrize(("change", "expected"), CASES.values(), ids=CASES)
def test_what_happened_is_found_and_nothing_else(
    change: Change, expected: set[str], subjects: list[tuple[networks.Weights, Record]], folder: Path
) -> None:
    """On every one of several networks, exactly the expected findings among those that are watched."""
    for seed, (marked, record) in enumerate(subjects):
        findings = found(change(marked, seed), record, folder)
        tolerated = {"pruned"} if "lattice" in expected else set()  # rounding to a lattice makes zeros
        assert expected <= findings.keys(), seed
        assert findings.keys() & WATCHED - expected - tolerated == set(), seed


@pytest.mark.parametrize("bits", [4, 5, 6, 8])
def test_a_lattice_is_named_by_its_bits(
    bits: int, subjects: list[tuple[networks.Weights, Record]], folder: Path
) -> None:
    """To within one bit: the outermost levels are rarely at the mark's positions."""
    for marked, record in subjects:
        finding = found(networks.quantised(marked, bits), record, folder)["lattice"]
        assert bits - 2 <= finding.evidence["bits"] <= bits


def test_pruning_by_size_is_told_from_pruning_at_random(
    subjects: list[tuple[networks.Weights, Record]], folder: Path
) -> None:
    """The evidence says which, and how much."""
    for seed, (marked, record) in enumerate(subjects):
        by_size = found(networks.pruned(marked, 0.5), record, folder)["pruned"].evidence
        at_random = found(random_pruning(marked, seed), record, folder)["pruned"].evidence
        assert (by_size["by_magnitude"], at_random["by_magnitude"]) == (1, 0)
        assert at_random["share"] == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("ratio", [1e-4, 0.01, 0.3])
def test_the_size_of_a_change_is_measured(
    ratio: float, subjects: list[tuple[networks.Weights, Record]], folder: Path
) -> None:
    """Noise of a known size is reported at that size, in units of its layer's deviation."""
    for seed, (marked, record) in enumerate(subjects):
        evidence = found(networks.noisy(marked, ratio, seed), record, folder)["values changed"].evidence
        assert evidence["relative_rms"] == pytest.approx(ratio, rel=0.2)
        assert evidence["changed"] >= 500


def test_renaming_and_transposing_are_named(subjects: list[tuple[networks.Weights, Record]], folder: Path) -> None:
    """Counts are exact."""
    marked, record = subjects[0]
    model = networks.network_of(marked, rename=lambda name: f"w.{name}")
    tensor = next(t for t in model.graph.initializer if t.name == "w.fc.weight")
    flat = numpy_helper.from_array(np.ascontiguousarray(marked["fc.weight"].T), tensor.name)
    tensor.CopyFrom(flat)
    gemm = next(node for node in model.graph.node if node.op_type == "Gemm")
    gemm.attribute[0].i = 0
    onnx.save(model, folder / "renamed.onnx")
    (verdict,) = verify(folder / "renamed.onnx", [record])
    findings = {finding.name: finding.evidence for finding in verdict.findings}
    assert findings["renamed"] == {"slots": 10, "of": 10}
    assert "unchanged" in findings


def test_random_values_are_no_lattice() -> None:
    """Of ten thousand samples of ordinary weights, single precision, none is called one."""
    rng = np.random.default_rng(0)
    for count in (12, 20, 50, 200):
        for _ in range(2_500):
            values = (rng.standard_normal(count) * 0.05).astype(np.float32).astype(np.float64)
            assert lattice_levels(values) == 0


@pytest.mark.parametrize("levels", [2, 3, 16, 255])
@pytest.mark.parametrize("shift", [0.0, 0.37])
def test_every_lattice_is_recognised(levels: int, shift: float) -> None:
    """Of any step and offset, from few reads, in single precision; never with more levels than it has."""
    rng = np.random.default_rng(levels)
    hits = 0
    for _ in range(200):
        values = (rng.integers(0, levels, 40) * 0.0123 + shift * 0.0123).astype(np.float32).astype(np.float64)
        count = lattice_levels(values)
        hits += count > 0
        assert count <= levels
    assert hits >= 170


@pytest.mark.parametrize("values", [[], [1.0], [2.0, 2.0], [0.0] * 20, [1e300, -1e300], [1e-300, 3e-300]])
def test_degenerate_reads_do_not_disturb_the_search_for_a_lattice(values: list[float]) -> None:
    """Nothing, one value, or extremes: an answer, no error."""
    assert lattice_levels(np.array(values)) >= 0


@pytest.mark.parametrize("ratio", [0.1, 0.3, 0.5])
@pytest.mark.parametrize("share", [0.2, 0.5])
@pytest.mark.parametrize("smallest", [True, False])
def test_noise_hides_no_pruning(subjects, folder, ratio, share, smallest):
    """Whatever moved the values before, and however far: what is zero is counted."""
    for marked, record in subjects:
        noisy = networks.noisy(marked, ratio)
        pruned = networks.pruned(noisy, share) if smallest else random_pruning(noisy, 1, share)
        plan = plan_of(record)
        read = [pruned[entry.name].reshape(-1)[plan.of(n)] for n, entry in enumerate(record.slots) if plan.of(n).size]
        zero = float((np.concatenate(read) == 0).mean())
        assert found(pruned, record, folder)["pruned"].evidence["share"] == pytest.approx(zero, abs=0.05)
        assert "pruned" not in found(noisy, record, folder)


@pytest.mark.parametrize("bits", [6, 7, 8])
def test_what_rounding_made_zero_was_not_pruned(subjects, folder, bits):
    """Values below half a step become zero like all that small; what was pruned besides is still told."""
    for marked, record in subjects:
        rounded = finely_rounded(marked, bits)
        assert sum(int(((rounded[name] == 0) & (marked[name] != 0)).sum()) for name in marked)
        assert "pruned" not in found(rounded, record, folder)
        assert "pruned" in found(networks.pruned(rounded, 0.3), record, folder)
