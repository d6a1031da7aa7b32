"""Killed, or out of room: the destination is whole, old or new."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper

from onnxnnw.graph.digest import network_digest
from onnxnnw.graph.slots import find_slots
from onnxnnw.network_file.file import open_network
from onnxnnw.records.record_file import load_record
from tests.support.networks import externalise, model_of, save, weight

ROOT = Path(__file__).parents[2]
WIDTH = 1024
COMMANDS = ("embed", "modify")
STORAGE = ("embedded", "external")


def source(folder: Path, storage: str, seed: int) -> Path:
    """A network of 16 MB, so that writing it takes a while."""
    folder.mkdir()
    nodes = [helper.make_node("MatMul", [f"v{k}", f"w{k}"], [f"v{k + 1}"]) for k in range(4)]
    tensors = [weight(f"w{k}", WIDTH, WIDTH, seed=10 * seed + k) for k in range(4)]
    model: ModelProto = model_of(nodes, tensors, ["v0"], ["v4"])
    if storage == "embedded":
        return save(model, folder / "m.onnx")
    return externalise(model, folder, "m.onnx", lambda name: "w.bin" if name != "w0" else None)


def command(kind: str, model: Path, out: Path, record: Path) -> list[str]:
    """The command line of one run."""
    start = [sys.executable, "-m", "onnxnnw"]
    if kind == "embed":
        return [*start, "embed", str(model), "-o", str(out), "--record", str(record)]
    return [*start, "modify", str(model), "gaussian-noise", "--ratio", "0.1", "-o", str(out)]


def digest(path: Path) -> str:
    """Raises where the network is not whole: every weight is read."""
    with open_network(path) as network:
        assert len(find_slots(network).slots) == 4
        return network_digest(network)


def check(out: Path, old: str, new: set[str]) -> bool:
    """The destination is whole, and either old or one of the new; whether it is new."""
    found = digest(out)
    assert found == old or found in new or not new
    return found != old


def leftovers(folder: Path) -> set[str]:
    """Files that a run may leave: partial ones and data that no model refers to."""
    return {p.name for p in folder.iterdir() if not p.name.endswith(".partial")}


@pytest.mark.slow
@pytest.mark.parametrize("kind", COMMANDS)
@pytest.mark.parametrize("storage", STORAGE)
def test_a_kill_at_any_moment_leaves_a_whole_network(tmp_path: Path, kind: str, storage: str) -> None:
    """Ten kills for each of embed and modify, embedded and external: 40 at random moments, old or new each time."""
    model = source(tmp_path / "in", storage, 1)
    older = source(tmp_path / "old", storage, 2)
    out = tmp_path / "out"
    out.mkdir()
    started = time.perf_counter()
    subprocess.run(command("modify", older, out / "m.onnx", out / "r"), cwd=ROOT, check=True, capture_output=True)
    whole = time.perf_counter() - started
    before = digest(out / "m.onnx")
    rng = random.Random(f"{kind} {storage}")
    replaced = 0
    for attempt in range(10):
        record = out / f"record-{attempt}"
        with subprocess.Popen(
            command(kind, model, out / "m.onnx", record), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            time.sleep(rng.uniform(0.2, 1.1) * whole)
            process.send_signal(signal.SIGKILL)
        new = {load_record(record).derived["digest"]} if record.exists() else set()
        if check(out / "m.onnx", before, new):
            replaced += 1
            before = digest(out / "m.onnx")
            assert kind == "modify" or new, "the record is on the disk before the network takes its name"
    with open_network(model) as network:
        find_slots(network)
        network.check_unchanged()
    assert replaced <= 10
    subprocess.run(command(kind, model, out / "m.onnx", out / "last"), cwd=ROOT, check=True, capture_output=True)
    check(out / "m.onnx", before, set())


_IN_STEPS = """
import os, signal, sys
from onnxnnw.network_file import patch, source, wire
from onnxnnw.enrolment import enrol
from onnxnnw.records import record_file
from onnxnnw.modifications.base import apply
from onnxnnw.modifications.gaussian_noise import GaussianNoise

left = int(sys.argv[1])

def counted(function):
    def call(*arguments, **named):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **named)
    return call

for name in ("pwrite", "fsync", "copy_file_range", "link", "rename", "replace", "unlink", "open", "close"):
    if hasattr(os, name):
        setattr(os, name, counted(getattr(os, name)))
kind, model, out, record = sys.argv[2:]
if kind == "embed":
    enrol.embed(model, out, record, positions=64)
else:
    apply(GaussianNoise(ratio=0.1), model, out)
print("done")
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", COMMANDS)
@pytest.mark.parametrize("storage", STORAGE)
def test_a_kill_between_any_two_steps_leaves_a_whole_network(tmp_path: Path, kind: str, storage: str) -> None:
    """Killed before its n-th call to the operating system, for n spread over the whole run."""
    nodes = [helper.make_node("MatMul", [f"v{k}", f"w{k}"], [f"v{k + 1}"]) for k in range(4)]
    models = []
    for seed in (1, 2):
        (tmp_path / f"in{seed}").mkdir()
        tensors = [weight(f"w{k}", 48, 48, seed=10 * seed + k) for k in range(4)]
        model = model_of(nodes, tensors, ["v0"], ["v4"])
        place = (lambda name: "w.bin" if name != "w0" else None) if storage == "external" else (lambda name: None)
        models.append(externalise(model, tmp_path / f"in{seed}", "m.onnx", place))
    from onnxnnw.modifications.base import apply
    from onnxnnw.modifications.gaussian_noise import GaussianNoise

    steps = 5 if kind == "modify" else 70  # embed also writes the mark, one element at a time
    outcomes = set()
    for k in range(8):
        folder = tmp_path / f"out{k}"
        folder.mkdir()
        out = folder / "m.onnx"
        apply(GaussianNoise(ratio=0.1), models[1], out)
        before = digest(out)
        arguments = [
            sys.executable,
            "-c",
            _IN_STEPS,
            str(steps + 3 * k),
            kind,
            str(models[0]),
            str(out),
            str(folder / "r"),
        ]
        done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode in (0, -signal.SIGKILL), done.stderr
        new = {load_record(folder / "r").derived["digest"]} if (folder / "r").exists() else set()
        outcomes.add(check(out, before, new))
    assert outcomes <= {False, True}


@pytest.mark.parametrize("kind", COMMANDS)
@pytest.mark.parametrize("storage", STORAGE)
def test_no_room_leaves_the_old_network_and_no_record(tmp_path: Path, kind: str, storage: str) -> None:
    """A limit on the size of files, at ten places: an error, the old network, nothing else (40 runs in all)."""
    import resource

    from onnxnnw.enrolment.enrol import embed
    from onnxnnw.modifications.base import apply
    from onnxnnw.modifications.gaussian_noise import GaussianNoise

    (tmp_path / "in").mkdir()
    nodes = [helper.make_node("MatMul", [f"v{k}", f"w{k}"], [f"v{k + 1}"]) for k in range(4)]
    model = model_of(nodes, [weight(f"w{k}", 48, 48, seed=k) for k in range(4)], ["v0"], ["v4"])
    place = (lambda name: "w.bin" if name != "w0" else None) if storage == "external" else (lambda name: None)
    path = externalise(model, tmp_path / "in", "m.onnx", place)
    out = tmp_path / "out"
    out.mkdir()
    apply(GaussianNoise(ratio=0.1), path, out / "m.onnx", seed=9)
    files = {p.name: p.read_bytes() for p in out.iterdir()}

    def run() -> None:
        if kind == "embed":
            embed(path, out / "m.onnx", out / "record", positions=64)
        else:
            apply(GaussianNoise(ratio=0.1), path, out / "m.onnx")

    largest = max(p.stat().st_size for p in (tmp_path / "in").iterdir())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        for limit in np.linspace(0, largest - 1, 10).astype(int).tolist():
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
            try:
                with pytest.raises(OSError, match=r"File too large|No space"):
                    run()
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            assert {p.name: p.read_bytes() for p in out.iterdir()} == files
    finally:
        signal.signal(signal.SIGXFSZ, ignored)


@pytest.mark.slow
def test_the_command_line_says_no_room_with_3(tmp_path: Path) -> None:
    """Exit code 3, one line, no traceback."""
    model = save(model_of([helper.make_node("MatMul", ["x", "w"], ["y"])], [weight("w", 64, 64)]), tmp_path / "m.onnx")
    shell = 'ulimit -f 8; trap "" XFSZ; exec "$@"'
    arguments = ["sh", "-c", shell, "sh", *command("embed", model, tmp_path / "out.onnx", tmp_path / "record")]
    done = subprocess.run(
        [*arguments, "--positions", "64"], cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.onnx"]


@pytest.mark.slow
def test_a_network_larger_than_the_limit_on_memory_is_modified_in_pieces(tmp_path: Path) -> None:
    """One tensor at a time: eight tensors of 8 MB under a ceiling that holds two or three of them."""
    if not Path("/proc/self/status").exists():
        pytest.skip("peak memory is read from /proc")
    nodes = [helper.make_node("MatMul", [f"v{k}", f"w{k}"], [f"v{k + 1}"]) for k in range(24)]
    one = weight("w", 1024, 2048)
    tensors = []
    for k in range(24):
        proto = TensorProto()
        proto.CopyFrom(one)
        proto.name = f"w{k}"
        tensors.append(proto)
    path = save(model_of(nodes, tensors, ["v0"], ["v24"]), tmp_path / "m.onnx")
    program = (
        "import sys; from onnxnnw.modifications.base import apply\n"
        "from onnxnnw.modifications.gaussian_noise import GaussianNoise\n"
        "apply(GaussianNoise(ratio=0.1), sys.argv[1], sys.argv[2])\n"
        "print(next(l.split()[1] for l in open('/proc/self/status') if l.startswith('VmHWM')))"
    )
    arguments = [sys.executable, "-c", program, str(path), str(tmp_path / "o.onnx")]
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=True)
    assert path.stat().st_size > 190 * 10**6
    assert int(done.stdout) * 1024 < 150 * 10**6
