"""Alignment: anchors choose slots, names and orientation, and what they choose gives the mark no help."""

from pathlib import Path

import numpy as np
import pytest

from onnxnnw.enrolment.owner import Owner
from onnxnnw.enrolment.record_draft import draft_watermark
from onnxnnw.graph.slots import find_slots
from onnxnnw.network_file.file import open_network
from onnxnnw.verification.verify import verify
from tests.support import calibration_networks as networks
from tests.support import null_draws as measure

SHAPES = {**networks.SHAPES, "block3.conv2.weight": (64, 64, 1, 1)}


def printed(keys: int, unrelated: bool, folder: Path) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """log10 p of marks that were never written, read through the whole thorough path from a renamed file.

    Args:
        keys: How many records, each enrolled anew under its own key with its own anchors.
        unrelated: Whether the candidate is a stranger, in which anchors agree by chance only.
        folder: Where the networks lie.
    """
    original = networks.trained_weights(0, SHAPES)
    candidate = networks.trained_weights(9, SHAPES) if unrelated else original
    path = networks.save(original, folder / "network.onnx")
    other = networks.save(candidate, folder / "renamed.onnx", rename=lambda name: f"renamed.{name[::-1]}")
    out = np.zeros(keys)
    with open_network(path) as network:
        view = find_slots(network)
        records = [draft_watermark(view, networks.key(n), 300, Owner()) for n in range(keys)]
    for number, record in enumerate(records):
        (verdict,) = verify(other, [record])
        assert (verdict.path, verdict.decision) == ("thorough", "not traced")
        out[number] = verdict.log10_p
    return out


@pytest.mark.slow
@pytest.mark.parametrize("unrelated", [False, True], ids=["same network", "stranger"])
def test_slots_found_by_content_do_not_make_p_small(unrelated: bool, tmp_path: Path) -> None:
    """Through opening, matching and both views, p <= a no more often than a."""
    log10_p = printed(30, unrelated, tmp_path)
    for level in measure.LEVELS:
        assert measure.share(log10_p, level) <= measure.limits(log10_p.size, level)[1]


@pytest.mark.slow
@pytest.mark.parametrize("unrelated", [False, True], ids=["same network", "stranger"])
def test_slots_found_by_content_do_not_make_p_small_in_a_thousand(unrelated: bool, tmp_path: Path) -> None:
    """The same with 1,000 keys."""
    log10_p = printed(1_000, unrelated, tmp_path)
    for level in measure.LEVELS:
        assert measure.share(log10_p, level) <= measure.limits(log10_p.size, level)[1]
