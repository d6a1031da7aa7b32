"""The commands export, train and measure, as a shell sees them."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from onnxnnw.cli.entry import build_app
from onnxnnw.cli.train import Show
from onnxnnw.errors import MissingData, UnknownName, UnreadableData, UsageError
from onnxnnw.records.record_file import load_record
from onnxnnw.tasks.classification import Classification
from onnxnnw.training.cards import Card, card_names, find_card, make_card, model_file
from onnxnnw.training.hooks import Epoch
from onnxnnw.training.networks import find_network, measure
from onnxnnw.verification.verify import verify

pytestmark = pytest.mark.slow

SMALL = ["--size", "small"]


def run(*arguments):
    """A command's result; errors of ours come out as they were raised."""
    return CliRunner().invoke(build_app(), [str(argument) for argument in arguments], catch_exceptions=True)


@pytest.fixture(scope="module")
def trained(cifar, tmp_path_factory):
    """A small network, trained with a mark by the command, and its files."""
    folder = tmp_path_factory.mktemp("trained")
    result = run(
        *["train", "resnet8", *SMALL, "--data", cifar, "-o", folder / "out.onnx"],
        *["--epochs", 3, "--rate", 0.01, "--schedule", "constant", "--threads", 1, "--seed", 4],
        *["--checkpoint", folder / "state.pt", "--mark-at", 2, "--record", folder / "record", "--positions", 400],
    )
    assert result.exit_code == 0, result.output
    return folder, result


def test_train_writes_a_marked_network(trained):
    """The result is on stdout, an epoch per line on stderr, the mark in the file, the record beside it."""
    folder, result = trained
    assert result.stdout.startswith(f"{folder / 'out.onnx'}  6 batches")
    assert [line.split()[1] for line in result.stderr.splitlines() if line.startswith("epoch")] == ["1", "2", "3"]
    assert "top1" in result.stderr
    assert verify(folder / "out.onnx", [load_record(folder / "record")])[0].decision == "traced"


@pytest.mark.slow
def test_a_finished_training_is_not_repeated(trained, cifar):
    """Called again, the command finds its checkpoint finished and writes the same file."""
    folder, _ = trained
    again = run(
        *["train", "resnet8", *SMALL, "--data", cifar, "-o", folder / "again.onnx"],
        *["--epochs", 3, "--rate", 0.01, "--schedule", "constant", "--threads", 1, "--seed", 4],
        *["--checkpoint", folder / "state.pt"],
    )
    assert again.exit_code == 0
    assert "epoch" not in again.stderr
    assert (folder / "again.onnx").read_bytes() == (folder / "out.onnx").read_bytes()


def test_measure_agrees_with_torch(trained, cifar):
    """Top-1 through onnxruntime is torch's, and text and JSON agree."""
    folder, _ = trained
    samples = Classification().testing(cifar)
    images, labels = samples.batch(np.arange(len(samples)))
    module = find_network("resnet8", "small").load(folder / "out.onnx")
    with torch.no_grad():
        wanted = 100 * np.mean(module(torch.from_numpy(images)).argmax(1).numpy() == labels)
    arguments = ["measure", folder / "out.onnx", "--task", "classification", "--data", cifar]
    found = json.loads(run(*arguments, "--json").stdout)
    assert found["format"] == "onnxnnw/measurement/1"
    assert found["metrics"]["top1"] == pytest.approx(wanted)
    assert found["metrics"]["classification-error"] == pytest.approx(100 - wanted)
    assert found["samples"] == 60
    assert f"{wanted:.4f}" in run(*arguments).stdout
    assert json.loads(run(*arguments, "--json", "--count", 20).stdout)["samples"] == 20


def test_measure_takes_samples_of_ones_own(trained, cifar, tmp_path):
    """An .npz and a metric's name need no task."""
    images, labels = Classification().testing(cifar).batch(np.arange(60))
    np.savez(tmp_path / "own.npz", inputs=images, targets=labels)
    own = run("measure", trained[0] / "out.onnx", "--own", tmp_path / "own.npz", "--metric", "top1", "--json")
    task = run("measure", trained[0] / "out.onnx", "--task", "classification", "--data", cifar, "--json")
    assert json.loads(own.stdout)["metrics"]["top1"] == json.loads(task.stdout)["metrics"]["top1"]


@pytest.mark.slow
def test_export_takes_a_checkpoint(trained):
    """A training's checkpoint exports to the file that the training wrote."""
    folder, _ = trained
    result = run("export", "resnet8", *SMALL, "--checkpoint", folder / "state.pt", "-o", folder / "exported.onnx")
    assert result.exit_code == 0
    assert result.stdout.strip() == str(folder / "exported.onnx")
    assert (folder / "exported.onnx").read_bytes() == (folder / "out.onnx").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["export", "resnet9", "-o", "x"], UnknownName, "there are deeplabv3"),
        (["train", "resnet8", "--data", "absent", "-o", "x.onnx"], MissingData, "no CIFAR-10"),
        (["train", "resnet8", "--data", ".", "-o", "x.onnx", "--mark-at", "1"], UsageError, "go together"),
        (["train", "resnet8", "--data", ".", "-o", "x.onnx", "--schedule", "odd"], UnknownName, "one-cycle"),
        (["train", "resnet8", "--data", ".", "-o", "x.onnx", "--rate", "nan"], UsageError, "learning rate"),
        (["measure", "x.onnx"], UsageError, "--task and --data, or --own and --metric"),
    ],
    ids=["network", "data", "record", "schedule", "rate", "nothing"],
)
def test_wrong_requests_are_named(arguments, error, message, tmp_path, monkeypatch):
    """Each wrong request says what was wanted; the entry point turns it into its exit code."""
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert isinstance(result.exception, error)
    assert message in str(result.exception)
    assert not list(tmp_path.iterdir())


def test_exit_codes_reach_the_shell(tmp_path):
    """Wrong usage ends with 2, missing data with 3, and neither with a traceback."""
    absent = ["measure", "absent.onnx", "--own", "absent", "--metric", "top1"]
    for arguments, code in ((["export", "resnet9", "-o", "x"], 2), (absent, 3)):
        command = [sys.executable, "-c", "from onnxnnw.cli import main; main()", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (code, ""), done.stderr
        assert "Traceback" not in done.stderr


def test_the_bar_is_for_terminals(monkeypatch, capsys):
    """A terminal sees a bar that redraws itself; elsewhere there is a line per epoch."""
    show = Show("top1")
    show.batch(1, 5, 10, 0.5)
    show.epoch(Epoch(1, 0.25, 87.5, 3.0, 10))
    assert capsys.readouterr().err.startswith("epoch 1  loss 0.2500  top1 87.50  3.0 s")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    show.batch(1, 5, 10, 0.5)
    assert "5/10  loss 0.5000" in capsys.readouterr().err
    show.epoch(Epoch(1, 0.25, 87.5, 3.0, 10))
    assert "epoch 1  loss 0.2500" in capsys.readouterr().err


def test_cards_survive_storage(trained, cifar):
    """A card written is the card read; every shipped one is true of its file."""
    folder, _ = trained
    task = Classification()
    found = measure(folder / "out.onnx", task.testing(cifar), task.metrics)
    card = make_card(
        find_network("resnet8", "small"),
        folder / "out.onnx",
        found,
        data="test",
        command="onnxnnw train",
        epochs=3,
        seed=4,
        threads=1,
        shipped=False,
        precision="float32",
    )
    assert Card.from_json(card.to_json()) == card
    assert card.parameters == sum(p.numel() for p in find_network("resnet8", "small").build().parameters())
    for text in ("", "[]", "{}", '{"format": "onnxnnw/card/9"}', card.to_json().replace('"seed"', '"sead"')):
        with pytest.raises(UnreadableData):
            Card.from_json(text)


@pytest.mark.parametrize("name", card_names())
def test_shipped_cards_are_true(name):
    """The card's digest, hash and size are its file's; what is not shipped says how to make it."""
    import hashlib

    from onnxnnw.graph.digest import network_digest
    from onnxnnw.network_file.file import open_network

    card = find_card(name)
    if not card.shipped:
        with pytest.raises(MissingData, match="make it with: onnxnnw train"):
            model_file(name)
        return
    content = model_file(name).read_bytes()
    assert (len(content), hashlib.sha256(content).hexdigest()) == (card.bytes, card.sha256)
    with open_network(model_file(name)) as network:
        assert network_digest(network) == card.digest
    find_network(card.network, card.size).load(model_file(name))


def test_unknown_cards_list_the_known_ones():
    """A name without a card raises."""
    with pytest.raises(UnknownName, match="no model card named 'resnet9'"):
        find_card("resnet9")


@pytest.mark.slow
def test_train_with_a_method_writes_network_and_record(cifar, tmp_path):
    """--method and its own parameters; what to keep and what to publish are said."""
    result = run(
        *["train", "resnet8", *SMALL, "--data", cifar, "-o", tmp_path / "out.onnx", "--record", tmp_path / "record"],
        *["--epochs", 1, "--rate", 0.05, "--schedule", "constant", "--threads", 1, "--actor", "ACME"],
        *["--method", "rtw", "--bits", 24, "--payload", "hi", "--weight", 0.5],
    )
    assert result.exit_code == 0, result.output
    assert "commitment" in result.stdout
    record = load_record(tmp_path / "record")
    assert (record.method, record.actor, record.parameters["bits"]) == ("rtw", "ACME", 24)
    (verdict,) = verify(tmp_path / "out.onnx", [record])
    assert verdict.method == "rtw"
    assert "values are" not in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--method", "odd", "--record", "r"],
            "no method that is inserted in training named 'odd'; there are nct, rtw, tbw",
        ),
        (["--method", "rtw", "--record", "r", "--rho", "1"], "--rho is not one of its parameters; they are: --bits, "),
        (["--method", "rtw", "--record", "r", "--bits", "x"], "--bits takes an int, not 'x'"),
        (["--method", "rtw", "--record", "r", "--mark-at", "1"], "--mark-at belongs to nct"),
        (["--method", "nct", "--record", "r"], "--method nct needs --mark-at"),
        (["--method", "rtw"], "go together"),
        (["--record", "r"], "go together"),
        (["--nonsense", "1"], "--nonsense is not an option of train"),
        (["--method", "rtw", "--record", "r", "--layer", "conv9"], "there are stem.weight, block1.conv1.weight"),
        (
            ["--method", "rtw", "--record", "r", "--payload", "far too long for T"],
            "needs 144 bits, but the mark carries 64",
        ),
        (["--method", "tbw", "--record", "r", "--triggers", "3"], "that takes 6"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_wrong_use_of_methods_is_told(arguments, message, cifar, tmp_path):
    """Before anything is trained, with what there is instead."""
    given = [tmp_path / "r" if argument == "r" else argument for argument in arguments]
    result = run("train", "resnet8", *SMALL, "--data", cifar, "-o", tmp_path / "o.onnx", "--epochs", 1, *given)
    assert isinstance(result.exception, UsageError)
    assert message in str(result.exception)
    assert not list(tmp_path.iterdir())


def test_methods_are_listed_with_their_parameters():
    """What a user may choose, and the defaults."""
    result = run("train", "--list-methods")
    assert result.exit_code == 0
    for part in ("nct", "rtw", "tbw", "--bits", "T: number of bits (default 64)", "--per-batch"):
        assert part in result.stdout
