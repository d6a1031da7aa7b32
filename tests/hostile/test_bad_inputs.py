"""Bad inputs of evaluate, measure, modify and report: one sentence and the right exit code, and nothing is waited for.

Whatever a file holds, whoever made it. Each case says which codes are right: 2 where the request is wrong, 3 where something
cannot be looked at; a campaign's file is part of the request.
"""

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onnxnnw.cli.entry import main
from tests.support.networks import dense, save

Make = Callable[[Path], object]
"""Makes what stands at a path."""

SMOKE = """format = "onnxnnw/campaign/1"
generated = {{ training = 64, testing = 20 }}
{top}
[[networks]]
name = "resnet8"
size = "small"
epochs = 1
{network}
[modifications]
gaussian-noise = {{ ratio = [0.1] }}
{modifications}
[[marks]]
title = "NCT"
method = "nct"
alpha = [0]
parameters = {{ positions = [64], strength = [1.0] }}
modifications = [{used}]
{marks}
"""

NOTHING_MORE = {"top": "", "network": "", "modifications": "", "used": '"gaussian-noise"', "marks": ""}


def text(content: str, encoding: str = "utf-8") -> Make:
    return lambda path: path.write_bytes(content.encode(encoding))


def raw(content: bytes) -> Make:
    return lambda path: path.write_bytes(content)


def link(target: str) -> Make:
    return lambda path: path.symlink_to(target)


def sparse(size: int) -> Make:
    def make(path: Path) -> None:
        with path.open("wb") as file:
            file.truncate(size)

    return make


STANDING: Mapping[str, Make] = {
    "nothing": lambda path: None,
    "folder": lambda path: path.mkdir(),
    "pipe": os.mkfifo,
    "/dev/zero": link("/dev/zero"),
    "/dev/null": link("/dev/null"),
    "/dev/tty": link("/dev/tty"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "empty": raw(b""),
    "zeros": raw(bytes(5000)),
    "noise": raw(np.random.default_rng(0).bytes(5000)),
    "1 TB": sparse(10**12),
    "UTF-16": text('format = "a"', "utf-16"),
    "JSON": text('{"a": [1, 2, {"b": NaN}]}'),
    "deep JSON": text("[" * 100_000),
    "HTML": text("<!doctype html><title>404</title>"),
}
"""What may stand where a file is wanted."""


def settings(**parts: str) -> Make:
    return text(SMOKE.format(**{**NOTHING_MORE, **parts}))


def without(what: str, instead: str) -> Make:
    """The campaign with something else in one place."""
    return text(SMOKE.format(**NOTHING_MORE).replace(what, instead))


CAMPAIGNS: Mapping[str, Make] = {
    "no format": text("[[networks]]\nname = 'resnet8'\nepochs = 1\n"),
    "another format": text('format = "onnxnnw/campaign/9"\n'),
    "no networks": text('format = "onnxnnw/campaign/1"\n'),
    "networks as a text": text('format = "onnxnnw/campaign/1"\nnetworks = "resnet8"\n'),
    "networks as numbers": text('format = "onnxnnw/campaign/1"\nnetworks = [1, 2]\n'),
    "modifications as a list": text('format = "onnxnnw/campaign/1"\nmodifications = [1]\n[[networks]]\nname = "a"\nepochs = 1\n'),
    "deep TOML": text("a = " + "[" * 5000),
    "many digits": text("a = " + "9" * 10_000),
    "a key twice": settings(top="seed = 1\nseed = 2"),
    "negative seed": settings(top="seed = -1"),
    "seed beyond all": settings(top="seed = 99999999999999999999"),
    "seed as a text": settings(top='seed = "one"'),
    "seed as a truth": settings(top="seed = true"),
    "seed as a date": settings(top="seed = 2026-01-01"),
    "rate NaN": settings(top="rate = nan"),
    "rate infinite": settings(top="rate = inf"),
    "rate 2": settings(top="rate = 2.0"),
    "unknown entry": settings(top="sead = 1"),
    "unknown precision": settings(top='precision = "float7"'),
    "name of 10,000": settings(top=f'name = "{"n" * 10_000}"'),
    "unknown network": without("resnet8", "resnet9"),
    "network twice": settings(network='[[networks]]\nname = "resnet8"\nepochs = 1'),
    "no epochs": without("epochs = 1", ""),
    "negative epochs": without("epochs = 1", "epochs = -1"),
    "epochs 1.5": without("epochs = 1", "epochs = 1.5"),
    "negative samples": settings(network="training = -5"),
    "negative learning rate": settings(network="rate = -0.1"),
    "unknown schedule": settings(network='schedule = "sometimes"'),
    "unknown modification": settings(used='"cooking"', modifications="cooking = { time = [1] }"),
    "unknown parameter": settings(used='"quantization"', modifications="quantization = { bytes = [1] }"),
    "parameter of another kind": settings(used='"quantization"', modifications='quantization = { bits = ["many"] }'),
    "two parameters": settings(used='"quantization"', modifications="quantization = { bits = [8], more = [1] }"),
    "no values": settings(used='"quantization"', modifications="quantization = { bits = [] }"),
    "values out of range": without("[0.1]", "[-3.0]"),
    "values NaN": without("[0.1]", "[nan]"),
    "a table as value": without("[0.1]", "[{ a = 1 }]"),
    "unknown method": without('"nct"', '"nnn"'),
    "1e9 payloads": settings(marks="payloads = 1000000000"),
    "1e9 networks": settings(marks="networks = 1000000000"),
    "1e9 wrong keys": settings(marks="wrong_keys = 1000000000"),
    "no networks in a block": settings(marks="networks = 0"),
    "negative alpha": without("alpha = [0]", "alpha = [-1]"),
    "a modification that is not there": settings(marks='values = { pruning = [1] }'),
    "1e9 generated images": without("training = 64", "training = 1000000000"),
    "no generated images": without("training = 64", "training = 0"),
    "1e9 keys": settings(top="unicity = { networks = 2, keys = 1000000000 }"),
    "no keys": settings(top="unicity = { networks = 0, keys = 0 }"),
    "no positions of unicity": settings(top="unicity = { networks = 2, keys = 1, positions = 0 }"),
    "negative epochs of unicity": settings(top="unicity = { networks = 2, keys = 1, epochs = -3 }"),
    "negative positions to share": settings(top="sharing = { positions = -5, shares = [0.5] }"),
    "1e9 positions to share": settings(top="sharing = { positions = 1000000000, shares = [0.5] }"),
    "shares of no strength": settings(top="sharing = { strength = -1.0, shares = [0.5] }"),
    "shares of strength NaN": settings(top="sharing = { strength = nan, shares = [0.5] }"),
    "1e9 positions to time": settings(top="scaling = { positions = [1000000000], repeats = 1 }"),
    "shares beyond 1": settings(top="sharing = { shares = [2.0] }"),
    "no repeats": settings(top="scaling = { positions = [64], repeats = 0 }"),
    "negative repeats": settings(top="costs = { repeats = -1 }"),
}  # fmt: skip


def arrays(**kept: object) -> Make:
    return lambda path: np.savez(path.open("wb"), **kept)


def bomb(path: Path) -> None:
    """An array that claims far more than it holds."""
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,), }"
    content = b"\x93NUMPY\x01\x00" + (len(header) + 1).to_bytes(2, "little") + header + b"\n" + bytes(64)
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("inputs", "targets"):
            archive.writestr(f"{name}.npy", content)


def zeros_without_end(path: Path) -> None:
    """Little that unpacks to much."""
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (5000000000,), }"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("inputs.npy", b"\x93NUMPY\x01\x00" + (len(header) + 1).to_bytes(2, "little") + header + b"\n")
        archive.getinfo("inputs.npy").file_size = 20 * 10**9


X, Y = np.zeros((4, 48), "f4"), np.zeros((4, 48), "f4")
OWN: Mapping[str, Make] = {
    "one array": arrays(inputs=X),
    "other names": arrays(x=X, y=Y),
    "counts differ": arrays(inputs=X, targets=Y[:2]),
    "no samples": arrays(inputs=X[:0], targets=Y[:0]),
    "objects": arrays(inputs=np.array([{}, {}], object), targets=Y[:2]),
    "single numbers": arrays(inputs=np.float32(1), targets=np.float32(1)),
    "texts": arrays(inputs=np.array(["a", "b"]), targets=np.array(["a", "b"])),
    "text targets": arrays(inputs=X, targets=np.array(["a", "b", "c", "d"])),
    "complex": arrays(inputs=X.astype("c8"), targets=Y.astype("c8")),
    "dates": arrays(inputs=X.astype("M8[s]"), targets=Y.astype("M8[s]")),
    "another shape": arrays(inputs=np.zeros((4, 3, 8), "f4"), targets=Y),
    "other targets": arrays(inputs=X, targets=np.zeros((4, 2, 2), "f4")),
    "targets of nothing": arrays(inputs=X, targets=np.zeros((4, 0), "f4")),
    "NaN labels": arrays(inputs=X, targets=np.full(4, np.nan)),
    "labels beyond": arrays(inputs=X, targets=np.full(4, 10**9)),
    "negative labels": arrays(inputs=X, targets=np.full(4, -1)),
    "claims of 4 TB": bomb,
    "20 GB of zeros": zeros_without_end,
    "torn": lambda path: path.write_bytes(_archive()[:-100]),
    "torn inside": lambda path: path.write_bytes(_archive().replace(b"NUMPY", b"NUMPX")),
    "an empty folder": lambda path: path.mkdir(),
    "folders without files": lambda path: [(path / name).mkdir(parents=True) for name in ("inputs", "targets")],
}  # fmt: skip


def _archive() -> bytes:
    import io

    out = io.BytesIO()
    np.savez(out, inputs=X, targets=Y)
    return out.getvalue()


def in_folders(make: Make, name: str = "a.npy") -> Make:
    """One sample of one's own, of which the input is bad."""

    def made(path: Path) -> None:
        for kind in ("inputs", "targets"):
            (path / kind).mkdir(parents=True)
        make(path / "inputs" / name)
        np.save(path / "targets" / "a.npy", Y[0])

    return made


RESULTS = {"format": "onnxnnw/results/1", "name": "a", "campaign": {}, "cuts": [], "steps": {}, "environment": {}}


def results(head: object = RESULTS, trials: bytes = b"") -> Make:
    def make(path: Path) -> None:
        path.mkdir()
        content = head if isinstance(head, bytes) else json.dumps(head).encode()
        (path / "results.json").write_bytes(content)
        (path / "trials.jsonl").write_bytes(trials)

    return make


def standing(name: str, make: Make) -> Make:
    """A folder of results in which one of the files is something else."""

    def made(path: Path) -> None:
        results()(path)
        (path / name).unlink()
        make(path / name)

    return made


REPORTS: Mapping[str, Make] = {
    "another format": results({**RESULTS, "format": "onnxnnw/results/9"}),
    "no format": results({}),
    "a list": results([1]),
    "a number": results(7),
    "NaN": results(b'{"format": "onnxnnw/results/1", "steps": {"seconds": NaN}}'),
    "name twice": results(b'{"format": "onnxnnw/results/1", "name": "a", "name": "b"}'),
    "not UTF-8": results(b'{"format": "\xff"}'),
    "torn": results(b'{"format": "onnxnnw/resu'),
    "negative steps": results({**RESULTS, "steps": {"count": -1}}),
    "steps as a text": results({**RESULTS, "steps": "many"}),
    "cuts as numbers": results({**RESULTS, "cuts": [1]}),
    "cuts of a text": results({**RESULTS, "cuts": [{"tables": ["2"], "sentence": "a"}]}),
    "a long cut": results({**RESULTS, "cuts": [{"tables": [2], "sentence": "a" * 10_000}]}),
    "date as a number": results({**RESULTS, "date": 20260101}),
    "trial of noise": results(trials=np.random.default_rng(1).bytes(300)),
    "trial as a list": results(trials=b"[]\n"),
    "trial of another format": results(trials=b'{"format": "onnxnnw/trial/9"}\n'),
    "trial without fields": results(trials=b'{"format": "onnxnnw/trial/1", "study": "detection"}\n'),
    "trial of infinity": results(trials=b'{"format": "onnxnnw/trial/1", "study": "detection", "rate": 1e999}\n'),
    "a trial of a megabyte": results(trials=b'{"a": "' + b"a" * 2**20 + b'"}\n'),
    **{f"trials: {name}": standing("trials.jsonl", make) for name, make in STANDING.items() if name != "empty"},
    **{f"results: {name}": standing("results.json", make) for name, make in STANDING.items()},
}  # fmt: skip


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 numbers in, 48 out."""
    return save(dense(), tmp_path_factory.mktemp("network") / "m.onnx")


@pytest.fixture
def answers(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str]]:
    """The exit code and what is said, within twenty seconds; nothing is left in the folder."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def late(number: int, frame: object) -> None:
        raise AssertionError("it takes too long, or waits")

    def ask(*arguments: object) -> tuple[int, str]:
        before = signal.signal(signal.SIGALRM, late)
        signal.alarm(20)
        try:
            with pytest.raises(SystemExit) as ended:
                main([str(argument) for argument in arguments])
        finally:
            signal.alarm(0)
            signal.signal(signal.SIGALRM, before)
        said = capfd.readouterr().err
        assert isinstance(ended.value.code, int)
        return ended.value.code, said

    return ask


def sentence(said: str) -> None:
    """One line, in words, about what was given."""
    line = said.strip()
    assert line.startswith("onnxnnw: ")
    assert "\n" not in line
    assert "Traceback" not in line
    assert "internal error" not in line
    assert ".partial" not in line
    assert line.isprintable()
    assert len(line) < 1500


def nothing_left(folder: Path) -> None:
    """No output, no partial file, no temporary folder."""
    assert [path.name for path in (folder / "work").iterdir()] == []


Answers = Callable[..., tuple[int, str]]


@pytest.mark.parametrize("case", STANDING)
def test_evaluate_of_what_is_no_campaign(answers: Answers, tmp_path: Path, case: str) -> None:
    """A device that never ends, a pipe that nobody writes into, a file of a terabyte: wrong usage, at once."""
    STANDING[case](tmp_path / "c.toml")
    code, said = answers("evaluate", tmp_path / "c.toml", "--dry-run")
    assert code == 2
    sentence(said)
    nothing_left(tmp_path)


def test_the_campaign_that_all_others_are_made_of_is_possible(answers: Answers, tmp_path: Path) -> None:
    """Else none of them would say anything."""
    settings()(tmp_path / "c.toml")
    assert answers("evaluate", tmp_path / "c.toml", "--dry-run") == (0, "")


@pytest.mark.parametrize("case", CAMPAIGNS)
def test_evaluate_of_an_impossible_campaign(answers: Answers, tmp_path: Path, case: str) -> None:
    """Told before anything is trained, and before anything is planned that has no end."""
    CAMPAIGNS[case](tmp_path / "c.toml")
    code, said = answers("evaluate", tmp_path / "c.toml", "-o", "out")
    assert code == 2, said
    sentence(said)
    nothing_left(tmp_path)


@pytest.mark.parametrize("case", [case for case in STANDING if case not in ("nothing", "a link to itself")])
def test_evaluate_into_results_of_something_else(answers: Answers, tmp_path: Path, case: str) -> None:
    """What stands where results go is not replaced, nor waited for."""
    settings()(tmp_path / "c.toml")
    (tmp_path / "out").mkdir()
    STANDING[case](tmp_path / "out" / "results.json")
    code, said = answers("evaluate", tmp_path / "c.toml", "-o", tmp_path / "out")
    assert code == 2, said
    sentence(said)


@pytest.mark.parametrize("case", STANDING)
@pytest.mark.parametrize("command", ["measure", "modify"])
def test_what_is_no_network(answers: Answers, tmp_path: Path, command: str, case: str) -> None:
    """It cannot be looked at, and the sentence names it."""
    STANDING[case](tmp_path / "m.onnx")
    arrays(inputs=X, targets=Y)(tmp_path / "own.npz")
    more = {
        "measure": ["--own", tmp_path / "own.npz", "--metric", "psnr"],
        "modify": ["gaussian-noise", "--ratio", "0.1", "-o", "out.onnx"],
    }
    code, said = answers(command, tmp_path / "m.onnx", *more[command])
    assert code == 3, said
    sentence(said)
    assert "m.onnx" in said
    nothing_left(tmp_path)


@pytest.mark.parametrize("case", [*STANDING, *OWN])
def test_measure_on_bad_samples(answers: Answers, tmp_path: Path, network: Path, case: str) -> None:
    """Nothing is unpickled, waited for, or believed."""
    {**STANDING, **OWN}[case](tmp_path / "own.npz")
    code, said = answers("measure", network, "--own", tmp_path / "own.npz", "--metric", "top1")
    assert code in (2, 3), said
    sentence(said)
    nothing_left(tmp_path)


@pytest.mark.parametrize("case", [case for case in STANDING if case != "nothing"])
@pytest.mark.parametrize("name", ["a.npy", "a.png"])
def test_measure_on_a_bad_sample_in_a_folder(
    answers: Answers, tmp_path: Path, network: Path, case: str, name: str
) -> None:
    """Arrays and images are regular files."""
    in_folders(STANDING[case], name)(tmp_path / "own")
    code, said = answers("measure", network, "--own", tmp_path / "own", "--metric", "top1")
    assert code == 3, said
    sentence(said)


@pytest.mark.slow
def test_measure_on_an_image_of_too_many_pixels(answers: Answers, tmp_path: Path, network: Path) -> None:
    """More than anybody opens, in a few bytes."""
    Image.MAX_IMAGE_PIXELS, before = None, Image.MAX_IMAGE_PIXELS
    in_folders(lambda path: Image.new("1", (30_000, 30_000)).save(path), "a.png")(tmp_path / "own")
    Image.MAX_IMAGE_PIXELS = before
    code, said = answers("measure", network, "--own", tmp_path / "own", "--metric", "top1")
    assert code == 3
    sentence(said)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--metric", "top1"],
        ["--own", "own.npz"],
        ["--task", "classification"],
        ["--task", "cooking", "--data", "."],
        ["--task", "", "--data", "."],
        ["--own", "own.npz", "--metric", "beauty"],
        ["--count", "0"],
        ["--count", "-3"],
        ["--count", "many"],
        ["--count", "9" * 30],
        ["--low", "nan", "--own", "o", "--metric", "psnr"],
        ["--low", "1", "--high", "1", "--own", "o", "--metric", "psnr"],
        ["--high", "inf", "--own", "o", "--metric", "psnr"],
        ["--task", "classification", "--data", ".", "--split", "../.."],
    ],
    ids=" ".join,
)  # fmt: skip
def test_measure_used_wrongly(answers: Answers, tmp_path: Path, network: Path, arguments: list[str]) -> None:
    """Options that say nothing, or nothing that there is."""
    code, said = answers("measure", network, *arguments)
    assert code in (2, 3), said
    assert "Traceback" not in said
    assert "internal error" not in said
    nothing_left(tmp_path)


@pytest.mark.parametrize(
    "arguments",
    [
        ["cooking"],
        ["gaussian-noise"],
        ["gaussian-noise", "--ratio"],
        ["gaussian-noise", "--ratio", "nan"],
        ["gaussian-noise", "--ratio", "inf"],
        ["gaussian-noise", "--ratio", "-1"],
        ["gaussian-noise", "--ratio", "1e400"],
        ["gaussian-noise", "--ratio", "1", "--ratio", "1"],
        ["gaussian-noise", "--ratio", "٣x"],
        ["gaussian-noise", "--noise", "1"],
        ["magnitude-pruning", "--percentage", "101"],
        ["magnitude-pruning", "--percentage", "-1"],
        ["quantization", "--bits", "0"],
        ["quantization", "--bits", "99"],
        ["quantization", "--bits", "1e3"],
        ["quantization", "--bits", "9" * 5000],
        ["static-quantization", "--batches", "0"],
        ["static-quantization", "--batches", "9" * 20],
        ["gaussian-noise", "--ratio", "1", "--seed", "-1"],
        ["gaussian-noise", "--ratio", "1", "--seed", "x"],
        ["fine-tuning", "--epochs", "1", "--data", "/dev/zero"],
    ],
    ids=lambda arguments: " ".join(arguments)[:60],
)  # fmt: skip
def test_modify_used_wrongly(answers: Answers, tmp_path: Path, network: Path, arguments: list[str]) -> None:
    """Unknown names, numbers that are none, too large or not in range."""
    code, said = answers("modify", network, *arguments, "-o", "out.onnx")
    assert code == 2, said
    assert "Traceback" not in said
    assert "internal error" not in said
    nothing_left(tmp_path)


@pytest.mark.parametrize("modification", [["gaussian-noise", "--ratio", "0.1"], ["dynamic-quantization"]])
@pytest.mark.parametrize(
    "place", ["missing/out.onnx", ".", "out/out.onnx", "full", "n" * 300 + ".onnx", "n" * 250 + ".onnx"]
)
def test_modify_where_nothing_can_be_written(
    answers: Answers, tmp_path: Path, network: Path, place: str, modification: list[str]
) -> None:
    """The sentence has the name that was given, not one of a file in between."""
    (tmp_path / "out").write_text("a file")
    if place == "full":
        place = "/dev/full"
    where = tmp_path / place if place.startswith("out") else place
    code, said = answers("modify", network, *modification, "-o", where)
    if place == "n" * 250 + ".onnx":  # as long as a name can be
        assert code == 0, said
        return
    assert code in (2, 3), said
    sentence(said)
    assert place[:200] in said
    nothing_left(tmp_path)


@pytest.mark.parametrize("case", [*REPORTS, *(case for case in STANDING if case != "folder")])
def test_report_on_bad_results(answers: Answers, tmp_path: Path, case: str) -> None:
    """It cannot be looked at, and no page is written."""
    {**STANDING, **REPORTS}[case](tmp_path / "results")
    code, said = answers("report", tmp_path / "results", "-o", "page.html")
    assert code == 3, said
    sentence(said)
    nothing_left(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("command", ["evaluate", "modify", "verify", "report", "measure"])
def test_a_command_that_is_terminated_leaves_nothing(tmp_path: Path, command: str) -> None:
    """SIGTERM in the middle: exit code 143, a sentence, no partial file, no temporary folder, no process."""
    settings()(tmp_path / "c.toml")
    network = save(dense(layers=6, width=512), tmp_path / "m.onnx")
    (tmp_path / "out").mkdir()
    slow = (
        "import os, signal, sys, tempfile, time\n"
        "from pathlib import Path\n"
        "from onnxnnw.cli.entry import main\n"
        "from onnxnnw.network_file import writing\n"
        "import onnxnnw.network_file.file as file\n"
        "def wait(*a, **k):\n"
        "    with writing.atomic_file(Path('out/a')), tempfile.TemporaryDirectory(dir='out'):\n"
        "        print('ready', flush=True)\n"
        "        time.sleep(60)\n"
        f"import {WAITS[command][0]} as module\n"
        f"module.{WAITS[command][1]} = wait\n"
        "main(sys.argv[1:])\n"
    )
    arguments = {
        "evaluate": ["c.toml", "-o", "out/results", "--cache", "out/cache"],
        "modify": [network, "gaussian-noise", "--ratio", "0.1", "-o", "out/m.onnx"],
        "verify": [network, "--record", "a"],
        "report": ["r", "-o", "out/r.html"],
        "measure": [network, "--own", "own.npz", "--metric", "top1"],
    }
    process = subprocess.Popen(
        [sys.executable, "-c", slow, command, *map(str, arguments[command])],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    assert list((tmp_path / "out").iterdir())
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=20)[1]
    assert process.returncode == 143, said
    assert said.strip().splitlines()[-1] == "onnxnnw: terminated"
    assert [path.name for path in (tmp_path / "out").iterdir() if path.name != "cache"] == []


WAITS = {
    "evaluate": ("onnxnnw.campaign.running", "evaluate"),
    "modify": ("onnxnnw.modifications.base", "apply"),
    "verify": ("onnxnnw.evidence.question", "ask"),
    "report": ("onnxnnw.report.writing", "write_report"),
    "measure": ("onnxnnw.training.networks", "measure_own"),
}
"""Command -> what it calls, and where that stands."""


@pytest.mark.slow
def test_a_campaign_that_is_terminated_leaves_no_worker(tmp_path: Path) -> None:
    """The processes that do its steps end with it."""
    pytest.importorskip("joblib")
    without("training = 64", "training = 20000")(tmp_path / "c.toml")
    (tmp_path / "tmp").mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "onnxnnw", "evaluate", "c.toml", "-o", "out", "--cache", "cache", "--jobs", "2"],
        cwd=tmp_path, stderr=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(tmp_path / "tmp")},
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not (begun := list(tmp_path.glob("cache/work/*/*"))) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert begun
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 143, said
    time.sleep(1)
    assert not [p for p in Path("/proc").glob("[0-9]*/cwd") if _leads(p, tmp_path)]
    assert not list(tmp_path.rglob("*.partial"))
    assert not list((tmp_path / "tmp").iterdir())


def _leads(path: Path, folder: Path) -> bool:
    try:
        return path.resolve() == folder.resolve()
    except OSError:
        return False
