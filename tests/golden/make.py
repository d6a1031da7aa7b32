"""How the golden files were made: ``python -m tests.golden.make FOLDER``. They are never made again.

The network's values come from a key stream, not from a library's generator, so anybody can make the same bytes.
"""

import sys
from pathlib import Path

import numpy as np

from onnxnnw.enrolment import Owner, embed, fingerprint
from onnxnnw.keys import Key
from tests.calibration import networks

SECRETS = {"network": b"golden network, format 1, public", "mark": b"golden mark, format 1, all public"[:32]}
SECRETS["trace"] = b"golden fingerprint, 1, public..."


def shape_of(name: str) -> tuple[int, ...]:
    """ResNet8 at half its width."""
    return tuple(n // 2 if n % 16 == 0 else n for n in networks.SHAPES[name])


def weights() -> networks.Weights:
    """Normal weights in rows of different size."""
    out = {}
    for name in networks.SHAPES:
        shape = shape_of(name)
        z = Key(SECRETS["network"]).stream(name, bytes(32)).normals(int(np.prod(shape))).reshape(shape[0], -1)
        gains = 0.5 + np.arange(shape[0]) % 5
        out[name] = (z * gains[:, None] / 16).astype(np.float32).reshape(shape)
    return out


def main(folder: Path) -> None:
    """Network, marked copy, and both records."""
    network = networks.save(weights(), folder / "network.onnx")
    owner = Owner("Golden Tracker", "Tracker", "source 1", "destination 2")
    embed(network, folder / "marked.onnx", folder / "mark-1.json", 256, owner=owner, key=Key(SECRETS["mark"]))
    fingerprint(network, folder / "trace-1.json", 256, owner=owner, key=Key(SECRETS["trace"]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
