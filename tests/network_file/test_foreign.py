"""Files that are no ONNX network are named, with what to do; networks are read whatever they begin with."""

import bz2
import gzip
import io
import lzma
import pickle
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from onnxnnw.errors import UnreadableNetwork
from onnxnnw.network_file.file import open_network
from tests.support.networks import dense, field, save


def archive(names: Sequence[str]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for name in names:
            file.writestr(name, b"content" * 50)
    return out.getvalue()


def array_file(save_array: Callable[..., None]) -> bytes:
    out = io.BytesIO()
    save_array(out, np.zeros((3, 3)))
    return out.getvalue()


def checkpoint(**options: bool) -> bytes:
    torch = pytest.importorskip("torch")
    out = io.BytesIO()
    torch.save({"a": torch.zeros(100)}, out, **options)
    return out.getvalue()


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
OTHERS: dict[str, tuple[Callable[[], bytes], str]] = {
    "LFS": (lambda: POINTER, "a pointer of Git LFS.*git lfs pull"),
    "zip": (lambda: archive(["a.txt"]), "a zip archive; unpack it"),
    "zip with networks": (lambda: archive(["m/model.onnx", "a"]), "a zip archive.*inside is m/model.onnx"),
    "empty zip": (lambda: archive([]), "a zip archive"),
    "npz": (lambda: array_file(np.savez), r"NumPy arrays \(\.npz\)"),
    "npy": (lambda: array_file(np.save), "a NumPy array"),
    "gzip": (lambda: gzip.compress(dense().SerializeToString()), "compressed with gzip.*gzip -d"),
    "bzip2": (lambda: bz2.compress(b"a" * 100), "compressed with bzip2"),
    "xz": (lambda: lzma.compress(b"a" * 100), "compressed with xz"),
    "torch": (checkpoint, "a PyTorch checkpoint.*torch.onnx.export"),
    "torch, legacy": (lambda: checkpoint(_use_new_zipfile_serialization=False), "a PyTorch checkpoint"),
    "pickle": (lambda: pickle.dumps({"a": [1, 2]}), "a Python pickle"),
    "TFLite": (lambda: b"\x1c\0\0\0TFL3" + bytes(100), "a TensorFlow Lite network"),
    "HDF5": (lambda: b"\x89HDF\r\n\x1a\n" + bytes(100), "an HDF5 file"),
    "HTML": (lambda: b"\n<!DOCTYPE html>\n<html><head>", r"a web page \(HTML\)"),
    "HTML, commented": (lambda: b"<!-- a --><!-- b -->\n<HTML lang=en>", r"a web page \(HTML\)"),
    "JSON": (lambda: b'{\n  "model_type": "bert"\n}', "a JSON document"),
    "JSON list": (lambda: b"[1, 2]", "a JSON document"),
    "OpenVINO": (lambda: b'<?xml version="1.0"?>\n<net name="m" version="11">', "the graph of an OpenVINO network"),
    "XML": (lambda: b'<?xml version="1.0"?><Error/>', "an XML document"),
    "text": (lambda: b"Entry not found", "a text that begins with 'Entry not found'"),
    "text elsewhere": (lambda: "Hé, größer".encode() * 1000, "a text that begins with"),
    "nothing": (lambda: b"", "empty"),
    "record": (lambda: b'{"bound":{"format":1}}', "a record of onnxnnw"),
}


@pytest.mark.parametrize("kind", OTHERS)
@pytest.mark.parametrize("for_writing", [False, True])
def test_other_files_are_named(tmp_path: Path, kind: str, for_writing: bool) -> None:
    """What it is, and what to do; in one sentence that begins with its path."""
    content, match = OTHERS[kind]
    path = tmp_path / "m.onnx"
    path.write_bytes(content())
    with pytest.raises(UnreadableNetwork, match=f"m.onnx: is {match}") as caught:
        open_network(path, for_writing=for_writing)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("kind", OTHERS)
def test_the_first_bytes_alone_refuse_nothing(tmp_path: Path, kind: str) -> None:
    """A network that begins like something else, in a field that nobody knows, is a network."""
    content = field(500, OTHERS[kind][0]()) + dense().SerializeToString()
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    open_network(path).close()


def test_comments_without_end_cost_no_time(tmp_path: Path) -> None:
    """A text that looks like the beginning of a page over and over."""
    path = tmp_path / "m.onnx"
    path.write_bytes(b"<!---->" * 5000 + b"<?xml" * 5000)
    with pytest.raises(UnreadableNetwork):
        open_network(path)


def test_a_folder_says_which_networks_are_inside(tmp_path: Path) -> None:
    """In it, or in one of its folders, as repositories of networks have them."""
    (tmp_path / "a" / "onnx").mkdir(parents=True)
    with pytest.raises(UnreadableNetwork, match=r"a: is not a regular file but a folder; no \.onnx file is inside"):
        open_network(tmp_path / "a")
    for name in ("one.onnx", "onnx/model.onnx"):
        save(dense(), tmp_path / "a" / name)
    with pytest.raises(UnreadableNetwork, match=r"a folder; inside is one\.onnx, onnx/model\.onnx: give one of them"):
        open_network(tmp_path / "a")


@pytest.mark.parametrize("address", ["https://example.org/m.onnx", "s3://bucket/m.onnx", "hf://a/b/m.onnx"])
def test_an_address_is_no_file(address: str) -> None:
    """A path that is written like an address is a path: nothing is downloaded by itself."""
    with pytest.raises(UnreadableNetwork, match="an address, and here a file on this disk is wanted"):
        open_network(Path(address))


def test_a_pointer_says_what_it_points_to(tmp_path: Path) -> None:
    """How much is to be fetched, and its content's name."""
    digest = "4d7a" * 16
    path = tmp_path / "m.onnx"
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:%b\nsize 12345\n" % digest.encode())
    with pytest.raises(
        UnreadableNetwork, match=f"pointer of Git LFS to 12,345 bytes .sha256 {digest}., not the file itself"
    ):
        open_network(path)


def test_a_pointer_names_where_its_content_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the store of the checkout or of the one it is a work tree of, in the hub's cache; with the size that it names."""
    digest = "4d7a" * 16
    content = b"version https://git-lfs.github.com/spec/v1\noid sha256:%b\nsize 5\n" % digest.encode()
    cache = tmp_path / "cache"
    monkeypatch.setenv("HF_HUB_CACHE", str(cache))
    main, tree, alone = (tmp_path / name for name in ("main", "tree", "alone"))
    for folder in (main / "nets", tree / "nets", alone, cache / "models--a--b" / "blobs"):
        folder.mkdir(parents=True)
    own = main / ".git" / "worktrees" / "tree"
    own.mkdir(parents=True)
    (own / "commondir").write_text("../..\n")
    (tree / ".git").write_text(f"gitdir: {own}\n")
    paths = [main / "nets" / "m.onnx", tree / "nets" / "m.onnx", alone / "my net.onnx"]
    for path in paths:
        path.write_bytes(content)
        with pytest.raises(UnreadableNetwork, match=f"git lfs pull --include='?{path.name}"):
            open_network(path)
    stored = main / ".git" / "lfs" / "objects" / "4d" / "7a" / digest
    stored.parent.mkdir(parents=True)
    blob = cache / "models--a--b" / "blobs" / digest
    for place in (stored, blob):
        place.write_bytes(b"1234")
    with pytest.raises(UnreadableNetwork, match="git lfs pull"):
        open_network(paths[0])
    for place in (stored, blob):
        place.write_bytes(b"12345")
    for path, place in zip(paths, (stored, stored, blob), strict=True):
        with pytest.raises(UnreadableNetwork, match="that lies at") as refused:
            open_network(path)
        assert place.resolve() == Path(str(refused.value).rpartition("lies at ")[2]).resolve()
