"""Methods that write into files: what they owe, what is refused, and that their marks are found again."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import pytest

from onnxnnw.campaign.campaign_file import load_campaign
from onnxnnw.campaign.plan import planned
from onnxnnw.cli import main
from onnxnnw.enrolment.method_mark import embed_by_method
from onnxnnw.errors import CannotLook, UsageError
from onnxnnw.graph.slots import find_slots
from onnxnnw.method_check import check_method
from onnxnnw.methods.base import FileInsertion, InsertionDraft
from onnxnnw.modifications.base import apply, find_modification
from onnxnnw.network_file.file import open_network
from onnxnnw.records.key import Key
from onnxnnw.records.positions import anchors_of
from onnxnnw.records.record_file import load_record
from onnxnnw.verification.verify import verify
from tests.support import brought_methods
from tests.support.networks import dense, save

KEY = Key(b"a method that writes into files.")


@pytest.fixture
def example() -> Iterator[ModuleType]:
    """The example method."""
    with brought_methods.sign_bits() as module:
        yield module


@pytest.fixture
def marked(example: ModuleType, resnet8: Path, tmp_path: Path) -> Path:
    """The shipped ResNet8 with sign bits; the record lies beside it."""
    insertion = example.SignBitsInFile(bits=128, payload="ACME-1")
    embed_by_method(resnet8, tmp_path / "marked.onnx", tmp_path / "mark.record", insertion, key=KEY)
    return tmp_path / "marked.onnx"


def test_only_the_methods_values_are_written(marked: Path, resnet8: Path) -> None:
    """All other bytes stay as they are, and the payload comes back."""
    before, after = (np.frombuffer(path.read_bytes(), np.uint8) for path in (resnet8, marked))
    assert before.size == after.size
    changed = np.flatnonzero(before != after)
    assert 0 < np.unique(changed // 4).size <= 2 * 128  # of four bytes each, wherever they begin
    record = load_record(marked.with_name("mark.record"))
    (verdict,) = verify(marked, [record], full=True)
    assert (verdict.decision, verdict.payload.text) == ("identical", "ACME-1")
    assert verify(resnet8, [record])[0].decision == "not traced"
    assert verify(marked, [record])[0].explained > 0.98


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("gaussian-noise", {"ratio": 0.3}),
        ("quantization", {"bits": 4}),
        ("runtime-optimization", {}),
        ("float-quantization", {"bits": 16}),
    ],
)
def test_the_mark_is_found_after_modifications(
    marked: Path, name: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    """Verification finds the layer as it finds those of other methods."""
    apply(find_modification(name)(**settings), marked, tmp_path / "changed.onnx")
    assert verify(tmp_path / "changed.onnx", [load_record(tmp_path / "mark.record")])[0].decision == "traced"


@dataclass(frozen=True)
class Careless(FileInsertion):
    """Writes what it is told to."""

    method: ClassVar[str] = "careless"
    written: Any = None

    def draft(self, view: Any) -> InsertionDraft:
        return InsertionDraft({})

    def values(self, record: Any, view: Any) -> Mapping[int, tuple[Any, Any]]:
        wanted: Mapping[int, tuple[Any, Any]] = self.written(record, view) if callable(self.written) else self.written
        return wanted


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ({}, "writes nothing"),
        ({0: ([0], [np.nan])}, "a number for each"),
        ({0: ([0, 1], [1.0])}, "a number for each"),
        ({0: ([3, 3], [1.0, 2.0])}, "twice"),
        ({0: ([-1], [1.0])}, "outside"),
        ({0: ([2**40], [1.0])}, "outside"),
        (lambda record, view: {0: (anchors_of(record)[0][:1], [1.0])}, "anchors"),
        (lambda record, view: {0: (np.setdiff1d(np.arange(99), anchors_of(record)[0])[:1], [1e300])}, "do not fit"),
    ],
)
def test_a_method_that_writes_where_it_must_not_is_refused(written: Any, words: str, tmp_path: Path) -> None:
    """And leaves nothing behind."""
    source = save(dense(1, 64), tmp_path / "net.onnx")
    with pytest.raises(UsageError, match=words):
        embed_by_method(source, tmp_path / "out.onnx", tmp_path / "record", Careless(written))
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"]


def test_nothing_is_overwritten(example: ModuleType, resnet8: Path, tmp_path: Path) -> None:
    """No record, and no network with its own marked copy."""
    (tmp_path / "record").write_bytes(b"precious")
    with pytest.raises(UsageError, match="never overwritten"):
        embed_by_method(resnet8, tmp_path / "out.onnx", tmp_path / "record", example.SignBitsInFile())
    with pytest.raises(UsageError, match="same file"):
        embed_by_method(resnet8, resnet8, tmp_path / "other", example.SignBitsInFile())
    with pytest.raises(CannotLook):
        embed_by_method(tmp_path / "nowhere", tmp_path / "out.onnx", tmp_path / "other", example.SignBitsInFile())
    assert (tmp_path / "record").read_bytes() == b"precious"


def test_copies_of_a_weight_are_written_too(tmp_path: Path) -> None:
    """What is stored twice stays the same in both places."""
    model = dense(2, 64)
    first, second = (tensor for tensor in model.graph.initializer if list(tensor.dims) == [64, 64])
    second.raw_data = first.raw_data
    source = save(model, tmp_path / "net.onnx")
    places = np.arange(40, 50)

    def written(record: Any, view: Any) -> Mapping[int, Any]:
        free = np.setdiff1d(places, anchors_of(record)[0])
        return {0: (free, np.full(free.size, 7.0))}

    embed_by_method(source, tmp_path / "out.onnx", tmp_path / "record", Careless(written))
    with open_network(tmp_path / "out.onnx") as network:
        one, other = (slot.values(places) for slot in find_slots(network).slots[:2])
    assert np.array_equal(one, other)
    assert (one == 7).any()


@pytest.mark.parametrize(
    ("method", "said"),
    [
        ("rtw", "onnxnnw train NETWORK --method rtw"),
        ("tbw", "onnxnnw train NETWORK --method tbw"),
        ("nct", "leave out --method"),
    ],
)
def test_methods_that_mark_in_another_way_name_their_command(
    resnet8: Path, tmp_path: Path, capsys, method, said
) -> None:
    place = ["-o", str(tmp_path / "m.onnx"), "--record", str(tmp_path / "m.record")]
    with pytest.raises(SystemExit) as left:
        main(["embed", str(resnet8), *place, "--method", method])
    assert left.value.code == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_command_marks(example: ModuleType, resnet8: Path, tmp_path: Path, capsys) -> None:
    """Its parameters follow; what belongs to NCT is refused, and what is no option of either."""
    place = ["-o", str(tmp_path / "m.onnx"), "--record", str(tmp_path / "m.record")]
    by_method = ["embed", str(resnet8), *place, "--method", "sign_bits_package"]
    for wrong, words in (
        (["--positions", "64"], "belong to NCT"),
        (["--bits", "0"], "bits"),
        (["--nothing", "1"], "nothing"),
    ):
        with pytest.raises(SystemExit) as left:
            main([*by_method, *wrong])
        assert left.value.code == 2
        assert words in capsys.readouterr().err
    with pytest.raises(SystemExit) as left:
        main(["embed", str(resnet8), *place, "--bits", "64"])
    assert left.value.code == 2
    assert not list(tmp_path.iterdir())
    with pytest.raises(SystemExit) as left:
        main([*by_method, "--bits", "96", "--payload", "ACME", "--unchecked", "--json"])
    assert left.value.code == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["kind"], shown["positions"]) == ("watermark", None)
    assert verify(tmp_path / "m.onnx", [load_record(tmp_path / "m.record")])[0].decision == "traced"


CAMPAIGN = """
format = "onnxnnw/campaign/1"
seed = 5
[[networks]]
{network}
[modifications]
quantization = {{ bits = [8] }}
[[marks]]
title = "Sign bits"
method = "sign_bits_package"
{alpha}
parameters = {{ bits = [64, 128] }}
modifications = ["quantization"]
wrong_keys = 2
"""


def campaign_of(folder: Path, network: str, alpha: str = "") -> Path:
    """A campaign with the example method."""
    (folder / "c.toml").write_text(CAMPAIGN.format(network=network, alpha=alpha))
    return folder / "c.toml"


def test_a_campaign_writes_it_into_a_file(example: ModuleType, tmp_path: Path, monkeypatch) -> None:
    """Marked, modified, asked with wrong keys: all trials of an own network."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    save(dense(2, 48), tmp_path / "net.onnx")
    np.savez(tmp_path / "s.npz", inputs=np.random.default_rng(0).normal(size=(20, 48)).astype(np.float32))
    path = campaign_of(tmp_path, 'file = "net.onnx"\nsamples = "s.npz"\nmetric = ["mse"]')
    with pytest.raises(SystemExit) as left:
        main(["evaluate", str(path), "-o", str(tmp_path / "results"), "--jobs", "1"])
    assert left.value.code == 0
    trials = [json.loads(line) for line in (tmp_path / "results" / "trials.jsonl").read_text().splitlines()]
    found = [trial for trial in trials if trial["study"] == "detection" and trial["truth"]]
    assert len(found) == 4  # two lengths, unmodified and in 8 bits
    assert {trial["verdict"]["decision"] for trial in found} == {"traced"}
    wrong = [trial for trial in trials if trial["study"] == "wrong key"]
    assert wrong
    assert all(trial["verdict"]["decision"] != "traced" for trial in wrong)


@pytest.mark.parametrize(
    ("network", "alpha", "steps", "words"),
    [
        ('name = "resnet8"\nepochs = 4', "alpha = [0, 50, 100]", {"train": 6, "write": 2}, ""),
        ('name = "resnet8"\nfile = "shipped"', "", {"write": 2}, ""),
        ('name = "resnet8"\nfile = "shipped"', "alpha = [90]", {}, "no alpha in a finished network"),
        ('name = "resnet8"\nepochs = 4', "alpha = [0]\nepochs = 3", {}, "no epochs of its own"),
    ],
)
def test_alpha_is_when_it_is_written(
    example: ModuleType, tmp_path: Path, network: str, alpha: str, steps: dict[str, int], words: str
) -> None:
    """Into the running network at that moment, or into the finished one."""
    path = campaign_of(tmp_path, f"{network}\n", alpha)
    path.write_text(path.read_text() + "\n[generated]\ntraining = 64\ntesting = 20\n")
    campaign = load_campaign(path)
    if words:
        with pytest.raises(UsageError, match=words):
            planned(campaign, "")
        return
    kinds = [step.kind for step in planned(campaign, "").steps]
    assert {kind: kinds.count(kind) for kind in steps} == steps


@pytest.mark.slow
def test_marking_the_running_network_commutes_with_export(example: ModuleType, tmp_path: Path) -> None:
    """Mark the module then export = export then mark the file."""
    import torch

    from onnxnnw.exporters.base import export
    from onnxnnw.training.at_epoch import MethodAtEpoch
    from onnxnnw.training.networks import find_network

    architecture = find_network("resnet8", "small")
    module = architecture.build().to(memory_format=torch.channels_last)
    export(architecture, module, tmp_path / "plain.onnx")
    insertion = example.SignBitsInFile(bits=48)
    embed_by_method(tmp_path / "plain.onnx", tmp_path / "file.onnx", tmp_path / "file.record", insertion, key=KEY)
    MethodAtEpoch(architecture, 0, tmp_path / "module.record", insertion, KEY)(module, 0)
    export(architecture, module, tmp_path / "module.onnx")
    assert (tmp_path / "module.onnx").read_bytes() == (tmp_path / "file.onnx").read_bytes()
    assert (tmp_path / "module.record").read_bytes() == (tmp_path / "file.record").read_bytes()


@pytest.mark.slow
def test_the_check_holds_what_is_written_to_its_laws(example: ModuleType, resnet8: Path) -> None:
    """The laws of files stand beside those of all methods."""
    found = check_method("sign_bits_package", resnet8, keys=60)
    assert found.kept
    assert "a file that it marked is traced" in {law.sentence for law in found.laws}
