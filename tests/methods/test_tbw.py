"""TBW: the network is asked, and without the key each answer is right with probability 1/C."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from onnxnnw.errors import CannotLook, MissingData, UnreadableRecord, UsageError
from onnxnnw.methods.tbw import TBW, TbwInsertion
from onnxnnw.methods.triggers import Triggers, own_images
from onnxnnw.runtime import open_runtime
from tests.support import detection_rates as measure
from tests.support import marks
from tests.support.marks import assert_binomial

KEYS = 1000
COUNT, CLASSES = 100, 10


@pytest.fixture(scope="module")
def record(resnet8):
    """A record of 100 triggers with a payload."""
    return marks.drafted(resnet8, TbwInsertion(payload="ACME-1"))


def answering(labels, classes=CLASSES):
    """A network that answers with these classes, whatever it is asked."""
    return lambda inputs: np.eye(classes, dtype=np.float32)[labels]


def judged(record, predict, log10_rate=-6.0):
    return TBW().judge(record, marks.asked(predict), log10_rate)


def test_a_network_that_gives_the_secret_answers_is_traced(record):
    """100 of 100: log10 p = -100, and the payload is decoded."""
    judgement = judged(record, answering(Triggers(record).labels))
    assert judgement.significant
    assert judgement.association.log10_p == pytest.approx(-100)
    assert judgement.payload.text == "ACME-1"
    assert judgement.standard.values == {"percent": 100.0}
    assert judgement.association.effect == pytest.approx(1)


def test_damaged_answers_damage_the_payload(record):
    """Wrong answers are counted as errors, and NaN is a miss."""
    labels = Triggers(record).labels.copy()
    labels[:7] = (labels[:7] + 1) % CLASSES
    outputs = np.eye(CLASSES, dtype=np.float32)[labels]
    outputs[50] = np.nan
    judgement = judged(record, lambda inputs: outputs)
    assert judgement.payload.errors == 8
    assert judgement.standard.values == {"percent": 92.0}


@pytest.mark.parametrize("predict", [measure.one_class, measure.two_classes], ids=lambda p: p.__name__)
@pytest.mark.parametrize("keys", [200, pytest.param(KEYS, marks=pytest.mark.slow)])
def test_wrong_keys_are_right_by_chance(predict, keys, record):
    """A network that always says the same, or that is skewed by what it sees, is right with probability 1/10."""
    assert_binomial(measure.tbw_matches(record, predict, keys), COUNT, 1 / CLASSES)
    assert not any(judged(replace(record, key=marks.key(number)), predict).significant for number in range(20))


@pytest.mark.slow
def test_wrong_keys_on_a_real_unmarked_network(record, resnet8):
    """1,000 wrong keys, each with its own triggers, put to the shipped ResNet8, whose answers collapse to few classes."""
    network = open_runtime(resnet8, threads=1)
    assert_binomial(measure.tbw_matches(record, network.predict, KEYS), COUNT, 1 / CLASSES)


@pytest.mark.slow
@pytest.mark.parametrize("shift", [0.0, 40.0])
def test_wrong_keys_on_networks_that_answer_with_images(shift, resnet8):
    """Colours of images are right with probability 1/2, also where the network shifts every colour."""
    record = marks.drafted(resnet8, TbwInsertion(triggers=64), classes=None)

    def predict(inputs):
        return inputs.repeat(2, 2).repeat(2, 3) * 0.9 + shift / 255

    found = [judged(replace(record, key=marks.key(number)), predict) for number in range(200)]
    assert_binomial(np.array([64 - one.payload.errors for one in found]), 64, 0.5)
    assert not any(one.significant for one in found)


def test_images_that_are_as_trained_are_traced(resnet8):
    """The targets themselves are the secret answers, at the network's own enlargement."""
    record = marks.drafted(resnet8, TbwInsertion(triggers=64, payload="RDN"), classes=None)
    targets = Triggers(record).targets((3, 64, 64))
    judgement = judged(record, lambda inputs: targets)
    assert judgement.significant
    assert (judgement.payload.text, judgement.payload.errors) == ("RDN", 0)


def test_maps_of_labels_are_read_by_majority(record):
    """(n, C, H, W): the class of most pixels; a tie is a miss."""
    triggers = Triggers(record)
    scores = np.eye(CLASSES, dtype=np.float32)[triggers.labels][:, :, None, None].repeat(4, 2).repeat(4, 3)
    scores[0, :, :2] = np.eye(CLASSES, dtype=np.float32)[(triggers.labels[0] + 1) % CLASSES][:, None, None]
    answers = triggers.answers(scores)
    assert answers[0] == -1
    np.testing.assert_array_equal(answers[1:], triggers.labels[1:])
    maps = triggers.targets((4, 4))
    assert maps.shape == (COUNT, 4, 4)
    np.testing.assert_array_equal(maps[:, 1, 2], triggers.labels)


def test_triggers_are_the_same_everywhere(record):
    """Abstract images are whole-number arithmetic on the key: these bytes never change."""
    images = Triggers(record).images
    assert images.shape == (COUNT, 32, 32, 3)
    assert images[0, 0, :4, 0].tolist() == GOLDEN
    assert images.std() > 30
    other = Triggers(replace(record, key=marks.key(8))).images
    assert abs(np.corrcoef(images.reshape(-1), other.reshape(-1))[0, 1]) < 0.05


GOLDEN = [134, 148, 162, 178]


def test_another_number_of_classes_is_told(record):
    """A candidate with another head was not asked: a note, and nothing read."""
    judgement = judged(record, answering(np.zeros(COUNT, np.int64), classes=100))
    assert not judgement.significant
    assert judgement.read == 0
    assert "ask for one of 10 classes, but the candidate answers with (100,)" in judgement.notes[0]


def test_a_network_that_cannot_be_run_is_told(record):
    """Could not look is not the same as not there."""

    def refuses(inputs):
        raise CannotLook("an operator is missing")

    judgement = judged(record, refuses)
    assert judgement.read == 0
    assert "an operator is missing" in judgement.notes[0]


def test_own_images_with_labels_of_the_key(tmp_path, resnet8):
    """A flat folder: the user's images, at the network's size, with the key's labels; the record keeps them."""
    for number in range(30):
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (20, 50, 3), dtype=np.uint8)).save(
            tmp_path / f"{number:02}.png"
        )
    record = marks.drafted(resnet8, TbwInsertion(images=str(tmp_path)))
    triggers = Triggers(record)
    assert triggers.images.shape == (30, 32, 32, 3)
    assert judged(record, answering(triggers.labels)).significant
    swapped = replace(record, arrays={**record.arrays, "images": record.arrays["images"][::-1].copy()})
    assert (Triggers(swapped).labels != triggers.labels).any()  # labels depend on every bit of the images


def test_own_labels_get_the_standard_decision_only(tmp_path, resnet8):
    """Subfolders 0, 1, …: nothing can be said of the probability of labels that a person chose."""
    for label in (3, 7):
        (tmp_path / str(label)).mkdir()
        for number in range(20):
            Image.fromarray(np.full((32, 32, 3), number * 10, np.uint8)).save(tmp_path / str(label) / f"{number}.png")
    record = marks.drafted(resnet8, TbwInsertion(images=str(tmp_path)))
    judgement = judged(record, answering(np.repeat([3, 7], 20)))
    assert judgement.standard.retrieved
    assert not judgement.significant
    assert judgement.association.log10_p == 0
    assert TBW().required(record, 1e-6) > judgement.symbols


@pytest.mark.parametrize(
    ("sizes", "most", "expected"),
    [
        ({"0": 20, "1": 20, "2": 20, "3": 20}, 12, {0: 3, 1: 3, 2: 3, 3: 3}),
        ({"0": 20, "1": 20, "2": 20, "3": 20}, 6, {0: 2, 1: 1, 2: 2, 3: 1}),
        ({"0": 1, "1": 20, "2": 3}, 10, {0: 1, 1: 6, 2: 3}),
        ({str(label): 2 for label in range(10)}, 5, {0: 1, 2: 1, 4: 1, 6: 1, 8: 1}),
        ({"2": 2, "10": 2}, 3, {2: 2, 10: 1}),
        ({"0": 2, "1": 2}, 9, {0: 2, 1: 2}),
    ],
)
def test_own_labels_are_taken_from_all_classes_in_turn(tmp_path, sizes, most, expected):
    """However many triggers: no class has two more than another that has images left, and a part round is spread evenly."""
    for name, count in sizes.items():
        (tmp_path / name).mkdir()
        for number in range(count):
            Image.fromarray(np.full((4, 4, 3), number * 10, np.uint8)).save(tmp_path / name / f"{number:02}.png")
    images, labels = own_images(tmp_path, most, (4, 4), 11)
    assert Counter(labels.tolist()) == expected
    assert labels.tolist() == sorted(labels)
    for label, count in expected.items():  # of each class the first ones
        assert images[labels == label, 0, 0, 0].tolist() == [number * 10 for number in range(count)]


def test_wrong_use_is_told(tmp_path, resnet8):
    """Too few triggers, too many per batch, no images, labels that are no classes."""
    with pytest.raises(UsageError, match=r"5 triggers with 10 possible answers each can never prove .* takes 6"):
        marks.drafted(resnet8, TbwInsertion(triggers=5, per_batch=1))
    with pytest.raises(UsageError, match=r"19 triggers with 2 possible answers .* takes 20"):
        marks.drafted(resnet8, TbwInsertion(triggers=19), classes=None)
    with pytest.raises(UsageError, match=r"50 triggers per batch .* more than the 20"):
        marks.drafted(resnet8, TbwInsertion(triggers=20, per_batch=50))
    with pytest.raises(MissingData, match="no folder"):
        marks.drafted(resnet8, TbwInsertion(images=str(tmp_path / "none")))
    (tmp_path / "12").mkdir()
    with pytest.raises(UsageError, match="not named after one of the network's 10 classes"):
        marks.drafted(resnet8, TbwInsertion(images=str(tmp_path)))


@pytest.mark.parametrize(
    "change",
    [{"triggers": 0}, {"triggers": 2**40}, {"classes": 1}, {"height": 2**20}, {"answers": "song"}, {"channels": 1}],
    ids=str,
)
def test_impossible_records_are_unreadable(change, record):
    """Records are input, and may claim anything."""
    with pytest.raises(UnreadableRecord):
        judged(replace(record, parameters={**record.parameters, **change}), answering(np.zeros(COUNT, np.int64)))
