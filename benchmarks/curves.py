"""Training curves from checkpoints: loss and test metric per epoch, one small figure per training."""

import argparse
from pathlib import Path
from typing import Any

from onnxnnw.training.checkpoints import load_checkpoint


def main(arguments: list[str]) -> int:
    """Draw ``OUT/<checkpoint>.png`` for each checkpoint."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks curves", description=__doc__)
    parser.add_argument("checkpoints", type=Path, nargs="+")
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/measured/figures"))
    parser.add_argument("--metric", default="top1 (%)", help="what the metric's axis says")
    options = parser.parse_args(arguments)

    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    for path in options.checkpoints:
        figure, axes = pyplot.subplots(figsize=(4.8, 2.6), dpi=90)
        draw(axes, load_checkpoint(path)["history"], options.metric)
        axes.set_title(path.stem, fontsize=9)
        figure.tight_layout()
        figure.savefig(options.output / f"training-{path.stem}.png", metadata={"Software": None})
        pyplot.close(figure)
        print(options.output / f"training-{path.stem}.png")
    return 0


def draw(axes: Any, history: list[dict[str, Any]], metric: str) -> Any:
    """Loss on the left axis, the metric on the right."""
    epochs = [epoch["number"] for epoch in history]
    axes.plot(epochs, [epoch["loss"] for epoch in history], color="tab:red")
    axes.set_xlabel("epoch", fontsize=8)
    axes.set_ylabel("training loss", color="tab:red", fontsize=8)
    right = axes.twinx()
    right.plot(epochs, [epoch["metric"] for epoch in history], color="tab:blue")
    right.set_ylabel(metric, color="tab:blue", fontsize=8)
    for side in (axes, right):
        side.tick_params(labelsize=7)
    return axes
