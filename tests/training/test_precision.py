"""What trainings compute in: as the processor has it, unless somebody says; and to the end what they began in."""

import contextlib
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from typer.testing import CliRunner

from onnxnnw.cli.entry import build_app
from onnxnnw.errors import UnknownName, UnreadableData, UsageError
from onnxnnw.exporters.base import export
from onnxnnw.modifications.base import apply, find_modification
from onnxnnw.recipes import UNSAID, ConstantRate, Precision, Recipe, Sgd, find_precision, usual_precision
from onnxnnw.tasks.base import Arrays
from onnxnnw.training import loop as training
from onnxnnw.training.checkpoints import load_checkpoint, save_checkpoint
from onnxnnw.training.insertion import Training, insert_in_training
from onnxnnw.training.loop import Trainer
from onnxnnw.training.networks import find_network

FLOAT32, BFLOAT16 = Precision
RECIPE = Recipe(3, 16, Sgd(0.1), ConstantRate())
TRAINS = {
    "fine-tuning": {"network": "resnet8"},
    "transfer": {"network": "resnet8"},
    "distillation": {"network": "resnet8"},
    "overwriting-in-training": {"network": "resnet8", "method": "rtw"},
}


def train(precision=None, recipe=RECIPE, **settings):
    """A small network, trained on noise."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(72, 3))
        samples = Arrays(torch.randn(48, 3, 8, 8).numpy(), torch.arange(48).numpy() % 3)
    return Trainer(recipe, F.cross_entropy, threads=1, precision=precision, **settings)(module, samples)


def weights(trained):
    """All of them in one row."""
    return torch.cat([value.flatten() for value in trained.module.state_dict().values()])


@pytest.fixture
def processor(monkeypatch):
    """A processor that is fast in a precision, whatever this one is."""
    return lambda precision: monkeypatch.setattr(training, "usual_precision", lambda device: precision)


# --- who decides


@pytest.mark.parametrize(
    ("avx512_bf16", "amx", "onednn", "expected"),
    [
        (True, False, True, BFLOAT16),
        (False, True, True, BFLOAT16),
        (False, False, False, FLOAT32),
        (False, False, True, FLOAT32),
        (True, True, False, FLOAT32),
    ],
    ids=["AVX512-BF16", "AMX", "AVX2", "AVX512", "forbidden by ONEDNN_MAX_CPU_ISA"],
)
def test_a_cpu_computes_in_bfloat16_where_it_multiplies_in_it(monkeypatch, avx512_bf16, amx, onednn, expected):
    """An imitation is many times slower than float32."""
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512_bf16)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: onednn, raising=False)
    assert usual_precision("cpu") is expected


def test_a_torch_that_cannot_say_computes_in_float32(monkeypatch):
    """Private names of torch may go."""
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.delattr(torch.cpu, name)
    assert usual_precision("cpu") is FLOAT32


@pytest.mark.parametrize("expected", Precision)
def test_a_gpu_is_asked_itself(monkeypatch, expected):
    """Without what torch would imitate; the same GPU that the training takes where there is one."""
    asked = []

    def supported(including_emulation=True):
        return including_emulation or expected is BFLOAT16

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext(asked.append(device)))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    assert usual_precision() is expected
    assert usual_precision("cuda:1") is expected
    assert asked == ["cuda", "cuda:1"]


@pytest.mark.parametrize("usual", Precision)
def test_a_training_takes_what_the_processor_is_fast_in(usual, processor):
    """And says what it took; another precision ends with other bits."""
    processor(usual)
    found, same, other = train(), train(usual), train(*(one for one in Precision if one is not usual))
    assert found.precision is usual
    assert torch.equal(weights(found), weights(same))
    assert not torch.equal(weights(found), weights(other))


def test_names_of_precisions():
    """Nothing leaves it to the processor; what is none is told with those there are."""
    assert (find_precision(""), find_precision("float32"), find_precision("bfloat16")) == (None, FLOAT32, BFLOAT16)
    with pytest.raises(UnknownName, match="no precision named 'float16'; there are bfloat16, float32"):
        find_precision("float16")


# --- checkpoints


@pytest.mark.parametrize("begun", Precision)
def test_a_training_ends_in_what_it_began_in(begun, processor, tmp_path, caplog):
    """Resumed on a processor that would have taken the other, it has the bits of an undisturbed one, and says so."""
    path = tmp_path / "state.pt"
    processor(begun)
    train(checkpoint=path, until=1)
    assert load_checkpoint(path)["precision"] == begun
    assert caplog.text == ""
    (other,) = (one for one in Precision if one is not begun)
    processor(other)
    resumed = train(checkpoint=path)
    assert f"is of a training in {begun} and goes on in it; here {other} is faster" in caplog.text
    assert resumed.precision is begun
    assert torch.equal(weights(resumed), weights(train(begun)))
    caplog.clear()
    train(begun, replace(RECIPE), checkpoint=path)
    assert caplog.text == "", "who asks for it needs no telling"


@pytest.mark.parametrize("begun", Precision)
def test_another_precision_than_the_checkpoints_is_refused(begun, tmp_path):
    """In a sentence that names both, and nothing is touched."""
    path = tmp_path / "state.pt"
    train(begun, checkpoint=path, until=1)
    before = path.read_bytes()
    (other,) = (one for one in Precision if one is not begun)
    with pytest.raises(UsageError, match=f"state.pt is of a training in {begun}, which cannot go on in {other}"):
        train(other, checkpoint=path)
    assert path.read_bytes() == before


def test_checkpoints_that_do_not_say_are_of_bfloat16(tmp_path, processor):
    """All trainings were when checkpoints did not say; they go on as they would have."""
    path = tmp_path / "state.pt"
    processor(FLOAT32)
    train(BFLOAT16, checkpoint=path, until=2)
    state = load_checkpoint(path)
    del state["precision"], state["format"]
    save_checkpoint(state, [path])
    resumed = train(checkpoint=path)
    assert resumed.precision is UNSAID is BFLOAT16
    assert torch.equal(weights(resumed), weights(train(BFLOAT16)))


def test_a_checkpoint_of_an_unknown_precision_is_refused(tmp_path):
    """Of a later version, perhaps."""
    path = tmp_path / "state.pt"
    train(checkpoint=path, until=1)
    state = load_checkpoint(path)
    save_checkpoint({**state, "precision": "float8"}, [path])
    with pytest.raises(UnreadableData, match="trained in 'float8', which this version does not know"):
        train(checkpoint=path)


# --- everything that trains


@pytest.fixture
def seen(monkeypatch):
    """The precisions of the trainings that were begun; they end there."""
    found = []

    def caught(trainer, *samples, **more):
        found.append(trainer.precision)
        raise UsageError("seen")

    monkeypatch.setattr(Trainer, "__call__", caught)
    return found


def test_a_training_takes_it_from_its_settings(cifar, tmp_path, seen):
    """Through `insert_in_training`, as the command does."""
    architecture = find_network("resnet8", "small")
    for precision in (None, *Precision):
        settings = Training(RECIPE, threads=1, precision=precision)
        with pytest.raises(UsageError, match="seen"):
            insert_in_training(architecture, cifar, tmp_path / "out.onnx", None, None, settings)
    assert seen == [None, *Precision]


@pytest.mark.parametrize("name", TRAINS)
def test_modifications_that_train_know_the_precisions(name, tmp_path):
    """A wrong one is refused when it is named, not after the data was read; either of the two is none."""
    kind = find_modification(name)
    for precision in ("", *Precision):
        assert kind(data=".", precision=precision, **TRAINS[name]).precision == precision
    with pytest.raises(UnknownName, match="no precision named 'half'"):
        kind(data=".", precision="half", **TRAINS[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINS)
def test_modifications_train_in_what_is_asked_for(name, cifar, tmp_path, seen):
    """Seen where the training is."""
    architecture = find_network("resnet8", "small")
    export(architecture, architecture.build(), tmp_path / "in.onnx")
    modification = find_modification(name)(data=str(cifar), size="small", precision="bfloat16", **TRAINS[name])
    with pytest.raises(UsageError, match="seen"):
        apply(modification, tmp_path / "in.onnx", tmp_path / "out.onnx")
    assert seen == [BFLOAT16]


@pytest.mark.slow
def test_the_command_trains_in_what_is_asked_for(cifar, tmp_path):
    """--precision, though the processor is fast in the other: said in the end, kept in the checkpoint; and no other later."""
    other = usual_precision()
    (precision,) = (one for one in Precision if one is not other)
    command = ["train", "resnet8", "--size", "small", "--data", cifar, "-o", tmp_path / "out.onnx", "--epochs", 1]
    command += ["--threads", 1, "--checkpoint", tmp_path / "state.pt", "--precision"]

    def run(*arguments):
        return CliRunner().invoke(build_app(), [str(argument) for argument in arguments])

    done = run(*command, precision)
    assert done.exit_code == 0, done.output
    assert f"in {precision}" in done.stdout
    assert load_checkpoint(tmp_path / "state.pt")["precision"] == precision
    refused = run(*command, other).exception
    assert isinstance(refused, UsageError)
    assert f"a training in {precision}, which cannot go on in {other}" in str(refused)
    assert run(*command, "float16").exit_code == 2
