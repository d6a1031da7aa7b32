"""How commands behave around their answer: quiet, verbose, progress, suggestions, lists that are cut, folders inside folders."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from onnxnnw.cli import manners, show
from onnxnnw.cli.entry import BY_USE, build_app, main
from onnxnnw.enrolment.owner import Owner
from onnxnnw.errors import UnknownName, meant
from onnxnnw.notices import tell


def code(*arguments: object) -> int:
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    assert isinstance(left.value.code, int)
    return left.value.code


def test_help_begins_with_what_most_people_come_for(capsys):
    """The order of use, not of the alphabet; and what nobody placed stands last."""
    assert code("--help") == 0
    names = re.findall(r"^  ([a-z]+)  ", capsys.readouterr().out.partition("Commands:")[2], re.MULTILINE)
    assert names[:3] == [name for name in BY_USE if name in names][:3]
    assert names[0] == "verify"
    placed = [name for name in names if name in BY_USE]
    assert placed == sorted(placed, key=BY_USE.index)
    assert names[: len(placed)] == placed


def test_the_version_has_a_short_option(capsys):
    """-V, which is not -v."""
    assert code("-V") == 0
    short = capsys.readouterr().out
    assert code("--version") == 0
    assert capsys.readouterr().out == short


def test_quiet_leaves_only_the_exit_code(enrolled, capsys, tmp_path):
    """No words for yes or no; errors are still said, and JSON that was asked for is still printed."""
    assert code("verify", enrolled.marked, "--record", enrolled.record, "-q") == 0
    assert code("verify", enrolled.original, "--record", enrolled.record, "--quiet") == 1
    assert (
        code("fingerprint", enrolled.original, "-o", tmp_path / "r", "--positions", 10, "-q") == 0
    )  # too few: a warning
    assert capsys.readouterr() == ("", "")
    assert code("verify", tmp_path / "none.onnx", "--record", enrolled.record, "-q") == 3
    assert "none.onnx" in capsys.readouterr().err
    assert code("verify", enrolled.marked, "--record", enrolled.record, "-q", "--json") == 0
    assert '"traced"' in capsys.readouterr().out


def test_verbose_says_each_step(enrolled, capsys):
    """One line a step on standard error, with the seconds; the answer is the same."""
    assert code("verify", enrolled.marked, "--record", enrolled.record, "--full") == 0
    plain = capsys.readouterr()
    assert plain.err == ""
    assert code("verify", enrolled.marked, "--record", enrolled.record, "--full", "-v") == 0
    loud = capsys.readouterr()
    assert loud.out == plain.out
    lines = loud.err.splitlines()
    assert all(re.match(r" *\d+\.\d\d s  \w", line) for line in lines)
    for step in ("reading marked.onnx", "computing the digest", "record 1 of 1: mark.record"):
        assert step in loud.err


def test_a_step_cannot_write_to_the_terminal(capsys):
    """Names of files are in it."""
    command = manners.with_manners(lambda: tell("reading a\x1b[31m\u202e.onnx"))
    command(verbose=True)
    said = capsys.readouterr().err
    assert "\x1b" not in said
    assert r"\x1b[31m\x202e" in said


ON_A_TERMINAL = """
import sys, time
from onnxnnw.cli import manners
from onnxnnw.notices import tell
manners.SLOW_S = 0.05
def work():
    tell("looking at net.onnx")
    time.sleep(float(sys.argv[1]))
    print("the answer")
manners.with_manners(work)()
"""


def shown_on_a_terminal(seconds: float) -> str:
    """What a terminal gets of work that takes so long."""
    master, slave = pty.openpty()
    command = [sys.executable, "-c", ON_A_TERMINAL, str(seconds)]
    with subprocess.Popen(command, stdout=slave, stderr=slave, stdin=slave, close_fds=True) as process:
        os.close(slave)
        text = b""
        while True:
            try:
                piece = os.read(master, 4096)
            except OSError:  # the other side is gone
                break
            if not piece:
                break
            text += piece
        assert process.wait() == 0
    os.close(master)
    return text.decode()


def test_long_work_is_shown_on_a_terminal_and_gone_before_the_answer():
    """One line that is erased; short work shows nothing."""
    text = shown_on_a_terminal(1.2)
    assert "looking at net.onnx" in text
    assert text.endswith("\r\x1b[Kthe answer\r\n")
    assert shown_on_a_terminal(0) == "the answer\r\n"


@pytest.mark.parametrize(
    ("given", "known", "expected"),
    [
        ("gausian-noise", ["gaussian-noise", "pruning"], "gaussian-noise"),
        ("Gaussian_Noise", ["gaussian-noise", "pruning"], "gaussian-noise"),
        ("resnet", ["resnet8", "vgg16"], "resnet8"),
        ("tracker", ["Tracker", "Trainer"], "Tracker"),
        ("x", ["resnet8", "vgg16"], None),
        ("", ["resnet8"], None),
        ("a" * 10_000, ["resnet8"], None),
    ],
)
def test_what_was_meant_is_guessed_where_it_can_be(given, known, expected):
    """The likest name is asked for; where none is like it, nothing is."""
    assert meant(given, known) == ("" if expected is None else f" (did you mean {expected}?)")
    assert str(UnknownName("thing", given, known)).endswith(meant(given, known) or ", ".join(sorted(known)))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["modify", "{original}", "gausian-noise", "-o", "x.onnx"], "did you mean gaussian-noise?"),
        (["modify", "{original}", "gaussian-noise", "--ratoi", "1", "-o", "x.onnx"], "did you mean --ratio?"),
        (["export", "resnet18", "-o", "x.onnx"], "did you mean resnet8?"),
        (["fingerprint", "{original}", "-o", "r", "--role", "traker"], "did you mean Tracker?"),
        (["verfy", "{original}"], "verify"),
        (["verify", "{original}", "--recrod", "r"], "--record"),
    ],
)
def test_commands_say_what_may_have_been_meant(arguments, words, enrolled, tmp_path, monkeypatch, capfd):
    """Names of modifications, parameters, networks, roles, commands and options."""
    monkeypatch.chdir(tmp_path)
    assert code(*(argument.format(**vars(enrolled)) for argument in arguments)) == 2
    assert words in capfd.readouterr().err


@pytest.mark.parametrize("role", ["tracker", "TRACKER", "Tracker", "generic USER"])
def test_roles_may_be_typed_in_any_case(role):
    """Records have them as the standard does."""
    assert Owner("A", role).role in ("Tracker", "Generic user")
    with pytest.raises(UnknownName, match="no role named 'king'; there are"):
        Owner("A", "king")


def test_cut_lists_say_how_many_more_there_are(capsys):
    """And nothing where nothing was cut."""
    show.rest(1200, "records")
    show.rest(0, "records")
    show.rest(-3, "records")
    assert capsys.readouterr().out == "  and 1,200 more records\n"


def test_folders_inside_are_searched_on_request_and_named_otherwise(enrolled, tmp_path, capsys):
    """FOLDER/** searches them all, hidden ones left out; a plain folder says that there are more."""
    folder = tmp_path / "records"
    (folder / "2025" / "may").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    (folder / "other.record").write_bytes(enrolled.fingerprint.read_bytes())
    for place in (folder / "2025" / "may", folder / ".hidden"):
        (place / "mark.record").write_bytes(enrolled.record.read_bytes())
    assert code("verify", enrolled.marked, "--records", folder) == 0
    shown = capsys.readouterr()
    assert "1 folder inside not searched" in shown.err
    assert "2 records" not in shown.out
    assert code("verify", enrolled.marked, "--records", f"{folder}/**") == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    assert "2 records" in shown.out
    assert "against 2025/may/mark.record" in shown.out
    (folder / "other.record").unlink()
    assert code("verify", enrolled.marked, "--records", folder) == 3
    assert "holds no record (0 files looked at) (1 folder inside not searched" in capsys.readouterr().err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_commands_and_names(shell, monkeypatch):
    """Commands in help's order, and the names of modifications."""
    script = {
        "bash": {"COMP_WORDS": "onnxnnw modify net.onnx magn", "COMP_CWORD": "3"},
        "zsh": {"_TYPER_COMPLETE_ARGS": "onnxnnw modify net.onnx magn"},
        "fish": {"_TYPER_COMPLETE_ARGS": "onnxnnw modify net.onnx magn", "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
    }[shell]
    root = Path(__file__).parents[2]
    environment = {**os.environ, **script, "_ONNXNNW_COMPLETE": f"complete_{shell}", "PYTHONPATH": str(root)}
    program = "import sys; sys.argv = ['onnxnnw']; from onnxnnw.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, timeout=60)
    assert "magnitude-pruning" in done.stdout, done.stderr
    assert "gaussian-noise" not in done.stdout


def test_every_command_has_the_same_manners():
    """A new one gets --quiet and --verbose unaided."""
    import typer

    for name, command in typer.main.get_command(build_app()).commands.items():
        if hasattr(command, "commands"):  # a group: its commands are its own
            continue
        options = {option for parameter in command.params for option in parameter.opts}
        assert {"--quiet", "--verbose", "-q", "-v"} <= options, name


def test_progress_ends_where_work_fails():
    """The thread is gone and streams are as before, whatever was raised."""

    class Terminal:
        text = ""

        def write(self, text: str) -> int:
            self.text += text
            return len(text)

        def flush(self) -> None:
            pass

    terminal, before = Terminal(), sys.stdout
    with pytest.raises(ZeroDivisionError), manners._progress(terminal):  # type: ignore[arg-type]
        _ = 1 / 0
    assert sys.stdout is before
    assert terminal.text == ""
