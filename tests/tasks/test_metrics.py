"""Metrics: the standard's formulas as laws, and against public implementations."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage.color import rgb2ycbcr
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from onnxnnw.errors import UnknownName, UnreadableData, UsageError
from onnxnnw.images import psnr_db, ssim_global, ssim_windowed
from onnxnnw.tasks.base import Arrays, evaluate, every_kth, find_metric, find_task, image_metrics, task_names
from onnxnnw.tasks.classification import CLASSIFICATION_ERROR, TOP1
from onnxnnw.tasks.segmentation import IGNORED, MIOU, PIXEL_ACCURACY
from onnxnnw.tasks.super_resolution import SuperResolution, luminance

IMAGES = hnp.arrays(np.uint8, (2, 12, 12))


def picture(seed, shape=(3, 24, 20)):
    rng = np.random.default_rng(seed)
    return np.clip(np.cumsum(rng.normal(0, 9, shape), -1) + 128, 0, 255).astype(np.uint8)


def test_psnr_is_scikit_images():
    """PSNR of values from 0 to 255."""
    one, two = picture(0), picture(1)
    assert psnr_db(one, two) == pytest.approx(peak_signal_noise_ratio(one, two, data_range=255))
    assert psnr_db(one, one) == float("inf")


def test_windowed_ssim_is_scikit_images():
    """The usual SSIM stands beside the standard's."""
    one, two = picture(0), picture(1)
    wanted = structural_similarity(one, two, data_range=255, channel_axis=0)
    assert ssim_windowed(one, two) == pytest.approx(wanted)


def test_global_ssim_is_the_windowed_formula_with_one_window():
    """The standard's SSIM is scikit-image's at a pixel whose window is the whole image, with population statistics."""
    one, two = picture(0, (9, 9)), picture(1, (9, 9))
    whole = structural_similarity(
        one, two, win_size=9, data_range=255, use_sample_covariance=False, K1=0.01, K2=0.03, full=True
    )[1][4, 4]
    assert ssim_global(one, two) == pytest.approx(whole)


@given(IMAGES)
def test_ssim_laws(images):
    """1 for equal images, symmetric, never above 1."""
    one, two = images
    assert ssim_global(one, one) == pytest.approx(1)
    assert ssim_global(one, two) == pytest.approx(ssim_global(two, one))
    assert ssim_global(one, two) <= 1 + 1e-9


@given(IMAGES, st.integers(1, 20))
def test_psnr_falls_with_the_error(images, step):
    """A larger deviation is a smaller PSNR, and order does not matter."""
    one = images[0] // 2
    assert psnr_db(one, one + step) > psnr_db(one, one + step + 1)
    assert psnr_db(images[0], images[1]) == psnr_db(images[1], images[0])


def test_image_metrics_follow_the_range():
    """Images from −1 to 1 and from 0 to 1 measure like the bytes they stand for."""
    one, two = picture(0)[None], picture(1)[None]
    wanted = [psnr_db(one[0], two[0]), ssim_global(one[0], two[0]), ssim_windowed(one[0], two[0])]
    for low, high in ((0, 1), (-1, 1), (0, 255)):
        scaled = [low + image / 255 * (high - low) for image in (one, two)]
        assert [metric(*scaled) for metric in image_metrics(low, high)] == pytest.approx(wanted)


def test_luminance_is_scikit_images_and_shaved():
    """PSNR-Y looks at luminance alone, inside the border."""
    image = picture(3)
    np.testing.assert_allclose(luminance(image), rgb2ycbcr(image.transpose(1, 2, 0))[..., 0], atol=1e-9)
    (metric,) = [metric for metric in SuperResolution(scale=2).metrics if metric.name == "psnr-y"]
    target = image[None] / 255
    broken = target.copy()
    broken[:, :, :2], broken[:, :, -2:], broken[..., :2], broken[..., -2:] = 0, 0, 0, 0
    assert metric(broken, target) == float("inf")
    broken[0, :, 5, 5] = 1 - broken[0, :, 5, 5]
    assert metric(broken, target) < 60


@given(st.integers(0, 2**32 - 1))
def test_top1_and_error_are_complements(seed):
    """Accuracy and classification error add up to 100 %, and a shuffled order changes nothing."""
    rng = np.random.default_rng(seed)
    scores, labels = rng.normal(size=(20, 5)), rng.integers(0, 5, 20)
    assert TOP1(scores, labels) + CLASSIFICATION_ERROR(scores, labels) == pytest.approx(100)
    assert TOP1(np.eye(5)[labels], labels) == 100
    order = rng.permutation(20)
    assert TOP1(scores[order], labels[order]) == TOP1(scores, labels)


@given(st.integers(0, 2**32 - 1))
def test_miou_by_its_definition(seed):
    """Intersection over union per class, averaged over the classes that occur; ignored pixels count nowhere."""
    rng = np.random.default_rng(seed)
    truth, answer = rng.integers(0, 4, (2, 2, 5, 6))
    truth = np.where(rng.random(truth.shape) < 0.1, IGNORED, truth)
    scores = np.moveaxis(np.eye(6)[answer], -1, 1)
    known = truth != IGNORED
    ious = []
    for label in range(6):
        one, two = (truth == label) & known, (answer == label) & known
        if (one | two).any():
            ious.append((one & two).sum() / (one | two).sum())
    assert MIOU(scores, truth) == pytest.approx(100 * np.mean(ious))
    assert PIXEL_ACCURACY(scores, truth) == pytest.approx(100 * np.mean(answer[known] == truth[known]))


def test_metrics_do_not_depend_on_the_batch():
    """Statistics add up: any batch size gives the metric of all samples at once."""
    rng = np.random.default_rng(0)
    outputs, labels = rng.normal(size=(23, 5)).astype(np.float32), rng.integers(0, 5, 23)
    for batch in (1, 4, 23, 99):
        found = evaluate(lambda inputs: inputs, Arrays(outputs, labels), [TOP1], batch=batch)
        assert found.values == {"top1": TOP1(outputs, labels)}
        assert found.samples == 23


def test_every_kth_spreads_evenly():
    """Sorted test sets keep all their classes."""
    samples = Arrays(np.arange(1000.0), np.repeat(np.arange(10), 100))
    _, labels = every_kth(samples, 50).batch(np.arange(50))
    assert np.bincount(labels).tolist() == [5] * 10
    assert every_kth(samples, 5000) is samples
    with pytest.raises(UsageError):
        every_kth(samples, 0)


@pytest.mark.parametrize(
    ("metric", "outputs", "targets", "message"),
    [
        (TOP1, np.zeros((3, 5)), np.zeros(4, int), r"not \(3, 5\) and \(4,\)"),
        (TOP1, np.zeros((3, 5)), np.full(3, 5), "labels go from 5 to 5, but the network has 5 classes"),
        (MIOU, np.zeros((1, 5, 4, 4)), np.zeros((1, 4, 5), int), "scores .* are wanted"),
        (MIOU, np.zeros((1, 5, 4, 4)), np.full((1, 4, 4), 7), "labels go from 7 to 7"),
        (image_metrics(0, 1)[0], np.zeros((1, 3, 4, 4)), np.zeros((1, 3, 8, 8)), "of one shape"),
    ],
    ids=["number", "label", "size", "class", "image"],
)
def test_answers_that_do_not_fit_are_errors(metric, outputs, targets, message):
    """A network of another task is named as such, not measured as bad."""
    with pytest.raises(UnreadableData, match=message):
        metric(outputs, targets)


def test_tasks_and_metrics_are_found_by_name():
    """Every file of tasks/ is a task; unknown names list the known ones."""
    assert task_names() == ["classification", "image-translation", "segmentation", "super-resolution"]
    for name in task_names():
        task = find_task(name)
        assert task.name == name
        for metric in task.metrics:
            assert find_metric(metric.name).name == metric.name
    with pytest.raises(UnknownName, match="there are classification, image-translation"):
        find_task("chess")
    with pytest.raises(UnknownName, match="miou, pixel-accuracy, psnr, psnr-y, ssim"):
        find_metric("elo")
