"""RTW and TBW inserted by the training loop, exported, and verified where importing torch raises."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from onnxnnw.errors import UsageError
from onnxnnw.graph.slots import find_slots
from onnxnnw.methods.base import Hooks
from onnxnnw.methods.discovery import find_insertion, insertion_names
from onnxnnw.methods.rtw import FORMS, RtwInsertion, mark_of, project
from onnxnnw.methods.tbw import TbwInsertion
from onnxnnw.modifications.base import apply, find_modification
from onnxnnw.network_file.file import open_network
from onnxnnw.recipes import ConstantRate, OneCycle, Recipe, Sgd
from onnxnnw.records.key import Key
from onnxnnw.records.record_file import load_record
from onnxnnw.training.at_epoch import NctAtEpoch
from onnxnnw.training.insertion import Training, insert_in_training, train_marked
from onnxnnw.training.networks import find_network
from onnxnnw.training.watch import Watch
from onnxnnw.verification.verify import verify
from tests.support import marks

pytestmark = pytest.mark.slow

RECIPE = Recipe(8, 32, Sgd(0.05), ConstantRate())
RTW = RtwInsertion(bits=32, payload="rtw!", weight=0.05)
TBW = TbwInsertion(triggers=24, per_batch=24, payload="tbw")


def trained(insertion, cifar, folder, network="resnet8", recipe=RECIPE, **training):
    """A marked network of small size, with its record."""
    architecture = find_network(network, "small")
    out, record = folder / "out.onnx", folder / "out.record"
    done = train_marked(
        architecture, cifar, out, record, insertion, Training(recipe, threads=1, **training), key=Key(b"k" * 32)
    )
    return done, out, record


def verified_without_torch(candidate, record):
    """What `onnxnnw verify --json` says in a process in which importing torch raises."""
    script = (
        "import sys; sys.modules['torch'] = None; from onnxnnw.cli import main\n"
        f"sys.argv = ['onnxnnw', 'verify', {str(candidate)!r}, '--record', {str(record)!r}, '--json']; main()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    return done.returncode, json.loads(done.stdout or "{}"), done.stderr


@pytest.mark.parametrize("insertion", [RTW, TBW], ids=lambda i: i.method)
def test_marks_are_inserted_exported_and_verified(insertion, cifar, tmp_path):
    """All Symbols right, traced at 1e-6, the payload's text, and no draft left."""
    recipe = RECIPE
    if insertion is TBW:  # answers take longer to learn than projections; at the full rate the last steps may lose some
        recipe = replace(RECIPE, epochs=24, schedule=OneCycle())
    done, out, record = trained(insertion, cifar, tmp_path, recipe=recipe)
    assert done.correct == 1
    assert done.inserted_after is not None
    assert done.inserted_after <= done.trained.cost.iterations
    code, verdict, errors = verified_without_torch(out, record)
    assert code == 0, errors
    assert verdict["decision"] == "traced"
    assert verdict["payload"]["text"] == insertion.payload
    assert verdict["standard"]["retrieved"]
    assert verdict["evidence"]["after_the_fact_trials_log10"] == pytest.approx(-verdict["log10_p"])
    assert {path.name for path in tmp_path.iterdir()} == {"out.onnx", "out.record"}
    (wrong,) = verify(out, [replace(load_record(record), key=Key(b"w" * 32))])
    assert wrong.decision in ("not traced", "inconclusive")


@pytest.mark.slow
@pytest.mark.parametrize("matrix", ["plus-minus", "zero-one"])
def test_other_matrices(matrix, cifar, tmp_path):
    """The standard allows three distributions of the RTW-Key."""
    _, out, record = trained(replace(RTW, matrix=matrix, weight=0.2), cifar, tmp_path)
    (verdict,) = verify(out, [load_record(record)])
    assert verdict.decision == "traced"


@pytest.mark.parametrize("network", ["resnet8", "pix2pix"])
def test_the_term_is_the_projection_of_the_file(network, tmp_path):
    """What training pulls at is what verification reads, transposed convolutions and channels_last included."""
    architecture = find_network(network, "small")
    module = architecture.build(3).to(memory_format=torch.channels_last)
    from onnxnnw.exporters.base import export

    export(architecture, module, tmp_path / "net.onnx")
    with open_network(tmp_path / "net.onnx") as opened:
        slots = {slot.name: slot for slot in find_slots(opened).slots}
        chosen = next((s for s in slots.values() if s.use == "ConvTranspose.1" and s.rows > 8), None)
        layer = chosen.name if chosen is not None else ""
        rows = {name: slot.array() for name, slot in slots.items()}
    insertion = RtwInsertion(bits=16, layer=layer)
    record = marks.drafted(tmp_path / "net.onnx", insertion)
    mark = mark_of(record)
    term = insertion.hooks(record, marks.subject_of(tmp_path / "net.onnx"))
    y = project(rows[record.slots[mark.slot].name], mark)
    b = mark.wanted.astype(np.float64)
    sigma = 1 / (1 + np.exp(-y))
    expected = -(b * np.log(sigma) + (1 - b) * np.log(1 - sigma)).sum() * 0.01 * FORMS["sum-ln"](16)
    assert float(term.penalty(module).detach()) == pytest.approx(expected, rel=1e-5)
    assert term.correct(module) == pytest.approx(np.mean((2 * b - 1) * y > 0))


@pytest.mark.parametrize(("form", "factor"), [("sum-ln", 1.0), ("mean-log2", 1 / (64 * np.log(2)))])
def test_forms_differ_by_a_factor(form, factor, resnet8):
    """lambda_mean = lambda_sum T ln 2: both are the sum of natural-log cross entropies, scaled."""
    module = find_network("resnet8").load(resnet8)
    insertion = RtwInsertion(form=form, weight=0.5)
    record = marks.drafted(resnet8, insertion)
    mark = mark_of(record)
    y = project(module.block3.conv2.weight.detach().reshape(64, -1).numpy(), mark)
    natural = np.logaddexp(0, -(2.0 * mark.wanted - 1) * y).sum()
    penalty = insertion.hooks(record, marks.subject_of(resnet8)).penalty(module).detach()
    assert float(penalty) == pytest.approx(0.5 * factor * natural, rel=1e-4)


@pytest.mark.slow
def test_a_killed_training_keeps_its_key(cifar, tmp_path):
    """The draft beside the record holds the key; the resumed training ends with the bits of an undisturbed one."""
    recipe = replace(RECIPE, epochs=4)
    (tmp_path / "whole").mkdir()
    (tmp_path / "parts").mkdir()
    _, whole, record = trained(RTW, cifar, tmp_path / "whole", recipe=recipe)
    done, _, _ = trained(RTW, cifar, tmp_path / "parts", recipe=recipe, checkpoint=tmp_path / "state.pt", until=2)
    assert done.record is None
    assert (tmp_path / "parts" / "out.record.draft").exists()
    assert not (tmp_path / "parts" / "out.record").exists()
    _, parts, resumed = trained(RTW, cifar, tmp_path / "parts", recipe=recipe, checkpoint=tmp_path / "state.pt")
    assert parts.read_bytes() == whole.read_bytes()
    assert resumed.read_bytes() == record.read_bytes()
    assert not (tmp_path / "parts" / "out.record.draft").exists()


def test_a_draft_of_another_mark_is_refused(cifar, tmp_path):
    """Nobody trains for hours towards somebody else's key."""
    recipe = replace(RECIPE, epochs=2)
    trained(RTW, cifar, tmp_path, recipe=recipe, until=0)
    with pytest.raises(UsageError, match="is the draft of another mark"):
        trained(replace(RTW, payload="else"), cifar, tmp_path, recipe=recipe, until=0)


def test_an_existing_record_is_refused_before_the_training(cifar, tmp_path):
    """A record is never overwritten."""
    (tmp_path / "out.record").write_text("precious")
    with pytest.raises(UsageError, match="never overwritten"):
        trained(RTW, cifar, tmp_path)
    assert (tmp_path / "out.record").read_text() == "precious"


def test_a_mark_and_its_record_go_together(cifar, tmp_path):
    """One without the other is wrong usage."""
    architecture = find_network("resnet8", "small")
    for record, mark in ((None, RTW), (None, NctAtEpoch(0)), (tmp_path / "r", None)):
        with pytest.raises(UsageError, match="go together"):
            insert_in_training(architecture, cifar, tmp_path / "o.onnx", record, mark, Training(RECIPE))


@pytest.mark.slow
@pytest.mark.parametrize("insertion", [RTW, TBW], ids=lambda i: i.method)
def test_a_second_mark_on_top(insertion, cifar, tmp_path):
    """Overwriting by training: the first mark is still traced, or what is left of it is said."""
    _, out, record = trained(insertion, cifar, tmp_path, recipe=replace(RECIPE, epochs=24))
    modification = find_modification("overwriting-in-training")(
        insertion.method, "resnet8", str(cifar), epochs=1, size="small", rate=0.005, threads=1
    )
    apply(modification, out, tmp_path / "over.onnx")
    (verdict,) = verify(tmp_path / "over.onnx", [load_record(record)])
    assert verdict.decision == "traced"
    assert verdict.explained > 0.9  # a lower limit


def test_watching_stops_when_the_mark_is_in():
    """The first look at which all is right is what counts; a look that comes too late says nothing."""
    shares = iter([0.5, 1.0, 0.2])
    watch = Watch(Hooks(correct=lambda module: next(shares)), every=5)
    for iteration in range(1, 30):
        watch(None, iteration)
    assert watch.inserted_after == 10
    late = Watch(Hooks(correct=lambda module: 1.0), every=5)
    late(None, 400)
    assert late.inserted_after is None


def test_every_method_in_training_is_found():
    """A new one is one new file with one Insertion."""
    assert {"rtw", "tbw"} <= set(insertion_names())
    for name in insertion_names():
        assert find_insertion(name).method == name
