"""The standard's modifications: definitions against NumPy, laws, and what they leave alone."""

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from onnxnnw.errors import UnknownName, UnsupportedNetwork, UsageError
from onnxnnw.modifications import find_modification, modification_names
from onnxnnw.modifications.base import Modification, apply
from onnxnnw.runtime import open_runtime
from onnxnnw.verification.named_records import named_record
from onnxnnw.verification.verify import verify
from tests.support.networks import dense, externalise, save

IN_PLACE = {
    "gaussian-noise": {"ratio": 0.1},
    "magnitude-pruning": {"percentage": 50.0},
    "global-magnitude-pruning": {"percentage": 50.0},
    "random-pruning": {"percentage": 10.0},
    "quantization": {"bits": 4},
    "watermark-overwriting": {"marks": 2},
}
NEUTRAL = {
    "gaussian-noise": {"ratio": 0.0},
    "magnitude-pruning": {"percentage": 0.0},
    "global-magnitude-pruning": {"percentage": 0.0},
    "random-pruning": {"percentage": 0.0},
}


def weights_in(path: Path) -> dict[str, np.ndarray]:
    """All initializers of a file by name."""
    return {t.name: numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}


def modified(source: Path, folder: Path, name: str, seed: int = 0, **parameters) -> dict[str, np.ndarray]:
    """Initializers after a modification."""
    out = folder / f"{name}-{seed}.onnx"
    apply(find_modification(name)(**parameters), source, out, seed)
    return weights_in(out)


@pytest.mark.parametrize("name", IN_PLACE)
def test_biases_and_normalisation_are_left_alone(name, resnet8, tmp_path):
    """Only tensors of 2 or more dimensions change."""
    before, after = weights_in(resnet8), modified(resnet8, tmp_path, name, **IN_PLACE[name])
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[n], after[n]) for n in before if before[n].ndim < 2)
    assert all(before[n].shape == after[n].shape and before[n].dtype == after[n].dtype for n in before)


@pytest.mark.parametrize("name", IN_PLACE)
def test_the_same_seed_gives_the_same_bytes(name, resnet8, tmp_path):
    """Reproducible to the byte; another seed differs where there is randomness."""
    digests = []
    for number, seed in enumerate((7, 7, 8)):
        out = tmp_path / f"{number}.onnx"
        apply(find_modification(name)(**IN_PLACE[name]), resnet8, out, seed)
        digests.append(hashlib.sha256(out.read_bytes()).hexdigest())
    assert digests[0] == digests[1]
    assert (digests[0] != digests[2]) == (name in ("gaussian-noise", "random-pruning", "watermark-overwriting"))


@pytest.mark.parametrize("name", NEUTRAL)
def test_strength_zero_is_the_identity(name, resnet8, tmp_path):
    """A modification of strength zero changes no byte."""
    out = tmp_path / "out.onnx"
    apply(find_modification(name)(**NEUTRAL[name]), resnet8, out)
    assert out.read_bytes() == resnet8.read_bytes()


@pytest.mark.parametrize("ratio", [0.01, 0.1, 1.0])
def test_noise_has_the_deviation_that_was_asked_for(ratio, resnet8, tmp_path):
    """Per layer: deviation S times the layer's population standard deviation, mean zero."""
    before, after = weights_in(resnet8), modified(resnet8, tmp_path, "gaussian-noise", ratio=ratio)
    for name, weights in before.items():
        if weights.ndim >= 2 and weights.size > 2000:
            noise = (after[name] - weights) / (ratio * weights.std())
            assert noise.std() == pytest.approx(1, abs=5 / np.sqrt(2 * weights.size))
            assert noise.mean() == pytest.approx(0, abs=5 / np.sqrt(weights.size))


@pytest.mark.parametrize("percentage", [10, 20, 50, 80, 90])
def test_magnitude_pruning_zeroes_the_smallest_of_each_layer(percentage, resnet8, tmp_path):
    """Exactly round(P n) weights of each layer, none larger than a survivor."""
    before, after = weights_in(resnet8), modified(resnet8, tmp_path, "magnitude-pruning", percentage=percentage)
    for name, weights in before.items():
        if weights.ndim < 2:
            continue
        zero = after[name] == 0
        assert zero.sum() == max(round(weights.size * percentage / 100), (weights == 0).sum())
        assert np.abs(weights[zero]).max() <= np.abs(weights[~zero]).min()
        assert np.array_equal(after[name][~zero], weights[~zero])


@pytest.mark.parametrize("percentage", [10, 50, 99.9])
def test_global_pruning_agrees_with_sorting_everything(percentage, resnet8, tmp_path):
    """The streamed selection finds the same threshold as a sort of all weights."""
    before = {n: w for n, w in weights_in(resnet8).items() if w.ndim >= 2}
    after = modified(resnet8, tmp_path, "global-magnitude-pruning", percentage=percentage)
    magnitudes = np.sort(np.abs(np.concatenate([w.reshape(-1) for w in before.values()])))
    count = round(magnitudes.size * percentage / 100)
    assert sum(int((after[n] == 0).sum()) for n in before) == count
    assert min(float(np.abs(after[n][after[n] != 0]).min(initial=np.inf)) for n in before) >= magnitudes[count - 1]


@pytest.mark.parametrize("bits", [2, 4, 8, 16])
def test_quantization_is_the_published_formula(bits, resnet8, tmp_path):
    """s = (2^B - 1)/(max - min); q = round((x - min) s); x' = q/s + min [R]."""
    before, after = weights_in(resnet8), modified(resnet8, tmp_path, "quantization", bits=bits)
    for name, weights in before.items():
        if weights.ndim < 2:
            continue
        low, high = float(weights.min()), float(weights.max())
        scale = (2**bits - 1) / (high - low)
        expected = np.round((weights.astype(np.float64) - low) * scale) / scale + low
        step = 1 / scale
        assert np.abs(after[name] - expected).max() <= step * 1.01  # float32 may round a tie the other way
        assert np.median(np.abs(after[name] - expected)) < 1e-5 * (high - low)
        assert np.unique(after[name]).size <= 2**bits


def test_more_noise_leaves_less_of_the_mark(enrolled, tmp_path):
    """The effect falls monotonically with S."""
    record, effects = named_record(enrolled.record), []
    for ratio in (0.0, 0.1, 0.5, 1.0, 3.0):
        out = tmp_path / f"{ratio}.onnx"
        apply(find_modification("gaussian-noise")(ratio=ratio), enrolled.marked, out)
        effects.append(verify(out, [record])[0].effect)
    assert effects == sorted(effects, reverse=True)


@pytest.mark.parametrize("name", ["runtime-optimization", "dynamic-quantization", "static-quantization"])
def test_the_mark_survives_the_runtimes_own_tools(name, enrolled, tmp_path):
    """Renamed, folded and 8-bit files are traced, with hardly less effect than the marked file itself."""
    out = tmp_path / "out.onnx"
    apply(find_modification(name)(), enrolled.marked, out)
    for record in (enrolled.record, enrolled.fingerprint):
        verdict, before = (verify(path, [named_record(record)])[0] for path in (out, enrolled.marked))
        assert verdict.decision == "traced"
        assert verdict.effect >= 0.99 * before.effect
        assert any(finding.name == "renamed" for finding in verdict.findings)


def stored_apart(source: Path, folder: Path, behind_a_link: bool) -> Path:
    """The network with its weights in a file beside it, or in one that a link leads to."""
    folder.mkdir()
    path = externalise(onnx.load(source), folder, "net.onnx", lambda name: "weights.bin")
    if behind_a_link:
        (folder / "weights.bin").rename(folder / "store.bin")
        (folder / "weights.bin").symlink_to("store.bin")
    return path


@pytest.mark.parametrize("name", ["runtime-optimization", "dynamic-quantization", "static-quantization"])
@pytest.mark.parametrize("layout", ["embedded", "external", "behind a link"])
def test_a_tool_leaves_no_trace_beside_its_input(name, layout, resnet8, tmp_path):
    """Files that its working files are named like survive, and the result stands alone and answers as before."""
    if layout == "embedded":
        (tmp_path / "in").mkdir()
        source = tmp_path / "in" / "net.onnx"
        source.write_bytes(resnet8.read_bytes())
    else:
        source = stored_apart(resnet8, tmp_path / "in", layout == "behind a link")
    (tmp_path / "in" / "net-inferred.onnx").write_text("somebody's work")
    before = {path.name: path.read_bytes() for path in source.parent.iterdir()}
    (tmp_path / "elsewhere").mkdir()
    apply(find_modification(name)(), source, tmp_path / "elsewhere" / "out.onnx")
    assert {path.name: path.read_bytes() for path in source.parent.iterdir()} == before
    assert {path.name for path in (tmp_path / "elsewhere").iterdir()} <= {"out.onnx", "out.onnx.data"}
    images = np.random.default_rng(0).standard_normal((64, 3, 32, 32)).astype(np.float32)
    wanted, found = (open_runtime(p).predict(images) for p in (resnet8, tmp_path / "elsewhere" / "out.onnx"))
    assert np.corrcoef(wanted.ravel(), found.ravel())[0, 1] > 0.98


def test_a_tool_that_fails_names_the_users_file(tmp_path):
    """Not the copy that it worked on; nothing is left behind."""
    broken = dense()
    broken.graph.node[0].op_type = "NoSuchOperator"
    path = save(broken, tmp_path / "net.onnx")
    with pytest.raises(
        UnsupportedNetwork, match=r"runtime-optimization fails on .*net\.onnx: onnxruntime rejects it: "
    ):
        apply(find_modification("runtime-optimization")(), path, tmp_path / "out.onnx")
    assert [p.name for p in tmp_path.iterdir()] == ["net.onnx"]


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("gaussian-noise", {"ratio": -1.0}),
        ("gaussian-noise", {"ratio": float("nan")}),
        ("magnitude-pruning", {"percentage": 101.0}),
        ("quantization", {"bits": 0}),
        ("watermark-overwriting", {"marks": 0}),
    ],
)
def test_impossible_parameters_are_refused(name, parameters):
    """A parameter outside its range is wrong usage, said before any file is touched."""
    with pytest.raises(UsageError, match="between"):
        find_modification(name)(**parameters)


def holding(path: Path, *values: float) -> Path:
    """Two layers, the second with these values among its weights."""
    network = dense()
    weights = numpy_helper.to_array(network.graph.initializer[2]).copy()
    weights[0, : len(values)] = values
    network.graph.initializer[2].CopyFrom(numpy_helper.from_array(weights, "w1"))
    return save(network, path)


MEASURING = {
    "gaussian-noise": {"ratio": 0.1},
    "quantization": {"bits": 8},
    "dynamic-quantization": {},
    "static-quantization": {},
}


@pytest.mark.parametrize(
    ("name", "values"),
    [
        *((name, (value,)) for name in MEASURING for value in (np.inf, -np.inf, np.nan)),
        *((name, (3e38, -3e38)) for name in MEASURING if name != "gaussian-noise"),  # the difference has no float
    ],
)
def test_a_layer_without_finite_statistics_is_refused_by_name(name, values, tmp_path):
    """One such weight neither spoils its whole layer nor makes the modification do nothing."""
    path = holding(tmp_path / "net.onnx", *values)
    with pytest.raises(UnsupportedNetwork, match="of tensor 'w1' is no finite number"):
        apply(find_modification(name)(**MEASURING[name]), path, tmp_path / "out.onnx")
    assert [p.name for p in tmp_path.iterdir()] == ["net.onnx"]


def test_marks_that_no_element_type_can_hold_are_refused(resnet8, tmp_path):
    """As embed does: infinities are no mark."""
    with pytest.raises(UsageError, match="so strong a mark does not fit into"):
        apply(find_modification("watermark-overwriting")(strength=1e300), resnet8, tmp_path / "out.onnx")
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_modification_lists_the_known_ones():
    """The message says what there is."""
    with pytest.raises(UnknownName, match="gaussian-noise"):
        find_modification("nois")


def test_every_modification_is_found_and_documented():
    """A new file in the folder is enough to be found, and each one explains itself."""
    names = modification_names()
    assert set(IN_PLACE) < set(names)
    for name in names:
        kind = find_modification(name)
        assert kind.name == name
        assert kind.__doc__


def every_modification() -> list[Modification]:
    """Each one, with what it cannot do without; those that train name data that is not there."""
    needed = {"network": "resnet8", "data": "nowhere", "method": "rtw", "ratio": 0.1, "percentage": 50.0, "bits": 4}
    kinds = [find_modification(name) for name in modification_names()]
    return [
        kind(**{f.name: needed[f.name] for f in dataclasses.fields(kind) if f.default is dataclasses.MISSING})
        for kind in kinds
    ]


@pytest.mark.parametrize("modification", every_modification(), ids=lambda modification: modification.name)
@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("net.onnx", "same file"),
        ("link.onnx", "same file"),
        ("net.onnx.data", "holds weights of the input"),
        ("folder", "is a folder"),
    ],
)
def test_what_a_network_is_made_of_is_never_an_output(modification, place, words, tmp_path):
    """The input, its external data and a folder are wrong usage, said before any work, and nothing is lost."""
    source = externalise(dense(), tmp_path, "net.onnx", lambda name: "net.onnx.data")
    (tmp_path / "link.onnx").symlink_to(source)
    (tmp_path / "folder").mkdir()
    before = {path.name: path.read_bytes() for path in tmp_path.glob("*.*")}
    with pytest.raises(UsageError, match=words):
        apply(modification, source, tmp_path / place)
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.*")} == before
    assert list((tmp_path / "folder").iterdir()) == []
