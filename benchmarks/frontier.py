"""Quality kept against evidence: added and replaced marks over N and strength, unmodified and after the standard's modifications.

    python -m benchmarks frontier [NETWORK.onnx…] [--keys 2] [-o docs/measured/figures]

Without networks, the shipped ones. Quality is the PSNR of the first output beside that of the unmarked network, on drawn inputs, so
that networks of any task stand in one figure; evidence is −log10 p, the mean of the keys. One panel for each network.
"""

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.insertion import MODELS, marked_anew, table
from onnxnnw.enrolment.price import price_of
from onnxnnw.errors import CapacityError
from onnxnnw.modifications.base import apply, find_modification
from onnxnnw.records.record_file import load_record
from onnxnnw.verification.verify import verify

SHIPPED = ("resnet8", "rdn-small", "pix2pix-small")
POSITIONS = (164, 512, 2048)
STRENGTHS = {"added": (0.2, 0.4, 1.0), "replaced": (0.5, 1.0)}
CHANGES: tuple[tuple[str, str, dict[str, float]], ...] = (
    ("S = .5", "gaussian-noise", {"ratio": 0.5}),
    ("B = 4", "quantization", {"bits": 4}),
    ("P = 80", "magnitude-pruning", {"percentage": 80}),
    ("four more marks", "watermark-overwriting", {"marks": 4}),
)


@dataclass(frozen=True)
class Setting:
    """One way to mark a network, and what came of it.

    Attributes:
        quality: PSNR beside the unmarked network, dB.
        evidence: −log10 p by modification.
    """

    insertion: str
    strength: float
    positions: int
    quality: float
    evidence: dict[str, float]


def settings_of(network: Path, keys: int, folder: Path) -> list[Setting]:
    """Every setting that the network has room for."""
    found = []
    changed = folder / "changed.onnx"
    for insertion, strengths in STRENGTHS.items():
        for strength in strengths:
            for positions in POSITIONS:
                quality: list[float] = []
                evidence: dict[str, list[float]] = {}
                try:
                    for number in range(keys):
                        marked, kept = marked_anew(network, folder, number, insertion, positions, strength)
                        record = load_record(kept)
                        quality.append(price_of(network, marked).psnr_db)
                        evidence.setdefault("unmodified", []).append(-verify(marked, [record])[0].log10_p)
                        for name, modification, settings in CHANGES:
                            apply(find_modification(modification)(**settings), marked, changed)
                            evidence.setdefault(name, []).append(-verify(changed, [record])[0].log10_p)
                except CapacityError:
                    continue
                means = {name: mean(values) for name, values in evidence.items()}
                found.append(Setting(insertion, strength, positions, mean(quality), means))
    return found


def draw(axes: Any, settings: Sequence[Setting], name: str) -> Any:
    """One network: unmodified filled, after noise of S = .5 hollow; the rate of 1e-6 as a line."""
    for insertion, colour, shape in (("added", "tab:blue", "o"), ("replaced", "tab:orange", "s")):
        own = [setting for setting in settings if setting.insertion == insertion]
        for modification, filled in (("unmodified", True), ("S = .5", False)):
            axes.scatter(
                [setting.evidence[modification] for setting in own],
                [setting.quality for setting in own],
                s=[10 + setting.positions / 40 for setting in own],
                marker=shape,
                facecolors=colour if filled else "none",
                edgecolors=colour,
                label=f"{insertion}, {modification}",
            )
    axes.axvline(6, color="grey", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_title(name, fontsize=9)
    axes.set_xlabel("−log10 p", fontsize=8)
    axes.tick_params(labelsize=7)
    return axes


def main(arguments: Sequence[str]) -> int:
    """Print the tables, and draw ``frontier.svg``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks frontier", description=__doc__)
    parser.add_argument("networks", type=Path, nargs="*")
    parser.add_argument("--keys", type=int, default=2)
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/measured/figures"))
    options = parser.parse_args(arguments)

    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    networks = options.networks or [MODELS / f"{name}.onnx" for name in SHIPPED]
    figure, panels = pyplot.subplots(1, len(networks), figsize=(2.9 * len(networks), 3.2), squeeze=False)
    heads = ["network", "insertion", "strength", "N", "PSNR dB", "unmodified", *(name for name, _, _ in CHANGES)]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for panel, network in zip(panels[0], networks, strict=True):
            settings = settings_of(network, options.keys, Path(folder))
            draw(panel, settings, network.stem)
            for one in settings:
                p = [f"{value:.0f}" for value in one.evidence.values()]
                named = [network.stem, one.insertion, f"{one.strength:g}", f"{one.positions:,}"]
                rows.append([*named, f"{one.quality:.1f}", *p])
    panels[0][0].set_ylabel("PSNR beside the unmarked network, dB", fontsize=8)
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=4, fontsize=7, frameon=False)
    figure.tight_layout(rect=(0, 0.07, 1, 1))
    figure.savefig(options.output / "frontier.svg", metadata={"Date": None, "Creator": None})
    print(table(heads, rows))
    return 0
