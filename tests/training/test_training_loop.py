"""The training loop: exact, resumable, and clear when something goes wrong."""

import math
import resource
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from onnxnnw.errors import CannotLook, UnknownName, UnreadableData, UsageError
from onnxnnw.recipes import SCHEDULES, Adam, ConstantRate, Decay, OneCycle, Recipe, Sgd, adjusted, resumed
from onnxnnw.tasks.base import Arrays
from onnxnnw.tasks.classification import TOP1
from onnxnnw.training.checkpoints import load_module
from onnxnnw.training.hooks import Hooks, write_values
from onnxnnw.training.loop import Trainer
from onnxnnw.training.networks import find_network, train_network

RECIPE = Recipe(epochs=3, batch=16, optimizer=Sgd(0.1, weight_decay=1e-3), schedule=OneCycle())


def blobs(count=96, seed=0):
    """Images whose class shows in their mean, noise elsewhere."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, count)
    images = rng.normal(0, 1, (count, 3, 8, 8)) + (labels - 1)[:, None, None, None]
    return Arrays(images.astype(np.float32), labels)


def small_network():
    """A convolution, a BatchNorm, a dropout and a linear layer: every kind of state a training has."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.2), nn.Flatten(), nn.Linear(72, 3)
        )


def train(recipe=RECIPE, samples=None, **settings):
    return Trainer(recipe, F.cross_entropy, threads=1, **settings)(small_network(), samples or blobs())


def assert_equal_weights(first, second):
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name


def test_same_seed_same_bits():
    """Two trainings with one seed end with the same bits; another seed with others."""
    first, second, other = train(seed=1), train(seed=1), train(seed=2)
    assert_equal_weights(first.module, second.module)
    assert not torch.equal(first.module[0].weight, other.module[0].weight)


def test_training_learns_and_reports():
    """Loss falls, the metric rises, and the history counts epochs and batches."""
    trainer = Trainer(replace(RECIPE, epochs=6), F.cross_entropy, threads=1)
    trained = trainer(small_network(), blobs(192), testing=blobs(60, seed=9), metric=TOP1)
    assert [epoch.number for epoch in trained.history] == [1, 2, 3, 4, 5, 6]
    assert trained.history[-1].loss < trained.history[0].loss
    assert trained.history[-1].metric > 80
    assert trained.cost.iterations == 6 * 12
    assert trained.cost.seconds_per_batch > 0
    assert trained.cost.peak_memory_bytes > 2**20
    assert not trained.module.training


def test_arguments_and_global_state_stay_as_they_were():
    """The module given, torch's generator and its number of threads are the same afterwards."""
    module, threads = small_network(), torch.get_num_threads()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    Trainer(RECIPE, F.cross_entropy, threads=1)(module, blobs())
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_num_threads() == threads
    for name, value in before.items():
        assert torch.equal(module.state_dict()[name], value)


def test_interrupted_training_resumes_exactly(tmp_path):
    """Stopped after any epoch and resumed from its checkpoint, a training ends with an uninterrupted one's bits."""

    whole = train()
    path = tmp_path / "state.pt"
    for last in (1, 2):
        assert len(train(checkpoint=path, until=last).history) == last
    resumed = train(checkpoint=path)
    assert_equal_weights(resumed.module, whole.module)
    assert [epoch.loss for epoch in resumed.history] == [epoch.loss for epoch in whole.history]
    assert_equal_weights(load_module(small_network(), path), whole.module)


KILLED = """
import sys, torch
sys.path.insert(0, {folder!r})
from test_training_loop import *
class Slow:
    def batch(self, *args): pass
    def epoch(self, epoch): print(epoch.number, flush=True); time.sleep(0.05)
train(replace(RECIPE, epochs=24), checkpoint=Path({path!r}), progress=Slow())
"""


@pytest.mark.slow
def test_resume_after_sigkill_is_exact(tmp_path):
    """Killed twice at any moment, a training resumed from what is on the disk ends with the same bits."""
    path = tmp_path / "state.pt"
    script = KILLED.format(folder=str(Path(__file__).parent), path=str(path))
    for stop in ("3", "9"):
        with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
            for line in process.stdout:
                if line.strip() == stop:
                    break
            time.sleep(0.03)
            process.send_signal(signal.SIGKILL)
    finished = len(torch.load(path, weights_only=True)["history"])
    assert 8 <= finished < 24, "it was killed neither before its first checkpoint nor after its last"
    recipe = replace(RECIPE, epochs=24)
    assert_equal_weights(train(recipe, checkpoint=path).module, train(recipe).module)


def test_a_training_may_end_later_than_planned(tmp_path, caplog):
    """Resumed with more epochs, a training goes on along the longer schedule, and says so; with as many, it is done."""
    path = tmp_path / "state.pt"
    first = train(checkpoint=path)
    with caplog.at_level("WARNING", "onnxnnw.training.loop"):
        longer = train(replace(RECIPE, epochs=5), checkpoint=path)
    assert "was planned for 3 epochs; now for 5" in caplog.text
    assert longer.history[:3] == first.history
    assert len(longer.history) == 5
    assert_equal_weights(train(replace(RECIPE, epochs=5), checkpoint=path).module, longer.module)


def test_kept_checkpoints_hold_their_epoch(tmp_path):
    """`keep` leaves the state of an epoch beside the checkpoint."""
    train(checkpoint=tmp_path / "state.pt", keep=frozenset({2}))
    kept = torch.load(tmp_path / "state.epoch-2.pt", weights_only=True)
    assert len(kept["history"]) == 2
    assert sorted(file.name for file in tmp_path.iterdir()) == ["state.epoch-2.pt", "state.pt"]


def test_full_disk_leaves_the_last_checkpoint(tmp_path):
    """A checkpoint that cannot be written whole is a clear error, and the one before stays readable."""
    path = tmp_path / "state.pt"
    train(replace(RECIPE, epochs=1), checkpoint=path)
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # so that the limit is an error, as a full disk is
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        from onnxnnw.training.checkpoints import save_checkpoint

        with pytest.raises(CannotLook, match=r"cannot write the checkpoint .* the last good one"):
            save_checkpoint(torch.load(path, weights_only=True), [path])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["state.pt"]


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "not a readable checkpoint"), (b"PK\x03\x04 half", "not a readable checkpoint")],
    ids=["empty", "torn"],
)
def test_damaged_checkpoints_are_refused(tmp_path, content, message):
    """What is no checkpoint is named, not overwritten."""
    path = tmp_path / "state.pt"
    path.write_bytes(content)
    with pytest.raises(UnreadableData, match=message):
        train(checkpoint=path)
    assert path.read_bytes() == content


def test_checkpoints_run_no_code(tmp_path):
    """A checkpoint that asks for a function to be called is refused before it is."""
    path = tmp_path / "state.pt"

    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "was here",))

    torch.save({"format": "onnxnnw/checkpoint/1", "history": Evil()}, path)
    with pytest.raises(UnreadableData, match="not a readable checkpoint"):
        train(checkpoint=path)
    assert not (tmp_path / "was here").exists()


def test_checkpoint_of_another_training_is_refused(tmp_path):
    """Another seed, recipe or network does not silently continue a training."""
    path = tmp_path / "state.pt"
    train(checkpoint=path)
    with pytest.raises(UnreadableData, match="its seed is 0, not 1"):
        train(checkpoint=path, seed=1)
    with pytest.raises(UnreadableData, match="its recipe is"):
        train(replace(RECIPE, optimizer=Sgd(0.2)), checkpoint=path)
    with pytest.raises(UnreadableData, match="does not fit this network"):
        Trainer(RECIPE, F.cross_entropy, threads=1, checkpoint=path)(nn.Sequential(nn.Conv2d(3, 3, 8)), blobs())


def test_loss_that_is_no_number_stops_the_training(tmp_path):
    """NaN ends the training with advice; the last good checkpoint is intact."""
    path = tmp_path / "state.pt"
    train(replace(RECIPE, epochs=1), checkpoint=path)
    before = path.read_bytes()
    samples = blobs()
    samples.inputs[40] = np.nan
    with pytest.raises(CannotLook, match=r"no longer a number, at epoch 1, batch .* try a lower learning rate"):
        train(replace(RECIPE, epochs=1), samples, checkpoint=tmp_path / "other.pt")
    assert not (tmp_path / "other.pt").exists()
    assert path.read_bytes() == before


def test_too_few_samples_are_an_error():
    """Less than one batch cannot be trained on."""
    with pytest.raises(UnreadableData, match="7 training samples do not fill one batch of 16"):
        train(samples=blobs(7))


def test_epoch_hook_is_called_between_all_epochs():
    """`at_epoch` sees 0 before the first batch and the number of epochs after the last, in evaluation's weights too."""
    seen = []

    def at_epoch(module, epoch):
        seen.append(epoch)
        with torch.no_grad():
            module[5].bias.fill_(float(epoch))

    trained = train(hooks=Hooks(at_epoch=at_epoch))
    assert seen == [0, 1, 2, 3]
    seen.clear()
    train(hooks=Hooks(at_epoch=at_epoch), until=1)
    assert seen == [0], "a training that stops early is not at its end"
    assert trained.module[5].bias.tolist() == [3.0, 3.0, 3.0]


def test_penalty_pulls_the_weights():
    """A penalty on a layer's size makes it smaller than training without does."""

    def penalty(module):
        return 100 * module[0].weight.square().mean()

    plain, pulled = train(), train(hooks=Hooks(penalty=penalty))
    assert pulled.module[0].weight.square().sum() < 0.5 * plain.module[0].weight.square().sum()


def test_extra_samples_are_learned():
    """Joined to every batch, samples with labels of their own are learned beside the task."""
    rng = np.random.default_rng(3)
    triggers = rng.choice([-4.0, 4.0], (6, 3, 8, 8)).astype(np.float32)
    labels = np.array([0, 1, 2, 0, 1, 2])
    sizes = []

    def loss(outputs, targets):
        sizes.append(len(targets))
        return F.cross_entropy(outputs, targets)

    hooks = Hooks(extra=lambda rng: (triggers, labels))
    trainer = Trainer(replace(RECIPE, epochs=8, optimizer=Sgd(0.05)), loss, hooks=hooks, threads=1)
    trained = trainer(small_network(), blobs())
    assert set(sizes) == {16 + 6}
    with torch.no_grad():
        assert trained.module(torch.from_numpy(triggers)).argmax(1).tolist() == labels.tolist()


@pytest.mark.parametrize("format", [torch.contiguous_format, torch.channels_last], ids=["contiguous", "channels-last"])
def test_values_are_written_whatever_the_memory_format(format):
    """Writing at flat positions and reading there is the identity; nothing else changes."""
    layer = nn.Conv2d(5, 7, 3).to(memory_format=format)
    before = layer.weight.detach().clone()
    positions = np.random.default_rng(0).choice(before.numel(), 20, replace=False)
    values = np.arange(20.0)
    write_values(layer, {"weight": (positions, values)})
    flat = layer.weight.detach().contiguous().flatten()
    assert flat[torch.from_numpy(positions)].tolist() == values.tolist()
    others = np.setdiff1d(np.arange(before.numel()), positions)
    assert torch.equal(flat[others], before.contiguous().flatten()[others])


def test_adversary_is_trained_too(tmp_path):
    """The adversarial step moves both players, weighs fidelity, and resumes exactly."""
    rng = np.random.default_rng(0)
    inputs = rng.normal(0, 1, (32, 3, 8, 8)).astype(np.float32)
    samples = Arrays(inputs, np.tanh(inputs[:, ::-1]).copy())
    recipe = Recipe(2, 8, Adam(1e-2, beta1=0.5), Decay(), fidelity=100.0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        generator = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.Tanh())
        judge = nn.Sequential(nn.Conv2d(6, 4, 4, 2, 1), nn.BatchNorm2d(4), nn.LeakyReLU(0.2), nn.Conv2d(4, 1, 3))
    path = tmp_path / "state.pt"
    trainer = Trainer(recipe, F.l1_loss, threads=1, checkpoint=path, keep=frozenset({1}))
    trained = trainer(generator, samples, adversary=judge)
    assert trained.history[1].loss < trained.history[0].loss
    judged = torch.load(path, weights_only=True)["state"]["adversary"]
    assert not torch.equal(judged["0.weight"], judge.state_dict()["0.weight"])
    (tmp_path / "state.epoch-1.pt").replace(path)
    assert_equal_weights(trainer(generator, samples, adversary=judge).module, trained.module)


@pytest.mark.parametrize("again", [False, True], ids=["from the beginning", "resumed"])
def test_a_resumed_training_has_no_adversary(again, monkeypatch):
    """Marked or not: no ONNX file holds one, and a network that trains against one is no match for one that does not."""
    architecture = find_network("pix2pix", "small")
    for split in ("training", "testing"):
        monkeypatch.setattr(type(architecture.task()), split, lambda task, data: [0])
    seen = []

    def caught(trainer, module, samples, *, adversary=None, **more):
        seen.append(adversary)
        raise CannotLook("seen")

    monkeypatch.setattr(Trainer, "__call__", caught)
    recipe = architecture.recipe()
    with pytest.raises(CannotLook, match="seen"):
        train_network(architecture, Path(), Path("x.onnx"), recipe=resumed(recipe, 1) if again else recipe)
    assert (seen == [None]) == again


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=repr)
def test_schedules_stay_between_nothing_and_the_full_rate(schedule):
    """Every schedule lies within 0 and 1 and reaches the full rate."""
    factors = [schedule(progress) for progress in np.linspace(0, 0.9999, 500)]
    assert min(factors) >= 0
    assert max(factors) == pytest.approx(1, abs=1e-3)
    assert math.isfinite(sum(factors))


def test_one_cycle_is_torchs():
    """The schedule is torch's OneCycleLR."""
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], 1.0)
    reference = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1.0, total_steps=1001, cycle_momentum=False)
    rates = []
    for _ in range(1000):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        reference.step()
    assert [OneCycle()(step / 1000) for step in range(1000)] == pytest.approx(rates, abs=4e-3)


def test_recipes_refuse_nonsense():
    """Impossible numbers and unknown schedules are wrong usage."""
    for changes in ({"epochs": -1}, {"batch": 0}, {"optimizer": Sgd(float("nan"))}, {"optimizer": Adam(0.0)}):
        with pytest.raises(UsageError):
            replace(RECIPE, **changes)
    with pytest.raises(UnknownName, match="constant, decay, one-cycle"):
        adjusted(RECIPE, None, None, "sometimes")
    assert adjusted(RECIPE, 7, 0.5, "constant") == Recipe(7, 16, Sgd(0.5, weight_decay=1e-3), ConstantRate())
    assert adjusted(RECIPE, None, None, None) == RECIPE
