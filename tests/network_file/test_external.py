"""External data: a regular file below the model's folder, wherever links lead inside it, and nothing else.

The public advisories about onnx's own handling are cases here; docs/reference/security.md says what each is about.
"""

import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto

from onnxnnw.enrolment.enrol import embed, fingerprint
from onnxnnw.errors import FileChanged, UnreadableExternalData, UnreadableNetwork
from onnxnnw.graph.slot import Slot
from onnxnnw.graph.slots import find_slots
from onnxnnw.modifications.base import apply
from onnxnnw.modifications.gaussian_noise import GaussianNoise
from onnxnnw.network_file.file import open_network
from onnxnnw.network_file.source import KEPT_OPEN
from onnxnnw.records.record_file import load_record
from onnxnnw.verification.verify import verify
from tests.support.networks import dense, externalise, point_outside, save


def slots_of(path: Path) -> list[Slot]:
    """All slots; the network stays open."""
    return find_slots(open_network(path)).slots


def pointing(location: str, tmp_path: Path, offset: int | str | None = 0, length: int | str | None = None) -> Path:
    """A network in its own folder whose first weight lies at ``location``."""
    folder = tmp_path / "model"
    folder.mkdir(exist_ok=True)
    model = dense()
    point_outside(model.graph.initializer[0], location, offset, length)  # type: ignore[arg-type]
    return save(model, folder / "m.onnx")


def secret(tmp_path: Path) -> Path:
    """A file outside the model's folder, large enough for the weight."""
    path = tmp_path / "secret"
    path.write_bytes(bytes(48 * 48 * 4))
    return path


def refused(path: Path, match: str) -> None:
    """Refused by name, and without a byte of the other file in the message."""
    with pytest.raises(UnreadableExternalData, match=match) as caught:
        slots_of(path)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "location",
    [
        "../secret",
        "../../secret",
        "a/../../secret",
        "./../secret",
        "model/../../secret",
        "..\\secret",
        "a\\..\\..\\secret",
    ],
)
def test_cve_2022_25882_and_2024_27318_paths_with_dots_are_refused(tmp_path: Path, location: str) -> None:
    """``..`` anywhere in a location, first or nested, with either slash [CVE-2022-25882, CVE-2024-27318]."""
    secret(tmp_path)
    refused(pointing(location, tmp_path), "not a relative path")


@pytest.mark.parametrize("form", ["{}", "/{}", "\\{}", "C:{}", "C:\\{}", "file:{}", "", "a\0b"])
def test_absolute_and_empty_locations_are_refused(tmp_path: Path, form: str) -> None:
    """Absolute on any system, a drive, an address, nothing."""
    refused(pointing(form.format(secret(tmp_path)), tmp_path), "not a relative path")


def test_cve_2026_34447_a_symbolic_link_outside_is_refused(tmp_path: Path) -> None:
    """The last component is a link that leaves the folder [CVE-2026-34447, CVE-2026-27489]."""
    path = pointing("w.bin", tmp_path)
    (path.parent / "w.bin").symlink_to(secret(tmp_path))
    refused(path, "outside the model's folder")


def test_cve_2026_27489_a_linked_folder_outside_is_refused(tmp_path: Path) -> None:
    """A folder on the way is the link; the file itself is none [CVE-2026-27489]."""
    path = pointing("data/secret", tmp_path)
    secret(tmp_path)
    (path.parent / "data").symlink_to(tmp_path, target_is_directory=True)
    refused(path, "outside the model's folder")


def test_an_empty_folder_name_is_no_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model named without a folder is in the current one; links to the root stay refused."""
    path = pointing(f"root{secret(tmp_path)}", tmp_path)
    (path.parent / "root").symlink_to("/", target_is_directory=True)
    monkeypatch.chdir(path.parent)
    refused(Path(path.name), "outside the model's folder")


def test_chains_and_loops_of_links_end(tmp_path: Path) -> None:
    """A link to itself leads nowhere; a chain is followed to its end, which counts."""
    path = pointing("a", tmp_path)
    (path.parent / "a").symlink_to("b")
    (path.parent / "b").symlink_to("a")
    refused(path, "leads to nothing")
    (path.parent / "b").unlink()
    (path.parent / "b").symlink_to(secret(tmp_path))
    refused(path, "outside the model's folder")


def test_links_inside_the_folder_are_allowed(tmp_path: Path) -> None:
    """Symbolic and hard links are how package managers and caches store files."""
    content = np.arange(48 * 48, dtype="<f4").tobytes()
    path = pointing("w.bin", tmp_path)
    (path.parent / "blob").write_bytes(content)
    (path.parent / "w.bin").symlink_to("blob")
    assert slots_of(path)[0].values(np.array([7, 48]))[1] == 1.0
    (path.parent / "w.bin").unlink()
    os.link(path.parent / "blob", path.parent / "w.bin")
    assert slots_of(path)[0].tensor.source is not None


def test_cve_2026_34446_a_hard_link_is_an_ordinary_file(tmp_path: Path) -> None:
    """A hard link is the file itself: whoever made it could have copied it [CVE-2026-34446, see docs]."""
    path = pointing("w.bin", tmp_path)
    os.link(secret(tmp_path), path.parent / "w.bin")
    assert slots_of(path)[0].array().shape == (48, 48)


def test_the_layout_of_the_hugging_face_cache_is_allowed(tmp_path: Path) -> None:
    """snapshots/REVISION/model.onnx and its data are links into blobs/."""
    model = dense()
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "abc"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    content = model.graph.initializer[0].raw_data
    (blobs / "d1").write_bytes(content)
    point_outside(model.graph.initializer[0], "model.onnx.data", 0, len(content))
    save(model, blobs / "d2")
    (snapshot / "model.onnx").symlink_to("../../blobs/d2")
    (snapshot / "model.onnx.data").symlink_to("../../blobs/d1")
    slot = slots_of(snapshot / "model.onnx")[0]
    assert slot.constant.stored()[0].array().tobytes() == content


def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    """Nobody will ever write into it."""
    path = pointing("w.bin", tmp_path)
    os.mkfifo(path.parent / "w.bin")
    refused(path, "not a regular file")


def test_a_model_that_is_a_pipe_a_device_or_a_folder_is_refused(tmp_path: Path) -> None:
    """The model itself is a regular file, too."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path, tmp_path / "missing", tmp_path / ("n" * 300)):
        with pytest.raises(UnreadableNetwork, match=r"regular file|cannot be opened"):
            open_network(path)


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/stdin", "/dev/tty"])
def test_a_device_is_refused(tmp_path: Path, device: str) -> None:
    """Reached by a link, for a device cannot be made without rights."""
    path = pointing("w.bin", tmp_path)
    (path.parent / "w.bin").symlink_to(device)
    refused(path, "outside the model's folder|leads to nothing")


def test_a_folder_or_nothing_is_refused(tmp_path: Path) -> None:
    """A folder is no file, and a missing file is missing."""
    path = pointing("w.bin", tmp_path)
    refused(path, "leads to nothing")
    (path.parent / "w.bin").mkdir()
    refused(path, "not a regular file")
    refused(pointing(".", tmp_path), "not a regular file")


def test_the_model_is_not_its_own_external_data(tmp_path: Path) -> None:
    """Changing a weight there would change the model's own structure."""
    path = pointing("m.onnx", tmp_path)
    refused(path, "itself")
    os.link(path, path.parent / "again")
    model = ModelProto.FromString(path.read_bytes())
    model.graph.initializer[0].external_data[0].value = "again"
    path.write_bytes(model.SerializeToString())  # the same inode
    refused(path, "itself")


@pytest.mark.parametrize("missing", [1, 4, 48 * 48 * 4])
def test_a_file_that_is_too_short_is_refused(tmp_path: Path, missing: int) -> None:
    """Offset and length lie within the file."""
    path = pointing("w.bin", tmp_path)
    (path.parent / "w.bin").write_bytes(bytes(48 * 48 * 4 - missing))
    refused(path, "ends at byte")


@pytest.mark.parametrize(
    ("offset", "length"),
    [(-1, None), ("-0", None), ("1e3", None), ("0x10", None), (" 4", None), ("٣", None), ("9" * 30, None),
     (2**63, None), (0, -1), (0, 9215), (0, 9217), (0, 2**63 - 1), (0, "many"), (1, 9216)],
)  # fmt: skip
def test_nonsense_offsets_and_lengths_are_refused(tmp_path: Path, offset: object, length: object) -> None:
    """Non-negative decimal numbers that agree with shape and file, or nothing."""
    path = pointing("w.bin", tmp_path, offset, length)  # type: ignore[arg-type]
    (path.parent / "w.bin").write_bytes(bytes(48 * 48 * 4))
    refused(path, "no non-negative integer|external length|ends at byte")


@pytest.mark.parametrize("key", ["location", "offset", "length", "unknown"])
def test_a_key_given_twice_is_refused(tmp_path: Path, key: str) -> None:
    """The first or the last?"""
    path = pointing("w.bin", tmp_path, 0, 9216)
    (path.parent / "w.bin").write_bytes(bytes(48 * 48 * 4))
    model = ModelProto.FromString(path.read_bytes())
    entries = model.graph.initializer[0].external_data
    entries.add(key=key, value="0")
    entries.add(key=key, value="0")
    with pytest.raises(UnreadableNetwork, match="twice"):
        slots_of(save(model, path))


@pytest.mark.parametrize("key", ["basepath", "__class__", "__dict__", "tensor", "onnxnnw-0", "size", "\x1b[31m", ""])
def test_cve_2026_34445_other_keys_have_no_effect(tmp_path: Path, key: str) -> None:
    """Keys of an entry never become attributes of anything [CVE-2026-34445]."""
    path = pointing("w.bin", tmp_path, 0, 9216)
    content = np.random.default_rng(0).normal(size=48 * 48).astype("<f4").tobytes()
    (path.parent / "w.bin").write_bytes(content)
    model = ModelProto.FromString(path.read_bytes())
    model.graph.initializer[0].external_data.add(key=key, value="9" * 18)
    with open_network(save(model, path)) as network:
        assert find_slots(network).slots[0].tensor.array().tobytes() == content


def test_the_marker_of_the_cutter_cannot_be_forged(tmp_path: Path) -> None:
    """A file that holds another opening's marker is read as if it did not."""
    with open_network(save(dense(), tmp_path / "a.onnx")) as network:
        key = network._key
    model = dense()
    model.graph.initializer[0].external_data.add(key=key, value="0")
    with open_network(save(model, tmp_path / "b.onnx")) as network:
        assert network._key != key
        assert find_slots(network).slots[0].tensor.array().tobytes() == model.graph.initializer[0].raw_data


def test_cve_2025_51480_nothing_is_written_where_a_location_points(tmp_path: Path) -> None:
    """Output goes beside the output under a name of ours; locations of the input are only read [CVE-2025-51480]."""
    source = tmp_path / "in"
    source.mkdir()
    model = externalise(dense(), source, "m.onnx", lambda name: "sub/weights.bin" if name[0] == "w" else None)
    before = {path: path.read_bytes() for path in source.rglob("*") if path.is_file()}
    out = tmp_path / "out"
    out.mkdir()
    embed(model, out / "marked.onnx", out / "record", positions=128)
    assert {path: path.read_bytes() for path in source.rglob("*") if path.is_file()} == before
    assert sorted(p.name for p in out.iterdir()) == ["marked.onnx", "marked.onnx.data", "record"]


def test_cve_2025_51480_embedding_refuses_a_location_outside(tmp_path: Path) -> None:
    """And leaves nothing behind [CVE-2025-51480]."""
    target = secret(tmp_path)
    path = pointing("../secret", tmp_path)
    with pytest.raises(UnreadableExternalData):
        embed(path, tmp_path / "out.onnx", tmp_path / "record")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model", "secret"]
    assert target.read_bytes() == bytes(48 * 48 * 4)


def test_cve_2024_5187_archives_are_never_unpacked(tmp_path: Path) -> None:
    """A tar or zip file is no ONNX network; nothing here downloads or unpacks anything [CVE-2024-5187]."""
    import tarfile
    import zipfile

    inner = save(dense(), tmp_path / "m.onnx")
    with tarfile.open(tmp_path / "m.tar", "w") as archive:
        archive.add(inner, "../../evil.onnx")
    with zipfile.ZipFile(tmp_path / "m.zip", "w") as archive:
        archive.write(inner, "../../evil.onnx")
    for name in ("m.tar", "m.zip"):
        with pytest.raises(UnreadableNetwork):
            open_network(tmp_path / name)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.onnx", "m.tar", "m.zip"]


def test_cve_2026_34446_class_a_file_exchanged_after_the_check_is_noticed(tmp_path: Path) -> None:
    """What was opened is what was checked; a path that leads elsewhere afterwards is an error."""
    path = pointing("w.bin", tmp_path)
    (path.parent / "w.bin").write_bytes(bytes(48 * 48 * 4))
    with open_network(path) as network:
        find_slots(network)
        (path.parent / "w.bin").unlink()
        (path.parent / "w.bin").symlink_to(secret(tmp_path))
        with pytest.raises(UnreadableNetwork, match="changed"):
            network.check_unchanged()


def test_overlapping_extents_carry_no_mark(tmp_path: Path) -> None:
    """Bytes that belong to two weights cannot hold two marks; the same bytes under two names are one slot."""
    model = dense(layers=4, width=48)
    size = 48 * 48 * 4
    for number, offset in ((0, 0), (2, 64), (4, 2 * size), (6, 2 * size)):  # w0 and w1 overlap, w2 and w3 coincide
        point_outside(model.graph.initializer[number], "w.bin", offset, size)
    (tmp_path / "w.bin").write_bytes(np.random.default_rng(0).normal(size=3 * 48 * 48).astype("<f4").tobytes())
    path = save(model, tmp_path / "m.onnx")
    slots = slots_of(path)
    assert [(slot.name, slot.shared) for slot in slots] == [("w0", True), ("w1", True), ("w2", False)]
    enrolment = embed(path, tmp_path / "out.onnx", tmp_path / "record", positions=64)
    assert [entry.name for entry in enrolment.record.slots if entry.eligible] == ["w2"]


def test_control_characters_in_a_location_are_not_printed(tmp_path: Path) -> None:
    """An error message is no terminal escape."""
    path = pointing("a\x1b[2J\u202e\n.bin", tmp_path)
    refused(path, "leads to nothing")
    os.mkfifo(path.parent / "a\x1b[2J\u202e\n.bin")
    refused(path, "regular file")


MANY = 300


@pytest.fixture(scope="module")
def one_file_each(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network with more external files than a process may open, macOS' default being 256."""
    folder = tmp_path_factory.mktemp("many")
    return externalise(dense(layers=MANY, width=16), folder, "m.onnx", lambda name: f"{name}.bin")


@pytest.fixture
def few_descriptors() -> Iterator[None]:
    """As many descriptors as macOS gives."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.slow
@pytest.mark.usefixtures("few_descriptors")
def test_more_files_than_descriptors_are_read_and_marked(tmp_path: Path, one_file_each: Path) -> None:
    """Fingerprinted, marked, modified and verified; the mark lies in one file beside the output."""
    fingerprint(one_file_each, tmp_path / "fingerprint")
    embed(one_file_each, tmp_path / "marked.onnx", tmp_path / "record")
    apply(GaussianNoise(0.01), tmp_path / "marked.onnx", tmp_path / "noisy.onnx", 0)
    apply(GaussianNoise(0.01), one_file_each, tmp_path / "other.onnx", 0)
    mark, trace = load_record(tmp_path / "record"), load_record(tmp_path / "fingerprint")
    assert verify(one_file_each, [trace], full=True)[0].decision == "identical"
    assert verify(tmp_path / "marked.onnx", [mark], full=True)[0].decision == "identical"
    assert verify(tmp_path / "noisy.onnx", [mark])[0].decision == "traced"
    assert verify(tmp_path / "other.onnx", [trace])[0].decision == "traced"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ["fingerprint", "record", *(f"{n}.onnx{end}" for n in ("marked", "noisy", "other") for end in ("", ".data"))]
    )


def test_few_files_stay_open_and_all_are_closed(one_file_each: Path) -> None:
    """However many there are, whoever reads them at once."""
    before = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").is_dir() else 0
    with open_network(one_file_each) as network:
        tensors = [network.tensor(proto) for proto in network.model.graph.initializer]
        with ThreadPoolExecutor(8) as pool:
            for _ in range(3):
                read = list(pool.map(lambda tensor: tensor.array().tobytes(), tensors))
        assert read == [(one_file_each.parent / f"{tensor.name}.bin").read_bytes() for tensor in tensors]
        if before:
            assert len(list(Path("/proc/self/fd").iterdir())) <= before + KEPT_OPEN
    if before:
        assert len(list(Path("/proc/self/fd").iterdir())) <= before
    with pytest.raises(ValueError, match="closed"):
        tensors[0].array()


@pytest.mark.parametrize("changed", ["another file", "another time", "a pipe", "nothing", "a link"])
def test_a_file_that_is_opened_again_is_still_the_same(tmp_path: Path, one_file_each: Path, changed: str) -> None:
    """What took the place of a closed file is not read, even where it has its size and time."""
    shutil.copytree(one_file_each.parent, tmp_path / "m")
    path = tmp_path / "m" / "m.onnx"
    first = tmp_path / "m" / "w0.bin"
    with open_network(path) as network:
        tensors = [network.tensor(proto) for proto in network.model.graph.initializer]
        network.check_unchanged()
        tensors[0].array()
        for tensor in tensors[1:]:
            tensor.array()
        status = first.stat()
        if changed == "another time":
            os.utime(first, ns=(1, 1))
        else:
            first.rename(tmp_path / "away")
        if changed == "another file":
            first.write_bytes((tmp_path / "away").read_bytes())
            os.utime(first, ns=(status.st_atime_ns, status.st_mtime_ns))
        elif changed == "a pipe":
            os.mkfifo(first)
        elif changed == "a link":
            first.symlink_to(tmp_path / "away")
            assert tensors[0].array().tobytes() == first.read_bytes()  # the very same file, by another way
            return
        with pytest.raises(FileChanged, match=r"w0\.bin"):
            tensors[0].array()
        with pytest.raises(FileChanged, match=r"w0\.bin"):
            network.check_unchanged()
