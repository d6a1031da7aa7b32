"""The command line's contract: exit codes, streams, JSON, and errors that are one line."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from onnxnnw.campaign import preset
from onnxnnw.cli import main
from onnxnnw.cli.entry import build_app

ENVIRONMENT = {**os.environ, "PYTHONIOENCODING": "utf-8", "COLUMNS": "200"}


def run(*arguments: object, **options) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own."""
    command = [sys.executable, "-m", "onnxnnw", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=ENVIRONMENT, **options)


def test_the_main_job(resnet8, tmp_path):
    """embed and verify: 0 for the marked network, 1 for the unmarked one; commitment and gate included."""
    marked, record = tmp_path / "marked.onnx", tmp_path / "net.record"
    done = run("embed", resnet8, "-o", marked, "--record", record, "--actor", "ACME", "--role", "Tracker", "--json")
    assert done.returncode == 0, done.stderr
    enrolment = json.loads(done.stdout)
    assert enrolment["format"] == "onnxnnw/enrolment/1"
    assert oct(record.stat().st_mode & 0o777) == "0o600"
    yes = run("verify", marked, "--record", record, "--commitment", enrolment["commitment"])
    assert (yes.returncode, yes.stderr) == (0, "")
    assert yes.stdout.startswith("traced")
    assert "Tracker ACME" in yes.stdout
    no = run("verify", resnet8, "--record", record, "--json")
    assert no.returncode == 1
    verdict = json.loads(no.stdout)
    assert verdict["decision"] == "not traced"
    assert "same network without this mark" in [finding["name"] for finding in verdict["findings"]]


@pytest.mark.slow
def test_a_fingerprint_knows_the_network(resnet8, tmp_path):
    """fingerprint, then verify --full: identical."""
    record = tmp_path / "net.record"
    assert run("fingerprint", resnet8, "-o", record, "--positions", 256).returncode == 0
    done = run("verify", resnet8, "--record", record, "--require", "identical")
    assert done.returncode == 0
    assert done.stdout.startswith("identical")


@pytest.mark.slow
def test_a_gate_for_the_very_file_fails_on_a_changed_one(enrolled, tmp_path):
    """--require identical: a traced but changed network exits 1."""
    noisy = tmp_path / "noisy.onnx"
    assert run("modify", enrolled.marked, "gaussian-noise", "--ratio", 0.01, "-o", noisy).returncode == 0
    done = run("verify", noisy, "--record", enrolled.record, "--require", "identical")
    assert done.returncode == 1
    assert done.stdout.startswith("traced")


@pytest.mark.slow
def test_a_folder_of_records_is_searched(enrolled, tmp_path):
    """The best match comes first, p is multiplied by the number of records, and other files are reported."""
    folder = tmp_path / "records"
    folder.mkdir()
    for name in ("mark", "fingerprint"):
        (folder / f"{name}.record").write_bytes(getattr(enrolled, "record" if name == "mark" else name).read_bytes())
    (folder / "notes.txt").write_text("not a record")
    done = run("verify", enrolled.marked, "--records", folder, "--json")
    assert done.returncode == 0
    found = json.loads(done.stdout)
    assert found["record"] == "mark.record"
    assert len(found["records"]) == 2
    assert len(found["unreadable_records"]) == 1
    alone = json.loads(run("verify", enrolled.marked, "--record", enrolled.record, "--json").stdout)
    assert found["log10_p"] == pytest.approx(alone["log10_p"] + 0.30103, abs=1e-3)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["verify", "{marked}"], 2, "records"),
        (["verify", "{marked}", "--record", "{record}", "--records", "."], 2, "one of the two"),
        (["verify", "{marked}", "--record", "{record}", "--require", "perfect"], 2, "traced or identical"),
        (["verify", "{marked}", "--record", "{record}", "--false-positive-rate", "nan"], 2, "rate"),
        (["verify", "{marked}", "--record", "{record}", "--min-explained", "nan"], 2, "between 0 and 1"),
        (["verify", "{marked}", "--record", "{record}", "--commitment", "00"], 3, "committed"),
        (["verify", "{marked}", "--unknown"], 2, "No such option"),
        (["verify", "missing.onnx", "--record", "{record}"], 3, "missing.onnx"),
        (["verify", "{record}", "--record", "{record}"], 3, "is a record"),
        (["verify", "{marked}", "--record", "{marked}"], 3, "record"),
        (["embed", "{marked}", "-o", "{marked}", "--record", "new.record"], 2, "same file"),
        (["embed", "{marked}", "-o", "x.onnx", "--record", "{record}"], 2, "never overwritten"),
        (["embed", "{marked}", "-o", "x.onnx", "--record", "r", "--strength", "inf"], 2, "strength"),
        (["embed", "{marked}", "-o", "x.onnx", "--record", "r", "--role", "King"], 2, "Tracker"),
        (["embed", "{marked}", "-o", "x.onnx", "--record", "r", "--positions", "100000"], 3, "room for"),
        (["embed", "{marked}", "-o", "no/such/folder/x.onnx", "--record", "r"], 2, "there is no folder"),
        (["modify", "{marked}", "nois", "-o", "x.onnx"], 2, "gaussian-noise"),
        (["modify", "{marked}", "gaussian-noise", "-o", "x.onnx"], 2, "--ratio"),
        (["modify", "{marked}", "gaussian-noise", "--rate", "1", "-o", "x.onnx"], 2, "--ratio"),
        (["modify", "{marked}", "gaussian-noise", "--ratio", "much", "-o", "x.onnx"], 2, "float"),
        (["modify", "{marked}", "quantization", "--bits", "nan", "-o", "x.onnx"], 2, "int"),
        (["modify", "{marked}", "runtime-optimization", "-o", "{marked}"], 2, "same file"),
        (["modify", "{marked}", "runtime-optimization", "-o", "."], 2, "is a folder"),
        (["inspect", "."], 3, "regular file"),
        (["digest", "missing.onnx"], 3, "missing.onnx"),
        (["nonsense"], 2, "nonsense"),
    ],
)
def test_errors_are_one_line_with_the_right_code(arguments, code, words, enrolled, tmp_path, monkeypatch, capfd):
    """Exit 2 for wrong usage, 3 for what cannot be examined; nothing on stdout, no traceback, nothing left behind."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main([a.format(marked=enrolled.marked, record=enrolled.record) for a in arguments])
    shown = capfd.readouterr()
    assert ended.value.code == code, shown.err
    assert words in shown.err
    assert "Traceback" not in shown.err
    assert shown.out == ""
    assert list(tmp_path.iterdir()) == []


def test_names_cannot_write_to_the_terminal(tmp_path, enrolled):
    """Control characters in a file's name arrive visible, not as commands to the terminal."""
    evil = tmp_path / "a\x1b[31mred.onnx"
    evil.write_bytes(Path(enrolled.marked).read_bytes())
    done = run("verify", evil, "--record", enrolled.record)
    assert done.returncode == 0
    assert "\x1b" not in done.stdout
    assert "\\x1b[31mred" in done.stdout


@pytest.mark.slow
def test_inspect_and_digest_answer_as_json(resnet8):
    """Both are versioned documents."""
    found = json.loads(run("inspect", resnet8, "--json").stdout)
    assert found["format"] == "onnxnnw/inspection/1"
    assert found["live_elements"] == 77_360
    digest = json.loads(run("digest", resnet8, "--json").stdout)
    assert len(digest["digest"]) == 64


def test_version_help_and_list():
    """The doors that every newcomer tries first."""
    assert run("--version").stdout.startswith("onnxnnw ")
    assert run("--help").returncode == 0
    listed = run("modify", "--list")
    assert listed.returncode == 0
    assert "--percentage" in listed.stdout
    for command in (
        "embed",
        "fingerprint",
        "verify",
        "inspect",
        "digest",
        "modify",
        "demo",
        "export",
        "train",
        "measure",
    ):
        helped = run(command, "--help")
        assert helped.returncode == 0, command
        assert "Example:" in helped.stdout, command


def test_what_is_written_goes_where_output_says():
    """One name for one thing: every command that writes calls its place --output, and -o for short."""
    commands = typer.main.get_command(build_app()).commands
    places = {
        name: sorted(option.opts)
        for name, command in commands.items()
        for option in command.params
        if {"-o", "--output", "--out"} & set(option.opts)
    }
    writing = {"demo", "embed", "evaluate", "export", "fingerprint", "method", "modify", "report", "sign", "train"}
    assert places == {name: ["--output", "-o"] for name in writing}


PAGES = [Path(__file__).parents[2] / name for name in ("README.md", "docs/guide/campaigns.md", "docs/guide/report.md")]
EVALUATIONS = [
    (page, line.strip())
    for page in PAGES
    for line in page.read_text("utf-8").splitlines()
    if line.strip().startswith(("onnxnnw evaluate", "onnxnnw report"))
]


@pytest.mark.parametrize(("page", "line"), EVALUATIONS, ids=[f"{page.name}: {line[:60]}" for page, line in EVALUATIONS])
def test_evaluations_on_the_pages_can_be_typed(page, line):
    """Their options exist, presets are called by --preset, and data is named where a preset needs it."""
    _, name, *arguments = shlex.split(line, comments=True)
    command = typer.main.get_command(build_app()).commands[name]
    given = command.make_context(name, arguments).params
    if name == "evaluate":
        campaign, chosen = given["campaign"], given["preset"]
        assert (campaign is None) != (chosen is None)
        assert campaign is None or campaign.suffix == ".toml" or campaign.name == "CAMPAIGN"
        assert given["data"] or chosen is None or preset(chosen).generated
        assert given["out"] or given["dry_run"]


def test_a_closed_pipe_is_no_traceback(enrolled):
    """`onnxnnw … | head -0` ends quietly."""
    command = f"{sys.executable} -m onnxnnw modify --list | head -n 0"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, env=ENVIRONMENT)
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


FULL = Path("/dev/full")


@pytest.mark.slow
@pytest.mark.skipif(not FULL.exists(), reason="no device here that is always full")
@pytest.mark.parametrize(
    ("arguments", "streams", "code"),
    [
        (["MARKED", "--record", "RECORD"], ">&-", 0),
        (["MARKED", "--record", "RECORD"], "2>&-", 0),
        (["MARKED", "--record", "RECORD"], ">/dev/full", 3),
        (["MARKED", "--record", "RECORD"], "2>/dev/full", 0),
        (["ORIGINAL", "--record", "RECORD"], "2>/dev/full", 1),
        (["nowhere.onnx", "--record", "RECORD"], "2>/dev/full", 3),
        (["MARKED", "--record", "RECORD", "--bogus"], "2>/dev/full", 2),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_the_exit_code_is_the_answer_whatever_becomes_of_the_words(enrolled, arguments, streams, code):
    """Streams that are closed or full change no answer, but one that could not be given is none."""
    places = {"MARKED": enrolled.marked, "ORIGINAL": enrolled.original, "RECORD": enrolled.record}
    words = [sys.executable, "-m", "onnxnnw", "verify", *(str(places.get(word, word)) for word in arguments)]
    done = subprocess.run(
        ["sh", "-c", f"{shlex.join(words)} {streams}"], capture_output=True, timeout=60, env=ENVIRONMENT
    )
    assert done.returncode == code
    assert b"Traceback" not in done.stderr


@pytest.mark.slow
def test_a_terminal_that_knows_few_characters_gets_the_answer(enrolled, tmp_path):
    """What it cannot show is spelled out."""
    noisy = tmp_path / "noisy.onnx"
    assert run("modify", enrolled.marked, "gaussian-noise", "--ratio", 0.1, "-o", noisy).returncode == 0
    command = [sys.executable, "-m", "onnxnnw", "verify", noisy, "--record", enrolled.record]
    done = subprocess.run(command, capture_output=True, timeout=60, env={**ENVIRONMENT, "PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0
    assert b"\\u2248" in done.stdout


def test_an_internal_error_never_reads_as_no(enrolled, tmp_path):
    """Any uncaught exception exits 3, not Python's 1."""
    broken = "import onnxnnw.verification.verify as v; v.examine_records = lambda *a: 1 / 0; from onnxnnw.cli import main; main()"
    command = [sys.executable, "-c", broken, "verify", str(enrolled.marked), "--record", str(enrolled.record)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=ENVIRONMENT)
    assert done.returncode == 3
    assert "ZeroDivisionError" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_the_demo_ends_well(tmp_path):
    """Every file of the demo is judged as expected by all three records, and the files are where it says."""
    folder = tmp_path / "demo"
    done = run("demo", "--output", folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "12 of 12 files were judged rightly" in done.stdout
    assert (folder / "tracker.record").exists()
    assert run("demo", "--output", folder).returncode == 2


@pytest.mark.slow
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(("candidate", "code"), [("original", 1), ("marked", 0)])
def test_a_reader_that_leaves_takes_the_words_and_not_the_answer(enrolled, candidate, code, unbuffered):
    """`verify … | head -1` ends quietly, with the exit code of the verdict."""
    script = (
        f'"{sys.executable}" -m onnxnnw verify "{getattr(enrolled, candidate)}" --record "{enrolled.record}" | true; '
        'exit "${PIPESTATUS[0]}"'
    )
    environment = {**ENVIRONMENT, "PYTHONUNBUFFERED": unbuffered}
    done = subprocess.run(["bash", "-c", script], capture_output=True, env=environment, check=False)
    assert (done.returncode, done.stderr) == (code, b"")
