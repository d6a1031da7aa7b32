"""The GitHub action's script, run by bash with its environment: answers, outputs, summary, and names that stay names."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "action" / "verify.sh"

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="the action is a bash script")

RECORDER = """#!/usr/bin/env bash
for word in "$@"; do printf '%s\\0' "$word"; done >>"$STUB_ARGUMENTS"
printf 'traced  <b>%s</b>\\n' "${@: -1}"
exit "$STUB_CODE"
"""


def act(place: Path, program: str, **inputs: str) -> tuple[int, dict[str, str], str, str]:
    """Exit code, outputs, summary and what was printed, of the script with these inputs in a folder."""
    programs = place / ".programs"
    programs.mkdir(exist_ok=True)
    (programs / "onnxnnw").write_text(program)
    (programs / "onnxnnw").chmod(0o755)
    output, summary = place / ".output", place / ".summary"
    for path in (output, summary):
        path.write_text("")
    environment = {
        **os.environ,
        "PATH": f"{programs}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "GITHUB_OUTPUT": str(output),
        "GITHUB_STEP_SUMMARY": str(summary),
        **inputs,
    }
    done = subprocess.run(["bash", SCRIPT], capture_output=True, text=True, cwd=place, env=environment, timeout=120)
    outputs = dict(line.split("=", 1) for line in output.read_text().splitlines())
    return done.returncode, outputs, summary.read_text(), done.stdout + done.stderr


def words(place: Path, code: int = 0, **inputs: str) -> tuple[int, list[str]]:
    """Exit code, and the words that onnxnnw would get."""
    arguments = place / ".arguments"
    arguments.write_text("")
    ended, _, _, _ = act(place, RECORDER, STUB_ARGUMENTS=str(arguments), STUB_CODE=str(code), **inputs)
    return ended, arguments.read_text().split("\0")[:-1]


REAL = f'#!/usr/bin/env bash\nexec "{sys.executable}" -m onnxnnw "$@"\n'


@pytest.mark.slow
def test_the_script_answers_as_the_command_does(enrolled, tmp_path):
    """Yes, no, and could not look: exit code, outputs and summary say the same."""
    (tmp_path / "build").mkdir()
    shutil.copy(enrolled.marked, tmp_path / "build" / "net.onnx")
    shutil.copy(enrolled.original, tmp_path / "other.onnx")
    record = str(enrolled.record)
    code, outputs, summary, _ = act(tmp_path, REAL, FILES="build/*.onnx\n", RECORD=record, VERDICT="verdict.json")
    assert (code, outputs) == (0, {"answer": "yes", "exit-code": "0"})
    assert "### onnxnnw: yes" in summary
    assert "traced" in summary
    assert json.loads((tmp_path / "verdict.json").read_text())["decision"] == "traced"
    code, outputs, summary, said = act(tmp_path, REAL, FILES="other.onnx", RECORD=record, MODE="warn")
    assert (code, outputs) == (0, {"answer": "no", "exit-code": "1"})
    assert "::warning title=onnxnnw::" in said
    code, outputs, summary, _ = act(tmp_path, REAL, FILES="nowhere.onnx", RECORD=record)
    assert (code, outputs) == (3, {"answer": "could-not-look", "exit-code": "3"})
    assert "nowhere.onnx" in summary


@pytest.mark.parametrize(
    "name",
    [
        "a b.onnx",
        "$(touch pwned).onnx",
        "`touch pwned`.onnx",
        "; touch pwned; .onnx",
        "-q.onnx",
        "--json.onnx",
        "[a].onnx",
        "'\".onnx",
        "${{ secrets.TOKEN }}.onnx",
        "</pre><script>.onnx".replace("/", "∕"),
        "\\n.onnx",
        " leading.onnx",
        "ü漢.onnx",
    ],
)
def test_names_stay_names(name, tmp_path):
    """Whatever stands in an input or a file's name is one argument, and never a command, an option or a page."""
    (tmp_path / name).write_text("x")
    for given in (name, "*.onnx"):
        code, found = words(tmp_path, FILES=given, RECORD=name)
        assert code == 0
        last = name if not name.startswith("-") else f"./{name}"
        assert found == ["verify", "--require=traced", "--min-explained=0", f"--record={name}", "--", last]
    assert not (tmp_path / "pwned").exists()


def test_a_summary_shows_names_as_text(tmp_path):
    """No tag of a name reaches the page."""
    (tmp_path / "<img src=x>.onnx").write_text("x")
    _, _, summary, _ = act(tmp_path, RECORDER, FILES="*.onnx", RECORD="r", STUB_ARGUMENTS="/dev/null", STUB_CODE="0")
    assert "<img" not in summary
    assert "&lt;img src=x&gt;.onnx" in summary
    assert re.findall(r"<[^>]*>", summary) == ["<pre>", "</pre>"]


def test_patterns_span_lines_and_folders(tmp_path):
    """One a line; ** spans folders; carriage returns and empty lines are nothing."""
    for name in ("a.onnx", "deep/er/b.onnx", "c c.onnx"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    _, found = words(tmp_path, FILES="**/b.onnx\r\n\nc*.onnx\na.onnx", RECORD="one\ntwo")
    assert found[3:] == ["--record=one", "--record=two", "--", "deep/er/b.onnx", "c c.onnx", "a.onnx"]


@pytest.mark.parametrize(
    "inputs",
    [
        {},
        {"FILES": "*.nothing", "RECORD": "r"},
        {"FILES": "a.onnx", "RECORD": "r", "MODE": "off; touch pwned"},
    ],
)
def test_wrong_inputs_are_wrong_usage(inputs, tmp_path):
    """Exit 2 whatever the mode, and onnxnnw is not asked."""
    code, found = words(tmp_path, **inputs)
    assert (code, found) == (2, [])
    assert not (tmp_path / "pwned").exists()


def test_a_policy_takes_the_place_of_records(tmp_path):
    """`check` with the policy; files only narrow what it looks at."""
    code, found = words(tmp_path, 3, POLICY="onnxnnw.toml", RECORD="r", SARIF="out.sarif", ATTESTATION="out.jsonl")
    assert code == 3
    assert found == ["check", "--policy=onnxnnw.toml", "--sarif=out.sarif", "--attestation=out.jsonl", "--"]


def test_a_policy_decides(enrolled, tmp_path):
    """The real command, with a policy that names one network and its record."""
    shutil.copy(enrolled.marked, tmp_path / "net.onnx")
    shutil.copy(enrolled.record, tmp_path / "net.record")
    entry = 'name = "net"\nfiles = ["net.onnx"]\nrecords = ["net.record"]\nrequire = "traced"\n'
    (tmp_path / "onnxnnw.toml").write_text(f'format = "onnxnnw/policy/1"\n[[network]]\n{entry}')
    code, outputs, _, said = act(tmp_path, REAL, POLICY="onnxnnw.toml")
    assert (code, outputs["answer"]) == (0, "yes"), said


def test_several_files_get_one_answer_and_sarif(enrolled, tmp_path):
    """The worst decides, and the evidence names both."""
    shutil.copy(enrolled.marked, tmp_path / "a.onnx")
    shutil.copy(enrolled.original, tmp_path / "b.onnx")
    code, outputs, _, _ = act(tmp_path, REAL, FILES="*.onnx", RECORD=str(enrolled.record), SARIF="out.sarif")
    assert (code, outputs["answer"]) == (1, "no")
    assert json.loads((tmp_path / "out.sarif").read_text())["version"] == "2.1.0"


def test_inputs_reach_scripts_by_environment_only():
    """No expression of the workflow language stands in a command's text, and every input that is declared is handed on."""
    text = (ROOT / "action.yml").read_text()
    runs = re.findall(r"^\s+run: (.*)$", text, re.MULTILINE)
    assert len(runs) == 2
    assert all("${{" not in run for run in runs)
    declared = set(re.findall(r"^  ([a-z-]+):\n    description", text.partition("outputs:")[0], re.MULTILINE))
    handed = set(re.findall(r"\$\{\{ inputs\.([a-z-]+) \}\}", text))
    assert declared == handed
    names = set(re.findall(r"^        ([A-Z_]+): \$\{\{", text, re.MULTILINE)) - {"PYTHON"}
    script = SCRIPT.read_text()
    assert all(re.search(rf"\$\{{{name}[:}}]|\${name}\b", script) for name in names)


def test_shell_scripts_hold_against_shellcheck():
    """Where it is installed."""
    shellcheck = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if shellcheck is None:
        pytest.skip("shellcheck is not installed")
    scripts = [*(ROOT / "action").glob("*.sh"), ROOT / "requirements" / "lock", ROOT / ".ci" / "run"]
    done = subprocess.run([shellcheck, *scripts], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
