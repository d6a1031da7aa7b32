"""Fine-tuning, transfer and distillation: from an ONNX file to an ONNX file, through training."""

import numpy as np
import pytest

from onnxnnw.enrolment.enrol import embed
from onnxnnw.errors import MissingData, UnsupportedNetwork, UsageError
from onnxnnw.exporters.base import export
from onnxnnw.modifications.base import apply, find_modification
from onnxnnw.records.record_file import load_record
from onnxnnw.runtime import open_runtime
from onnxnnw.tasks.classification import Classification
from onnxnnw.training.networks import find_network, measure
from onnxnnw.verification.verify import verify
from tests.support.images import write_classes

pytestmark = pytest.mark.slow

SMALL = {"network": "resnet8", "size": "small", "threads": 1}


@pytest.fixture(scope="module")
def marked(tmp_path_factory):
    """A marked network and its record."""
    folder = tmp_path_factory.mktemp("marked")
    architecture = find_network("resnet8", "small")
    export(architecture, architecture.build(2), folder / "plain.onnx")
    embed(folder / "plain.onnx", folder / "marked.onnx", folder / "record", positions=500)
    return folder / "marked.onnx", load_record(folder / "record")


def test_fine_tuning_trains_and_keeps_the_graph(marked, cifar, tmp_path):
    """Weights move a little, the file's structure not at all, and the mark is still found."""
    path, record = marked
    out, again = tmp_path / "out.onnx", tmp_path / "again.onnx"
    tuning = find_modification("fine-tuning")(data=str(cifar), epochs=15, **SMALL)
    apply(tuning, path, out, seed=1)
    assert out.stat().st_size == path.stat().st_size
    assert verify(out, [record])[0].decision == "traced"
    task = Classification()
    before, after = (measure(file, task.training(cifar), task.metrics).values["top1"] for file in (path, out))
    assert after > before + 10
    apply(tuning, path, again, seed=1)
    assert out.read_bytes() == again.read_bytes(), "the same seed gives the same bytes"


def test_no_fine_tuning_is_the_identity(marked, cifar, tmp_path):
    """Zero epochs give the same file."""
    apply(find_modification("fine-tuning")(data=str(cifar), epochs=0, **SMALL), marked[0], tmp_path / "out.onnx")
    assert (tmp_path / "out.onnx").read_bytes() == marked[0].read_bytes()


@pytest.mark.slow
def test_transfer_gives_a_new_head(marked, tmp_path):
    """Three other classes, three outputs, and the mark in the layers below is still found."""
    write_classes(tmp_path / "data" / "train", ["apple", "pear", "plum"], 44, seed=5)
    out = tmp_path / "out.onnx"
    apply(find_modification("transfer")(data=str(tmp_path / "data"), **SMALL), marked[0], out)
    assert open_runtime(out).outputs[0].shape == (None, 3)
    assert verify(out, [marked[1]])[0].decision == "traced"
    rdn = find_network("rdn", "small")
    module = rdn.build()
    with pytest.raises(UnsupportedNetwork, match="rdn has no classification head"):
        rdn.with_new_head(module, 3)


@pytest.mark.slow
def test_distillation_takes_answers_and_no_weights(marked, cifar, tmp_path):
    """The student answers like the teacher more often than a fresh network, and carries no mark."""
    out, fresh = tmp_path / "out.onnx", tmp_path / "fresh.onnx"
    apply(find_modification("distillation")(data=str(cifar), epochs=3, **SMALL), marked[0], out)
    architecture = find_network("resnet8", "small")
    export(architecture, architecture.build(77), fresh)
    images, _ = Classification().training(cifar).batch(np.arange(320))
    teacher, student, stranger = (open_runtime(file).predict(images).argmax(1) for file in (marked[0], out, fresh))
    assert np.mean(student == teacher) > np.mean(stranger == teacher)
    assert verify(out, [marked[1]])[0].decision == "not traced"


def test_other_architectures_are_refused(marked, cifar, tmp_path):
    """A file that is not the network named is a clear error, and nothing is left behind."""
    wrong = find_modification("fine-tuning")(network="vgg16", size="small", data=str(cifar))
    with pytest.raises(UnsupportedNetwork, match="is not a vgg16 of size small"):
        apply(wrong, marked[0], tmp_path / "out.onnx")
    assert not list(tmp_path.iterdir())


def test_bad_requests_are_refused(marked, tmp_path):
    """Negative epochs, absent data, and output = input."""
    with pytest.raises(UsageError, match="number of epochs E"):
        find_modification("fine-tuning")(data=".", epochs=-1, **SMALL)
    with pytest.raises(MissingData, match="CIFAR-10"):
        apply(find_modification("fine-tuning")(data=str(tmp_path), **SMALL), marked[0], tmp_path / "out.onnx")
