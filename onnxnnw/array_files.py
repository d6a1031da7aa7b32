"""NumPy's files, .npy and .npz: nothing is unpickled, and no more is read than the header declares and the file holds."""

import math
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

from numpy.lib import format as npy
from numpy.typing import NDArray

from onnxnnw.errors import TraceabilityError, UnreadableData
from onnxnnw.files import open_regular

__all__ = ["MAX_BYTES", "array_names", "load_array", "load_arrays"]

Array = NDArray[Any]

MAX_BYTES = 8 * 2**30
"""Of one array, unpacked."""

MAX_ARRAYS = 10_000


def load_array(path: Path) -> Array:
    """The array of an ``.npy`` file.

    Raises:
        UnreadableData: It is none, damaged, of Python objects, or claims more than it holds.
    """
    with open_regular(path, UnreadableData, MAX_BYTES) as file:
        try:
            return _array(file, path.stat().st_size)
        except Exception as error:  # NumPy raises whatever the bytes lead to
            raise UnreadableData(f"{path} is not a readable .npy: {_reason(error)}") from error


def array_names(path: Path) -> set[str]:
    """Names of the arrays in an ``.npz`` file; none of what is no such file."""
    try:
        with open_regular(path, UnreadableData, MAX_BYTES) as file, zipfile.ZipFile(file) as archive:
            return {name.removesuffix(".npy") for name in archive.namelist()[: MAX_ARRAYS + 1] if name.endswith(".npy")}
    except (TraceabilityError, OSError, ValueError, zipfile.BadZipFile, NotImplementedError):
        return set()


def load_arrays(path: Path, names: Sequence[str] | None = None) -> dict[str, Array]:
    """The arrays of an ``.npz`` file by name.

    Args:
        names: Those that are wanted, where they are there; all by default.

    Raises:
        UnreadableData: It is none, or an array in it is damaged, of Python objects, or claims more than it holds.
    """
    with open_regular(path, UnreadableData, MAX_BYTES) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                infos = [info for info in archive.infolist() if info.filename.endswith(".npy")]
                if len(infos) > MAX_ARRAYS:
                    raise UnreadableData(f"{path} holds more than {MAX_ARRAYS:,} arrays")
                wanted = {info.filename.removesuffix(".npy"): info for info in infos}
                wanted = {name: info for name, info in wanted.items() if names is None or name in names}
                if sum(info.file_size for info in wanted.values()) > MAX_BYTES:
                    raise UnreadableData(f"{path} unpacks to more than {MAX_BYTES >> 30} GiB")
                return {name: _packed(archive, info) for name, info in wanted.items()}
        except TraceabilityError:
            raise
        except Exception as error:  # zipfile and NumPy raise many kinds for a damaged file
            raise UnreadableData(f"{path} is not a readable .npz: {_reason(error)}") from error


def _packed(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Array:
    with archive.open(info) as member:
        return _array(member, info.file_size)  # type: ignore[arg-type]


def _array(file: BinaryIO, size: int) -> Array:
    version = npy.read_magic(file)
    readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"version {version} of the format is not read")
    shape, _, dtype = readers[version](file)
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are never loaded")
    if dtype.kind not in "biuf":
        raise ValueError(f"it holds elements of the type {dtype}, not numbers")
    needed = file.tell() + math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or needed > size:
        raise ValueError(f"shape {list(shape)[:8]} needs {needed:,} bytes, but it has {size:,}")
    file.seek(0)
    array: Array = npy.read_array(file, allow_pickle=False)
    return array


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
