"""Identify files that are no ONNX network by their first bytes, for the error message."""

import codecs
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from onnxnnw.errors import UnreadableNetwork
from onnxnnw.files import open_descriptor
from onnxnnw.network_file.wire import read_exactly

if TYPE_CHECKING:
    from onnxnnw.sources.addresses import Address
    from onnxnnw.sources.pointers import Pointer
    from onnxnnw.sources.remote import RemoteHandle

__all__ = ["named", "networks_inside", "what_it_is"]

_HEAD, _TAIL = 4096, 2**18
_MAX_LISTED, _MAX_SEEN = 5, 2000

_EXPORT = "export the network to ONNX with the framework that it comes from"
_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"version https://git-lfs.github.com/spec/", "a pointer of Git LFS, not the file itself; fetch it with: git lfs pull"),
    (4, b"TFL3", "a TensorFlow Lite network; convert it with tf2onnx --tflite, or look at what it was made from"),
    (0, b"ggml", f"a GGML file of llama.cpp; {_EXPORT}"),
    (0, b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.", "a PyTorch checkpoint (a pickle); use torch.onnx.export"),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file, perhaps of Keras; convert it with tf2onnx"),
    (0, b"\x93NUMPY", "a NumPy array (.npy), not a network"),
    (0, b"ptrt", "a TensorRT engine, compiled for one device; look at the ONNX file it was made from"),
    (0, b"ftrt", "a TensorRT engine, compiled for one device; look at the ONNX file it was made from"),
    (0, b"\x1f\x8b", "compressed with gzip; unpack it with: gzip -d"),
    (0, b"BZh", "compressed with bzip2; unpack it with: bzip2 -d"),
    (0, b"\xfd7zXZ\0", "compressed with xz; unpack it with: xz -d"),
    (0, b"\x28\xb5\x2f\xfd", "compressed with zstd; unpack it with: zstd -d"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive; unpack it first"),
    (0, b"Rar!\x1a\x07", "a RAR archive; unpack it first"),
    (257, b"ustar", "a tar archive; unpack it first"),
    (0, b"\x89PNG\r\n\x1a\n", "an image (PNG)"),
    (0, b"\xff\xd8\xff", "an image (JPEG)"),
    (0, b"GIF8", "an image (GIF)"),
    (0, b"%PDF-", "a PDF document"),
    (0, b"\x7fELF", "a program or a library of a system"),
    (0, b"MZ", "a program or a library of a system"),
    (0, b"SQLite format 3\0", "an SQLite database"),
    (0, b'{"bound":', "a record of onnxnnw, not an ONNX network; give it with --record"),
)  # fmt: skip
"""Where magic bytes stand, the bytes, and what a file with them is."""

_HTML = re.compile(rb"<(!doctype html|html|head|body)\b", re.IGNORECASE)
_JSON = re.compile(rb'(\{\s*("|\}|$)|\[\s*(["\[\]{0-9tfn-]|$))')
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")


def what_it_is(descriptor: "int | RemoteHandle", size: int, path: "Path | Address") -> str:
    """What an open file is, and what to do; empty where it is nothing that is known."""
    if not size:
        return "empty; perhaps a download or an export that did not finish"
    head = read_exactly(descriptor, min(size, _HEAD), 0)
    if pointer := _pointer(head):
        what = f"a pointer of Git LFS to {pointer.size:,} bytes (sha256 {pointer.digest}), not the file itself"
        if not isinstance(path, Path):
            return f"{what}; ask the server for the file, not for the pointer (hubs: resolve, not raw)"
        content = pointer.content_near(path)
        if content is not None:
            return f"{what}; that lies at {content}"
        return f"{what}; fetch it with: git lfs pull --include={shlex.quote(path.name)}"
    for offset, magic, kind in _MAGIC:
        if head.startswith(magic, offset):
            return kind
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _archive(_archived(read_exactly(descriptor, min(size, _TAIL), size - min(size, _TAIL))))
    length = int.from_bytes(head[:8], "little")
    if head[8:9] == b"{" and 2 <= length <= min(size - 8, 100 * 2**20):
        return "a safetensors file, weights without a graph; export the network to ONNX"
    if head[:1] == b"\x80" and head[1:2] in b"\x02\x03\x04\x05" and read_exactly(descriptor, 1, size - 1) == b".":
        return "a Python pickle, which is never opened here; export the network to ONNX, from PyTorch with torch.onnx.export"
    return _text(head)


def _pointer(head: bytes) -> "Pointer | None":
    if not head.startswith(b"version https://git-lfs"):
        return None
    from onnxnnw.sources.pointers import pointer_in

    return pointer_in(head)


def _text(head: bytes) -> str:
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    is_xml = start.startswith(b"<?xml")
    while start.startswith((b"<?xml", b"<!--")):
        start = start.partition(b">" if start.startswith(b"<?") else b"-->")[2].lstrip()
    if _HTML.match(start):
        return "a web page (HTML), perhaps of an error or a login; download the file itself"
    if start.startswith(b"<net "):
        return "the graph of an OpenVINO network, not ONNX; look at the ONNX file it was made from"
    if is_xml:
        return "an XML document"
    if _JSON.match(start):
        return "a JSON document"
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head, len(head) < _HEAD)
    except UnicodeDecodeError:
        return ""
    if not all(c.isprintable() or c in "\t\n\r" for c in text):
        return ""
    return f"a text that begins with {text.strip()[:40]!r}"


def _archived(tail: bytes) -> list[str]:
    """Names of the last files of a zip archive, from its central directory."""
    names = []
    for found in re.finditer(rb"PK\x01\x02", tail):
        start = found.start() + 46
        length = int.from_bytes(tail[found.start() + 28 : found.start() + 30], "little")
        names.append(tail[start : start + length].decode("utf-8", "replace"))
        if len(names) >= _MAX_SEEN:
            break
    return names


def _archive(names: list[str]) -> str:
    if any(name.endswith("/data.pkl") for name in names):
        return "a PyTorch checkpoint (a zip archive with a pickle); export the network with torch.onnx.export"
    if names and all(name.endswith(".npy") for name in names):
        return "NumPy arrays (.npz), not a network"
    if any(name.endswith("model.weights.h5") for name in names):
        return "a Keras network; convert it with tf2onnx"
    networks = [name for name in names if name.endswith(".onnx")]
    if networks:
        return f"a zip archive; unpack it first: inside is {_listed(networks)}"
    return "a zip archive; unpack it first"


def named(path: Path) -> str:
    """What stands at a path where a network was wanted; empty where it is nothing that is known."""
    try:
        if path.is_dir():
            return f"a folder; {networks_inside(path)}"
        if _ADDRESS.match(path.as_posix()) and not path.exists():
            return "an address, and here a file on this disk is wanted; download it first"
    except OSError:  # no such path can be
        return ""
    try:
        descriptor, status = open_descriptor(path, UnreadableNetwork)
    except UnreadableNetwork:
        return ""
    try:
        return what_it_is(descriptor, status.st_size, path)
    finally:
        os.close(descriptor)


def networks_inside(folder: Path) -> str:
    """Which networks lie in a folder or in one of its folders, for a message; of a large folder, some."""
    found = sorted(_networks(folder))
    return f"inside is {_listed(found)}: give one of them" if found else "no .onnx file is inside"


def _networks(folder: Path) -> Iterator[str]:
    left = _MAX_SEEN
    waiting = [(folder, "")]
    while waiting:
        place, prefix = waiting.pop(0)
        try:
            with os.scandir(place) as entries:
                for entry in entries:
                    left -= 1
                    if left < 0:
                        return
                    if entry.name.endswith(".onnx") and entry.is_file():
                        yield prefix + entry.name
                    elif not prefix and entry.is_dir():
                        waiting.append((Path(entry.path), f"{entry.name}/"))
        except OSError:
            continue


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _MAX_LISTED} more" if len(names) > _MAX_LISTED else ""
    return ", ".join(name[:100] for name in names[:_MAX_LISTED]) + more
