"""Windows and macOS as far as they can be had here: the main job without what they lack gives the same bytes and answers."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.external_data_helper import convert_model_to_external_data

from onnxnnw import files
from tests.support.networks import dense, save

ROOT = Path(__file__).parent.parent

MAIN_JOB = """
import sys
from pathlib import Path
from tests.support.other_systems import become
if sys.argv[1] != "this":
    become(sys.argv[1])
from onnxnnw.cli.entry import main
from onnxnnw.enrolment.enrol import embed, fingerprint
from onnxnnw.records.key import Key
place = Path(sys.argv[2])
key = Key(b"k" * 32)
embed(place / "net.onnx", place / "marked.onnx", place / "mark.record", key=key)
embed(place / "net.onnx", place / "second.onnx", place / "second.record", key=Key(b"2" * 32))
fingerprint(place / "net.onnx", place / "print.record", key=key)
embed(place / "external.onnx", place / "apart.onnx", place / "apart.record", key=key)
def run(line):
    print("$", line)
    try:
        main(line.split())
    except SystemExit as ended:
        print("->", ended.code)
run("verify marked.onnx --record mark.record --full")
run("verify net.onnx --record mark.record")
run("verify apart.onnx --record apart.record --json")
run("verify net.onnx --record print.record --require identical")
run("verify marked.onnx --records .")
run("inspect external.onnx")
run("digest apart.onnx")
run("modify marked.onnx gaussian-noise --ratio 0.1 --seed 3 -o noisy.onnx")
run("verify noisy.onnx --record mark.record")
run("verify . --record mark.record")
run("verify marked.onnx --record .")
run("verify missing.onnx --record mark.record")
run("embed marked.onnx -o x.onnx --record mark.record")
"""


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network, and the same with its weights in another file."""
    place = tmp_path_factory.mktemp("originals")
    save(dense(width=64), place / "net.onnx")
    apart = onnx.load(place / "net.onnx")
    convert_model_to_external_data(apart, location="external.bin", size_threshold=0)
    onnx.save(apart, place / "external.onnx")
    return place


def answers(system: str, originals: Path, place: Path) -> tuple[str, dict[str, bytes]]:
    """What the main job prints, and what it leaves; times left out."""
    place.mkdir()
    for path in originals.iterdir():
        (place / path.name).write_bytes(path.read_bytes())
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    command = [sys.executable, "-c", MAIN_JOB, system, str(place)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=place, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if " ms each" not in line and "seconds_per_record" not in line]
    assert "internal error" not in done.stderr
    return "\n".join(lines), {p.name: p.read_bytes() for p in place.iterdir()}


@pytest.fixture(scope="module")
def here(originals: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, bytes]]:
    """The same job with all that this system has."""
    return answers("this", originals, tmp_path_factory.mktemp("here") / "place")


@pytest.mark.slow
@pytest.mark.parametrize("system", ["windows", "macos"])
def test_the_main_job_gives_the_same_where_calls_are_missing(system, originals, here, tmp_path):
    """Every answer, exit code and byte that is written."""
    said, left = answers(system, originals, tmp_path / "place")
    assert said == here[0]
    assert left == here[1]
    codes = [int(line.split()[1]) for line in said.splitlines() if line.startswith("->")]
    assert codes == [0, 1, 0, 0, 0, 0, 0, 0, 0, 3, 3, 3, 2]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes have names on POSIX systems")
@pytest.mark.parametrize("arguments", ["verify pipe.onnx --record r", "verify net.onnx --record pipe.onnx"])
def test_a_pipe_is_refused_where_nothing_can_be_opened_without_waiting(arguments, originals, tmp_path):
    """Its kind is looked at before it is opened; nobody ever writes to it."""
    os.mkfifo(tmp_path / "pipe.onnx")
    (tmp_path / "net.onnx").write_bytes((originals / "net.onnx").read_bytes())
    script = f"""
from tests.support.other_systems import become
become("windows")
from onnxnnw.cli.entry import main
main({arguments.split()!r})
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=60)
    assert (done.returncode, "a pipe" in done.stderr or "cannot be opened" in done.stderr) == (3, True), done.stderr


def test_threads_that_share_a_descriptor_read_what_they_asked_for(tmp_path):
    """Seeking and reading are one step for them."""
    numbers = np.arange(200_000, dtype="<u4")
    path = tmp_path / "numbers"
    path.write_bytes(numbers.tobytes())
    wrong: list[int] = []
    descriptor = os.open(path, os.O_RDONLY)

    def read(first: int) -> None:
        for place in range(first, 200_000 - 64, 997):
            got = files._seek_and_read(descriptor, 256, 4 * place)
            if not np.array_equal(np.frombuffer(got, "<u4"), numbers[place : place + 64]):
                wrong.append(place)

    threads = [threading.Thread(target=read, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os.close(descriptor)
    assert not wrong


def test_writing_at_a_place_without_the_call_for_it(tmp_path):
    """What was not written stays, and what is beyond the end becomes zeros, as with pwrite."""
    with (tmp_path / "file").open("w+b") as file:
        file.write(b"abcdef")
        file.flush()
        assert files._seek_and_write(file.fileno(), b"XY", 2) == 2
        assert files._seek_and_write(file.fileno(), memoryview(b"Z"), 8) == 1
        target = bytearray(4)
        assert files._read_and_copy(file.fileno(), memoryview(target), 1) == 4
        assert files._read_and_copy(file.fileno(), memoryview(target), 9) == 0
    assert target == b"bXYe"
    assert (tmp_path / "file").read_bytes() == b"abXYef\0\0Z"
