"""Loaders: the layouts of the public data sets, and what is said of damaged ones."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onnxnnw.errors import MissingData, UnreadableData
from onnxnnw.images import ImageCache, open_image
from onnxnnw.tasks.base import find_task, task_names
from onnxnnw.tasks.classification import CLASSES, DEVIATION, MEAN, Classification
from onnxnnw.tasks.image_translation import PALETTE, ImageTranslation
from onnxnnw.tasks.own_samples import own_samples
from onnxnnw.tasks.segmentation import IGNORED, LABEL_IDS, Segmentation, train_ids
from onnxnnw.tasks.super_resolution import SuperResolution, bicubic

REAL = Path(__file__).parents[3] / "shared" / "data"


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def noise(shape, seed=0, high=256):
    return np.random.default_rng(seed).integers(0, high, shape, dtype=np.uint8)


# --- CIFAR-10


def cifar_folders(directory):
    for label, name in enumerate(CLASSES):
        for number in range(2):
            save(directory / "cifar10" / "test" / name / f"{number}.png", noise((32, 32, 3), 10 * label + number))


def cifar_batches(directory, images, labels):
    folder = directory / "cifar-10-batches-py"
    folder.mkdir(parents=True, exist_ok=True)
    data = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    with (folder / "test_batch").open("wb") as file:
        pickle.dump(
            {b"data": data, b"labels": [int(label) for label in labels], b"batch_label": b"testing"}, file, protocol=2
        )
    return folder


def test_both_cifar_layouts_give_the_same_samples(tmp_path):
    """Folders of images and the original batches: same inputs, same labels, normalised as in the notes."""
    cifar_folders(tmp_path / "folders")
    first = Classification().testing(tmp_path / "folders")
    pixels = np.stack([noise((32, 32, 3), 10 * label + number) for label in range(10) for number in range(2)])
    cifar_batches(tmp_path / "batches", pixels, np.repeat(np.arange(10), 2))
    second = Classification().testing(tmp_path / "batches")
    every = np.arange(20)
    for one, two in zip(first.batch(every), second.batch(every), strict=True):
        np.testing.assert_array_equal(one, two)
    inputs, labels = first.batch(every)
    assert labels.tolist() == np.repeat(np.arange(10), 2).tolist()
    assert inputs.dtype == np.float32
    np.testing.assert_allclose(inputs.transpose(0, 2, 3, 1), (pixels / 255 - MEAN) / DEVIATION, atol=1e-5)


def test_augmented_images_are_shifted_or_mirrored_originals(tmp_path):
    """Each augmented image is one of the 81 crops of the padded image, or its mirror image; labels stay."""
    cifar_folders(tmp_path)
    samples = Classification().testing(tmp_path)
    rng = np.random.default_rng(0)
    plain, labels = samples.batch(np.arange(20))
    augmented, same = samples.batch(np.arange(20), rng)
    assert same.tolist() == labels.tolist()
    black = (-MEAN / DEVIATION)[:, None, None]
    mirrored = 0
    for image, original in zip(augmented, plain, strict=True):
        wide = np.broadcast_to(black, (3, 40, 40)).copy()
        wide[:, 4:36, 4:36] = original
        crops = np.lib.stride_tricks.sliding_window_view(wide, (32, 32), (1, 2))  # (3, 9, 9, 32, 32)
        straight = np.abs(crops - image[:, None, None]).max((0, 3, 4)).min()
        flipped = np.abs(crops - image[:, None, None, :, ::-1]).max((0, 3, 4)).min()
        assert min(straight, flipped) < 1e-5
        mirrored += flipped < straight
    assert 2 < mirrored < 18


def test_pickles_that_ask_for_code_are_refused(tmp_path):
    """A batch that names a function is damaged data, and the function is not called."""

    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "was here",))

    folder = cifar_batches(tmp_path, noise((2, 32, 32, 3)), [0, 1])
    (folder / "test_batch").write_bytes(pickle.dumps({b"data": Evil(), b"labels": [0]}))
    with pytest.raises(UnreadableData, match="it asks for"):
        Classification().testing(tmp_path)
    assert not (tmp_path / "was here").exists()


@pytest.mark.parametrize(
    ("labels", "shape", "message"),
    [
        ([0, 10], (2, 32, 32, 3), "labels from 0 to 10"),
        ([0], (2, 32, 32, 3), "not uint8"),
        ([0], (1, 8, 8, 3), "not uint8"),
    ],
    ids=["label out of range", "fewer labels", "other size"],
)
def test_batches_that_do_not_fit_are_refused(tmp_path, labels, shape, message):
    """Labels out of range, missing labels, pixels of another size."""
    cifar_batches(tmp_path, noise(shape), labels)
    with pytest.raises(UnreadableData, match=message):
        Classification().testing(tmp_path)


def test_damaged_class_folders_are_named(tmp_path):
    """A missing class folder, a corrupt image, an image of another size: each names the culprit."""
    cifar_folders(tmp_path)
    folder = tmp_path / "cifar10" / "test"
    corrupt = folder / "cat" / "9.png"
    corrupt.write_bytes((folder / "cat" / "0.png").read_bytes()[:200])
    with pytest.raises(UnreadableData, match=r"cat/9\.png is not a readable image"):
        Classification().testing(tmp_path)
    corrupt.unlink()
    save(folder / "dog" / "9.png", noise((16, 32, 3)))
    with pytest.raises(UnreadableData, match=r"dog/9\.png is 32×16, not 32×32"):
        Classification().testing(tmp_path)
    (folder / "dog" / "9.png").unlink()
    for image in (folder / "frog").iterdir():
        image.unlink()
    (folder / "frog").rmdir()
    with pytest.raises(MissingData, match="lacks the class folders frog"):
        Classification().testing(tmp_path)


@pytest.mark.parametrize("name", task_names())
def test_missing_data_says_where_it_was_looked_for(name, tmp_path):
    """The message lists the places and where to get the data, for every task."""
    with pytest.raises(MissingData, match="get it from https://") as caught:
        find_task(name).training(tmp_path)
    assert str(tmp_path) in str(caught.value)
    with pytest.raises(MissingData):
        find_task(name).training(tmp_path / "absent")


# --- Cityscapes


def cityscapes(directory, split="train", count=2, size=(40, 60)):
    rng = np.random.default_rng(1)
    for number in range(count):
        labels = rng.integers(0, 34, size, dtype=np.uint8)
        name = f"bonn_{number:06}_000019"
        save(directory / "leftImg8bit" / split / "bonn" / f"{name}_leftImg8bit.png", noise((*size, 3), number))
        save(directory / "gtFine" / split / "bonn" / f"{name}_gtFine_labelIds.png", labels)
    return directory


def test_label_ids_become_train_ids():
    """The nineteen evaluated labels become 0 to 18 in order; all others are ignored."""
    found = train_ids(np.arange(34))
    assert [found[label] for label in LABEL_IDS] == list(range(19))
    assert (np.delete(found, LABEL_IDS) == IGNORED).all()
    assert train_ids(np.array([255])).tolist() == [IGNORED]
    with pytest.raises(UnreadableData, match="holds label 77"):
        train_ids(np.array([[7, 77]]))


def test_scenes_and_crops(tmp_path):
    """Whole scenes to measure on, square crops to train on, padded with ignored pixels where scenes are small."""
    samples = Segmentation(crop=48).training(cityscapes(tmp_path))
    inputs, labels = samples.batch(np.array([1]))
    assert (inputs.shape, labels.shape) == ((1, 3, 40, 60), (1, 40, 60))
    assert not samples.uniform
    inputs, labels = samples.batch(np.array([0, 1]), np.random.default_rng(0))
    assert (inputs.shape, labels.shape) == ((2, 3, 48, 48), (2, 48, 48))
    assert set(np.unique(labels)) <= {IGNORED, *range(19)}
    assert (labels >= 0).any()
    again = samples.batch(np.array([0, 1]), np.random.default_rng(0))
    np.testing.assert_array_equal(inputs, again[0])
    np.testing.assert_array_equal(labels, again[1])


def test_label_maps_become_colours(tmp_path):
    """Image translation reads Cityscapes' colours from −1 to 1, and pairs stay aligned when cropped and mirrored."""
    directory = cityscapes(tmp_path, size=(64, 64))
    samples = ImageTranslation(side=64).training(directory)
    inputs, targets = samples.batch(np.array([0]))
    assert inputs.shape == targets.shape == (1, 3, 64, 64)
    labels = np.asarray(Image.open(sorted(directory.glob("gtFine/*/*/*.png"))[0]))
    np.testing.assert_allclose((inputs[0].transpose(1, 2, 0) + 1) * 127.5, PALETTE[labels], atol=1e-3)
    save(sorted(directory.glob("leftImg8bit/*/*/*.png"))[0], PALETTE[labels])
    inputs, targets = ImageTranslation(side=64).training(directory).batch(np.array([0, 0]), np.random.default_rng(2))
    middles = np.abs(inputs - targets)
    assert np.median(middles) < 0.35, "a photograph equal to its label map stays so, up to interpolation"


def test_damaged_scenes_are_named(tmp_path):
    """Labels that are missing, of another size, or out of range."""
    directory = cityscapes(tmp_path)
    labels = sorted(directory.glob("gtFine/*/*/*.png"))
    save(labels[0], noise((20, 20), high=30))
    for task in (Segmentation(), ImageTranslation()):
        with pytest.raises(UnreadableData, match="is 20×20, but its photograph is 60×40"):
            task.training(directory).batch(np.array([0]))
    save(labels[0], np.full((40, 60), 99, np.uint8))
    for task in (Segmentation(), ImageTranslation()):
        with pytest.raises(UnreadableData, match="holds label 99"):
            task.training(directory).batch(np.array([0]))
    labels[1].unlink()
    with pytest.raises(MissingData, match="has no labels"):
        Segmentation().training(directory)


# --- DIV2K


def div2k(directory, low=True):
    for number, size in enumerate([(40, 60), (51, 45)]):
        high = noise((*size, 3), number)
        save(directory / "DIV2K_train_HR" / f"{number:04}.png", high)
        if low:
            even = high[: size[0] // 2 * 2, : size[1] // 2 * 2]
            small = bicubic(even, (size[0] // 2, size[1] // 2))
            save(directory / "DIV2K_train_LR_bicubic" / "X2" / f"{number:04}x2.png", small)
    return directory


def test_low_resolution_is_made_where_it_is_absent(tmp_path):
    """With or without LR files, the samples are the same."""
    task = SuperResolution(crop=8)
    one, two = task.training(div2k(tmp_path / "a")), task.training(div2k(tmp_path / "b", low=False))
    for number in range(2):
        for first, second in zip(one.batch(np.array([number])), two.batch(np.array([number])), strict=True):
            np.testing.assert_array_equal(first, second)
    low, high = one.batch(np.array([1]))
    assert (low.shape, high.shape) == ((1, 3, 25, 22), (1, 3, 50, 44))
    assert not (tmp_path / "b" / "DIV2K_train_LR_bicubic").exists()


def test_patches_are_aligned(tmp_path):
    """Low- and high-resolution patches show the same place however they were turned."""
    for number in range(2):
        ramp = np.add.outer(np.arange(64) * 2, np.arange(64)).astype(np.uint8)
        save(tmp_path / "DIV2K_train_HR" / f"{number:04}.png", np.stack([ramp] * 3, -1))
    samples = SuperResolution(crop=12).training(tmp_path)
    low, high = samples.batch(np.zeros(30, int), np.random.default_rng(0))
    assert (low.shape, high.shape) == ((30, 3, 12, 12), (30, 3, 24, 24))
    averaged = high.reshape(30, 3, 12, 2, 12, 2).mean((3, 5))
    assert np.abs(averaged - low)[:, :, 1:-1, 1:-1].max() < 3 / 255


def test_damaged_pairs_are_named(tmp_path):
    """Low resolution of another size, images too small for a patch, empty folders."""
    directory = div2k(tmp_path)
    with pytest.raises(UnreadableData, match="too small for patches of 32×32"):
        SuperResolution().training(directory).batch(np.array([0]), np.random.default_rng(0))
    save(directory / "DIV2K_train_LR_bicubic" / "X2" / "0000x2.png", noise((9, 9, 3)))
    with pytest.raises(UnreadableData, match=r"0000x2\.png is 9×9, not 30×20"):
        SuperResolution().training(directory).batch(np.array([0]))
    (directory / "DIV2K_valid_HR").mkdir()
    with pytest.raises(MissingData, match="has no images"):
        SuperResolution().testing(directory)


# --- images and samples of one's own


def test_images_too_large_are_refused(tmp_path, monkeypatch):
    """The size is looked at before pixels are decoded."""
    monkeypatch.setattr("onnxnnw.images.MAX_PIXELS", 100)
    save(tmp_path / "big.png", noise((11, 10, 3)))
    with pytest.raises(UnreadableData, match="is 10×11; images above"):
        open_image(tmp_path / "big.png")


def test_cache_forgets_the_oldest(tmp_path):
    """Within its bound a cache opens a file once; beyond it, the longest unused goes."""
    for number in range(3):
        save(tmp_path / f"{number}.png", noise((10, 10, 3), number))
    cache = ImageCache(limit=600)
    first = cache.open(tmp_path / "0.png")
    assert cache.open(tmp_path / "0.png") is first
    cache.open(tmp_path / "1.png")
    cache.open(tmp_path / "2.png")
    assert cache.open(tmp_path / "0.png") is not first


def test_own_samples_from_npz_and_folder(tmp_path):
    """An .npz and a folder of arrays hold the same samples; images become arrays."""
    inputs, targets = np.random.default_rng(0).random((4, 3, 8, 8)).astype(np.float32), np.arange(4)
    np.savez(tmp_path / "own.npz", inputs=inputs, targets=targets)
    for kind, arrays in (("inputs", inputs), ("targets", targets)):
        (tmp_path / "own" / kind).mkdir(parents=True)
        for number, array in enumerate(arrays):
            np.save(tmp_path / "own" / kind / f"{number}.npy", array)
    for path in (tmp_path / "own.npz", tmp_path / "own"):
        found = own_samples(path).batch(np.arange(4))
        np.testing.assert_array_equal(found[0], inputs)
        np.testing.assert_array_equal(found[1], targets)
    save(tmp_path / "pictures" / "inputs" / "a.png", noise((6, 5, 3)))
    save(tmp_path / "pictures" / "targets" / "a.png", noise((6, 5), high=9))
    picture, labels = own_samples(tmp_path / "pictures").batch(np.arange(1))
    np.testing.assert_allclose(picture[0], noise((6, 5, 3)).transpose(2, 0, 1) / 255, atol=1e-6)
    np.testing.assert_array_equal(labels[0], noise((6, 5), high=9))


def test_own_samples_that_do_not_fit_are_refused(tmp_path):
    """Each kind of misfit has its message."""
    path = tmp_path / "own.npz"
    with pytest.raises(MissingData, match="neither a file nor a folder"):
        own_samples(path)
    path.write_bytes(b"PK not really")
    with pytest.raises(UnreadableData, match=r"not a readable \.npz"):
        own_samples(path)
    np.savez(path, inputs=np.zeros((2, 3)))
    with pytest.raises(MissingData, match="must hold the arrays inputs and targets; it holds inputs"):
        own_samples(path)
    np.savez(path, inputs=np.zeros((2, 3)), targets=np.zeros(3))
    with pytest.raises(UnreadableData, match="2 inputs but 3 targets"):
        own_samples(path)
    np.savez(path, inputs=np.zeros((0, 3)), targets=np.zeros(0))
    with pytest.raises(UnreadableData, match="there are no inputs"):
        own_samples(path)
    np.savez(path, inputs=np.array([{}]), targets=np.zeros(1))
    with pytest.raises(UnreadableData, match=r"not a readable \.npz"):
        own_samples(path)
    (tmp_path / "own" / "inputs").mkdir(parents=True)
    with pytest.raises(MissingData, match="lacks the folder targets/"):
        own_samples(tmp_path / "own")
    (tmp_path / "own" / "targets").mkdir()
    np.save(tmp_path / "own" / "inputs" / "a.npy", np.zeros(3))
    with pytest.raises(UnreadableData, match="a is in one of inputs/ and targets/"):
        own_samples(tmp_path / "own")


def test_importing_tasks_is_light():
    """Listing tasks imports neither torch nor onnxruntime nor scikit-image nor scipy."""
    import subprocess
    import sys

    heavy = "torch onnxruntime skimage scipy matplotlib PIL".split()
    script = (
        "import sys, onnxnnw.tasks.base as b, onnxnnw.training.cards as c, onnxnnw.training.networks as n\n"
        "[b.find_task(t).metrics for t in b.task_names()]; n.network_names(); c.card_names()\n"
        f"print([m for m in {heavy} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# --- the real stand-ins


@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_dir(), reason="../shared/data is absent")
def test_real_layouts_are_read(tmp_path):
    """The stand-ins of the public data sets unpack into layouts that the loaders read unchanged."""
    import zipfile

    for name in ("camvid-cityscapes", "sr-div2k"):
        zipfile.ZipFile(REAL / f"{name}.zip").extractall(tmp_path)
    scenes = Segmentation().testing(tmp_path)
    assert len(scenes) == 101
    labels = np.concatenate([scenes.batch(np.array([index]))[1].ravel() for index in range(0, 101, 10)])
    assert set(np.unique(labels)) <= {IGNORED, *range(19)}
    pairs = SuperResolution().samples(tmp_path, "Set5")
    assert len(pairs) == 5

    def enlarge(low):
        image = np.rint(low[0].transpose(1, 2, 0) * 255).astype(np.uint8)
        big = bicubic(image, (2 * image.shape[0], 2 * image.shape[1]))
        return big.transpose(2, 0, 1)[None] / 255

    from onnxnnw.tasks.base import evaluate

    found = evaluate(enlarge, pairs, SuperResolution().metrics).values
    assert found["psnr-y"] == pytest.approx(33.66, abs=0.1)  # the published figure of bicubic enlargement on Set5
