"""NCT in training: the mark that goes into the running module is the one that goes into files."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from onnxnnw.enrolment.enrol import embed
from onnxnnw.exporters.base import export
from onnxnnw.recipes import ConstantRate, Recipe, Sgd
from onnxnnw.records.key import Key
from onnxnnw.records.record_file import load_record
from onnxnnw.training.at_epoch import NctInsertion
from onnxnnw.training.hooks import Hooks
from onnxnnw.training.networks import find_network, train_network
from onnxnnw.verification.verify import verify

pytestmark = pytest.mark.slow

SECRET = bytes(range(32))


@pytest.mark.parametrize("insertion", ["replaced", "added"])
@pytest.mark.parametrize("name", ["resnet8", pytest.param("pix2pix", marks=pytest.mark.slow)])
def test_marking_commutes_with_export(name, insertion, tmp_path):
    """Mark the module then export = export then mark the file, transposed convolutions and channels_last included."""
    architecture = find_network(name, "small")
    module = architecture.build().to(memory_format=torch.channels_last)
    export(architecture, module, tmp_path / "plain.onnx")
    embed(
        tmp_path / "plain.onnx",
        tmp_path / "file.onnx",
        tmp_path / "file.record",
        positions=300,
        key=Key(SECRET),
        insertion=insertion,
    )
    hook = NctInsertion(architecture, 0, tmp_path / "module.record", 300, key=Key(SECRET), insertion=insertion)
    hook(module, 0)
    export(architecture, module, tmp_path / "module.onnx")
    assert (tmp_path / "module.onnx").read_bytes() == (tmp_path / "file.onnx").read_bytes()
    assert (tmp_path / "module.record").read_bytes() == (tmp_path / "file.record").read_bytes()


def test_the_hook_acts_at_its_epoch_only(tmp_path):
    """At any other epoch neither the module nor the disk changes."""
    architecture = find_network("resnet8", "small")
    module = architecture.build()
    before = module.stem.weight.detach().clone()
    NctInsertion(architecture, 3, tmp_path / "record", 100)(module, 2)
    assert torch.equal(module.stem.weight, before)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("insertion", ["replaced", pytest.param("added", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "epoch",
    [pytest.param(0, marks=pytest.mark.slow), 1, pytest.param(2, marks=pytest.mark.slow)],
    ids=["start", "middle", "end"],
)
def test_marks_inserted_in_training_are_traced(epoch, insertion, cifar, tmp_path):
    """Whenever it was inserted, a mark is found in the exported file, and best where no training followed."""
    architecture = find_network("resnet8", "small")
    recipe = Recipe(2, 32, Sgd(0.005), ConstantRate())
    hook = NctInsertion(architecture, epoch, tmp_path / "record", 500, key=Key(SECRET), insertion=insertion)
    out = tmp_path / "out.onnx"
    train_network(architecture, cifar, out, recipe=recipe, threads=1, hooks=Hooks(hook))
    (verdict,) = verify(out, [load_record(tmp_path / "record")], full=True)
    assert verdict.decision == ("identical" if epoch == 2 else "traced")
    assert verdict.standard.values["spearman"] > 0.9
    assert "traced" in verified_without_torch(out, tmp_path / "record")


def verified_without_torch(candidate, record):
    """What `onnxnnw verify` says in a process in which importing torch raises."""
    script = (
        "import sys; sys.modules['torch'] = None; from onnxnnw.cli import main\n"
        f"sys.argv = ['onnxnnw', 'verify', {str(candidate)!r}, '--record', {str(record)!r}]; main()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_resuming_at_the_mark_inserts_the_same_mark(cifar, tmp_path):
    """A training killed right after its mark was written inserts it again from the record, bit for bit."""
    architecture = find_network("resnet8", "small")
    recipe = Recipe(2, 32, Sgd(0.005), ConstantRate())

    def run(checkpoint, out, epochs=2):
        hook = NctInsertion(architecture, 1, tmp_path / "record", 200)
        train_network(
            architecture,
            cifar,
            tmp_path / out,
            recipe=replace(recipe, epochs=epochs),
            threads=1,
            hooks=Hooks(hook),
            checkpoint=tmp_path / checkpoint,
            keep=frozenset({1}),
        )

    run("state.pt", "first.onnx")
    (tmp_path / "state.epoch-1.pt").replace(tmp_path / "state.pt")  # as if killed before epoch 2 was finished
    run("state.pt", "second.onnx")
    assert (tmp_path / "first.onnx").read_bytes() == (tmp_path / "second.onnx").read_bytes()


def test_absolute_deviation_is_what_is_written(tmp_path):
    """With `value_std`, the values written have that deviation, as the published tables need it."""
    architecture = find_network("resnet8", "small")
    module = architecture.build()
    before = {name: value.detach().numpy().copy() for name, value in module.named_parameters()}
    NctInsertion(architecture, 0, tmp_path / "record", 2000, value_std=0.15)(module, 0)
    changed = np.concatenate(
        [value.detach().numpy()[value.detach().numpy() != before[name]] for name, value in module.named_parameters()]
    )
    assert 1990 <= len(changed) <= 2000
    assert np.std(changed) == pytest.approx(0.15, rel=0.1)
