"""The benchmarks run at a tiny size; nobody's speed is tested here."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from benchmarks import machine, networks, tables
from benchmarks.__main__ import names
from onnxnnw.graph.slots import find_slots
from onnxnnw.network_file.file import open_network

ROOT = Path(__file__).parent.parent
SPEED = {
    "imports": (),
    "fingerprint": ("--sizes", "100KB"),
    "embed": ("--sizes", "100KB"),
    "modify": ("--sizes", "100KB", "--layers", "10KB", "--names", "gaussian-noise"),
    "verify": ("--sizes", "100KB", "--nodes", "210", "--thorough", "200KB"),
}


def started(*arguments):
    """``python -m benchmarks …`` from the top of the repository."""
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=300
    )


def test_every_file_with_a_main_is_found():
    """A new benchmark is one new file."""
    assert set(SPEED) | {"robustness"} <= set(names())
    assert not {"machine", "networks", "tables", "contenders", "__main__"} & set(names())


def test_an_unknown_benchmark_is_wrong_usage():
    """The message lists the known ones."""
    done = started("nonsense")
    assert done.returncode == 2
    assert "verify" in done.stderr


@pytest.mark.parametrize(
    "name", ["fingerprint", *(pytest.param(n, marks=pytest.mark.slow) for n in SPEED if n != "fingerprint")]
)
def test_a_tiny_run_ends_in_a_table(name, tmp_path):
    """The report names its command, machine and date, no places, and leaves no file."""
    page = tmp_path / "page.md"
    room = tmp_path / "room"
    room.mkdir()
    done = started(name, *SPEED[name], "--repeats", "0", "--output", str(page), "--folder", str(room))
    assert done.returncode == 0, done.stderr
    last = page.read_text().partition("-->\n")[2].rpartition("\n<!--")[0]
    assert done.stdout.strip().endswith(last)  # the page holds the last state of a report that grew
    assert last.count("\nDate: 2") == 1
    assert f"Command: `python -m benchmarks {name}" in done.stdout
    assert "\nDate: 2" in done.stdout
    assert "\n|---|" in done.stdout
    assert str(tmp_path) not in done.stdout
    assert not list(room.iterdir())


@pytest.mark.parametrize("external", [False, True], ids=["embedded", "external"])
@pytest.mark.parametrize("form", networks.FORMS)
def test_streamed_networks_are_what_onnx_reads(form, external, tmp_path):
    """The framing by hand gives a file that onnx accepts, with the weights that were meant."""
    path = tmp_path / "net.onnx"
    networks.write_network(path, 200_000, form=form, external=external)
    onnx.checker.check_model(str(path), full_check=True)
    stored = {t.name: numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}
    prefix = "w" if form == "plain" else "onnx::Weight_"
    for number, layer in enumerate(networks.layers_of(200_000)):
        expected = {"folded": layer.folded, "int8": lambda one=layer: one.quantised()[0]}.get(form, layer.values)()
        np.testing.assert_array_equal(expected, stored[f"{prefix}{number}"])


def test_holes_of_a_sparse_file_read_as_zeros(tmp_path):
    """The offsets are those of a full file; one layer in four is filled."""
    path = tmp_path / "net.onnx"
    networks.write_network(path, 200_000, external=True, filled=0.25)
    with open_network(path) as network:
        filled = [bool(slot.array().any()) for slot in find_slots(network).slots]
    assert [False, False, False, True] * (len(filled) // 4) == filled[: len(filled) // 4 * 4]


def test_a_network_of_many_nodes_has_about_so_many(tmp_path):
    """Constants count as nodes, as they do in a file."""
    path = tmp_path / "net.onnx"
    networks.write_nodes(path, 2100)
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert len(model.graph.node) == 2100


def test_a_missing_competitor_is_left_out():
    """Not installed is not an error."""
    contenders = [machine.Contender("there", machine.python("-c", "pass")), machine.Contender("missing", None)]
    assert list(machine.compare(contenders, 0)) == ["there"]


def test_a_command_that_fails_stops_the_benchmark():
    """Nobody measures how fast an error is."""
    with pytest.raises(machine.Failed, match="ended with 7"):
        machine.compare([machine.Contender("broken", machine.python("-c", "raise SystemExit(7)"))], 0)


@pytest.mark.skipif(not hasattr(os, "wait4"), reason="no wait4 here")
def test_peak_memory_is_the_childs():
    """200 MB that a child touches are seen; a child that does nothing needs less.

    Measured from a small process, as the benchmarks are: the kernel counts what a process held before it became another.
    """
    program = (
        "from benchmarks import machine\n"
        "for code in ('pass', 'x = bytearray(200_000_000); x[::4096] = x[::4096]'):\n"
        "    print(machine.run(machine.python('-c', code)).peak_mb)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    small, large = map(float, done.stdout.split())
    assert large > 190
    assert small < large


def test_a_report_replaces_itself_in_a_page(tmp_path, capsys):
    """Text around the markers stays; a second run changes only what is between them."""
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- begin x -->\nold\n<!-- end x -->\nafter\n")
    report = tables.Report("x", ["--output", str(page), "--repeats", "3"])
    report.table("title", ["a", "b"], [("1", "2")])
    report.publish(page)
    text = page.read_text()
    assert text.startswith("before\n<!-- begin x -->\nCommand: `python -m benchmarks x --repeats 3`.")
    assert text.endswith("| 1 | 2 |\n<!-- end x -->\nafter\n")
    assert "old" not in text
    capsys.readouterr()


def test_a_table_that_grows_takes_its_own_place(tmp_path, capsys):
    """Rows that are measured later join their table; what stands after it stays, and so do other sections of the page."""
    page = tmp_path / "page.md"
    for section in ("x", "x-10GB"):
        report = tables.Report("x", ["--section", section], section)
        report.table("first", ["a"], [(section,)])
        report.table("second", ["b"], [("2",)])
        report.publish(page)
        report.table("first", ["a"], [(section,), ("more",)])
        report.publish(page)
    text = page.read_text()
    assert text.count("**first**") == text.count("| more |\n\n**second**") == 2
    assert text.count("<!-- begin x -->") == text.count("<!-- begin x-10GB -->") == 1
    assert "| x |" in text
    assert "--section" not in text
    capsys.readouterr()


@pytest.mark.parametrize(("text", "size"), [("1.9GB", 1_900_000_000), ("100KB", 100_000), ("4mb", 4_000_000)])
def test_sizes_are_decimal(text, size):
    """MB is 10^6 bytes, as in the budgets."""
    assert size == tables.parse_size(text)
    assert tables.parse_size(tables.size_text(size).replace(" ", "")) == size


def test_within_says_by_how_much_a_budget_is_missed():
    """Both numbers stand beside the answer."""
    assert tables.within(1.0, 2.0, "s") == "holds: 1 ≤ 2 s"
    assert "missed by 50 %" in tables.within(3.0, 2.0, "s")
