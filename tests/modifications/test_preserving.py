"""Function-preserving modifications: weights change, answers do not, marks are no longer where they were."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from onnxnnw.errors import UnsupportedNetwork, UsageError
from onnxnnw.modifications import find_modification
from onnxnnw.modifications.base import apply
from onnxnnw.runtime import open_runtime
from tests.support.networks import model_of, save, weight

NAMES = ("channel-permutation", "channel-rescaling", "sign-flip", "dummy-channels", "cloned-channels")


def answers(path, images: int = 4) -> np.ndarray:
    """What a network answers to drawn images."""
    return open_runtime(path).predict(np.random.default_rng(0).standard_normal((images, 3, 32, 32)).astype(np.float32))


def weights_in(path) -> dict[str, np.ndarray]:
    """All initializers of a file by name."""
    return {t.name: numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}


@pytest.mark.parametrize("name", NAMES)
def test_answers_stay_and_weights_do_not(name, resnet8, tmp_path):
    """To rounding; a sign changes no bit of an answer."""
    out = tmp_path / "out.onnx"
    apply(find_modification(name)(), resnet8, out, seed=3)
    before, after = answers(resnet8), answers(out)
    np.testing.assert_allclose(after, before, atol=1e-5 * float(np.abs(before).max()))
    old, new = weights_in(resnet8), weights_in(out)
    assert any(old[key].shape != new[key].shape or not np.array_equal(old[key], new[key]) for key in old)
    onnx.checker.check_model(onnx.load(out), full_check=True)


def test_they_can_be_chained_with_each_other(resnet8, tmp_path):
    """Each takes what the one before left, dummies that were permuted and cloned among it."""
    path = resnet8
    for number, name in enumerate(("dummy-channels", *NAMES)):
        out = tmp_path / f"{number}.onnx"
        apply(find_modification(name)(), path, out, seed=number)
        path = out
    before, after = answers(resnet8), answers(path)
    np.testing.assert_allclose(after, before, atol=1e-4 * float(np.abs(before).max()))


@pytest.mark.parametrize(("name", "more"), [("dummy-channels", 0.5), ("cloned-channels", 0.5)])
def test_widths_grow_by_as_much_as_was_asked_for(name, more, resnet8, tmp_path):
    """Rows where channels are made, columns where they are read."""
    out = tmp_path / "out.onnx"
    apply(find_modification(name)(percentage=100 * more), resnet8, out)
    old, new = weights_in(resnet8)["block1.conv1.weight"], weights_in(out)["block1.conv1.weight"]
    assert new.shape[:2] == (round(old.shape[0] * (1 + more)), round(old.shape[1] * (1 + more)))


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_bytes(name, resnet8, tmp_path):
    """And another seed others."""
    files = []
    for number, seed in enumerate((7, 7, 8)):
        files.append(tmp_path / f"{number}.onnx")
        apply(find_modification(name)(), resnet8, files[-1], seed)
    contents = [file.read_bytes() for file in files]
    assert contents[0] == contents[1] != contents[2]


def test_nothing_asked_for_is_the_identity(resnet8, tmp_path):
    """No channel changes its place, its scale or its sign."""
    for name, parameters in (
        ("channel-permutation", {"share": 0.0}),
        ("channel-rescaling", {"deviation": 0.0}),
        ("sign-flip", {"share": 0.0}),
    ):
        out = tmp_path / f"{name}.onnx"
        apply(find_modification(name)(**parameters), resnet8, out)
        assert out.read_bytes() == resnet8.read_bytes()


@pytest.mark.parametrize("name", NAMES)
def test_a_network_without_hidden_channels_is_refused(name, tmp_path):
    """Where nothing can be changed the copy would be the original, and nobody would notice."""
    model = model_of([onnx.helper.make_node("Gemm", ["x", "w"], ["y"])], [weight("w", 8, 8)])
    model.graph.input[0].CopyFrom(onnx.helper.make_tensor_value_info("x", 1, [1, 8]))
    path = save(model, tmp_path / "net.onnx")
    with pytest.raises(UnsupportedNetwork, match="0 channels can be changed and 8 are left alone"):
        apply(find_modification(name)(), path, tmp_path / "out.onnx")
    assert [p.name for p in tmp_path.iterdir()] == ["net.onnx"]


@pytest.mark.parametrize(
    ("name", "parameter"),
    [("channel-permutation", "share"), ("channel-rescaling", "deviation"), ("dummy-channels", "percentage")],
)
def test_impossible_parameters_are_refused(name, parameter):
    """Before any file is touched."""
    with pytest.raises(UsageError, match="between"):
        find_modification(name)(**{parameter: -1.0})
