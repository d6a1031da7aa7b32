"""Files beside a network, and files of other formats, most without a graph: what is opened, and where it may lie."""

from pathlib import Path
from typing import TYPE_CHECKING

from onnxnnw.errors import FileChanged, UnreadableExternalData, UnreadableNetwork
from onnxnnw.network_file.source import Source
from onnxnnw.network_file.wire import read_exactly

if TYPE_CHECKING:
    from onnxnnw.network_file.cutting import Skeleton
    from onnxnnw.sources.addresses import Address
    from onnxnnw.sources.remote import RemoteSource

__all__ = ["SUFFIXES", "contained", "is_container", "is_ort", "open_beside"]

SUFFIXES = (".safetensors", ".safetensors.index.json", ".xml", ".gguf", ".ort")
"""Names of files that are no ONNX; they are never read as anything else."""


def is_container(source: "Source | RemoteSource") -> bool:
    """Whether a file that is no ONNX network begins like one of another format."""
    from onnxnnw.network_file.safetensors import looks_like_safetensors

    try:
        with source.opened() as descriptor:
            return looks_like_safetensors(descriptor, source.size) or bool(_magic(source))
    except (FileChanged, UnreadableNetwork):
        return False


def _magic(source: "Source | RemoteSource") -> str:
    """Which format's first bytes a file has; empty where those of none."""
    with source.opened() as descriptor:
        head = read_exactly(descriptor, min(8, source.size), 0)
    return "gguf" if head.startswith(b"GGUF") else "ort" if is_ort(head) else ""


def is_ort(head: bytes) -> bool:
    """Whether the first eight bytes of a file are those of onnxruntime's own format."""
    return head[4:8] == b"ORTM"


def contained(
    path: "Path | Address", source: "Source | RemoteSource", large: int
) -> "tuple[Skeleton, dict[str, Source | RemoteSource] | None]":
    """The network that a file of another format holds, and the files beside it that it needs, opened; None where it has a graph.

    Args:
        path: What it is called.
        source: The file.
        large: Bytes from which on a tensor stays in a file with a graph.

    Raises:
        UnreadableNetwork: It breaks a rule of its format.
    """
    from onnxnnw.network_file import openvino, safetensors
    from onnxnnw.network_file.ort_format import network as ort
    from onnxnnw.network_file.tensor_files import gguf

    if str(path).endswith(openvino.SUFFIX):
        location = openvino.weights_beside(path.name)
        weights = open_beside(path, source, location)
        try:
            return openvino.openvino_skeleton(source, location, weights.size), {location: weights}
        except BaseException:
            weights.close()
            raise
    if str(path).endswith(gguf.SUFFIX) or _magic(source) == "gguf":
        return gguf.gguf_skeleton(source), {}
    if str(path).endswith(ort.SUFFIX) or _magic(source) == "ort":
        return ort.ort_skeleton(source, large), None
    if not str(path).endswith(safetensors.INDEX):
        return safetensors.safetensors_skeleton(source), {}
    files = safetensors.shards_of(source)
    opened: dict[str, Source | RemoteSource] = {}
    try:
        for file in sorted(set(files.values())):
            opened[file] = open_beside(path, source, file)
        return safetensors.sharded_skeleton(files, opened), opened
    except BaseException:
        for each in opened.values():
            each.close()
        raise


def open_beside(path: "Path | Address", source: "Source | RemoteSource", location: str) -> "Source | RemoteSource":
    """A file that a network names as part of it, at a relative place below its folder.

    Raises:
        UnreadableExternalData: It may not lie there, or cannot be read.
    """
    _refuse(location)
    if not isinstance(path, Path) or not isinstance(source, Source):
        assert not isinstance(source, Source)
        return source.beside(location.replace("\\", "/"))
    wanted, real = _allowed(path, location)
    return Source(wanted, real, UnreadableExternalData, f"external data {location[:80]!r}")


def _refuse(location: str) -> None:
    """Refuse a location that is no relative path below the model's folder."""
    if not isinstance(location, str):  # protobuf hands out bytes where a text is no UTF-8
        raise UnreadableExternalData("an external location is no readable text")
    shown = f"external location {location[:80]!r}"
    parts = location.replace("\\", "/").split("/")
    if not location or "\0" in location or ".." in parts or location.startswith(("/", "\\")) or ":" in parts[0]:
        raise UnreadableExternalData(f"{shown} is not a relative path below the model's folder")


def _allowed(path: Path, location: str) -> tuple[Path, Path]:
    """The path of external data as the network has it, and where it really leads."""
    shown = f"external location {location[:80]!r}"
    wanted = path.parent / location
    try:
        real = wanted.resolve(strict=True)
    except (OSError, RuntimeError, ValueError) as error:
        raise UnreadableExternalData(f"{shown} leads to nothing beside {path.name}") from error
    folders = (path.parent.resolve(), path.resolve().parent)
    if not any(real.is_relative_to(folder) for folder in folders):
        raise UnreadableExternalData(f"{shown} leads outside the model's folder")
    return wanted, real
