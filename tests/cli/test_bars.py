"""Progress is drawn for terminals, and written in lines for everybody else."""

import sys

import pytest

from onnxnnw.cli import bars
from onnxnnw.cli.bars import Bar, Counted


def be_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard error is one, of a usual kind."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")


def test_a_log_gets_lines_and_nothing_that_moves_a_cursor(capsys, monkeypatch):
    """Every ten seconds, and the last one; nothing at all of what was brief."""
    monkeypatch.setattr(bars, "_EVERY_S", 0.0)
    told = Counted("copies")
    for done in range(1, 4):
        told(done, 3)
    assert [line.partition(",")[0] for line in capsys.readouterr().err.splitlines()] == [
        "1 of 3 copies",
        "2 of 3 copies",
        "3 of 3 copies",
    ]
    monkeypatch.undo()
    Counted("copies")(3, 3)
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_one_line_and_its_cursor_back(monkeypatch, capsys):
    """Hidden once, shown once, whatever stands in the text."""
    be_a_terminal(monkeypatch)
    bar = Bar()
    for done in range(3):
        bar.show(f"[bold]{done}[/bold] \x1b[2J done", done, 2)
    bar.close()
    bar.close()
    text = capsys.readouterr().err
    assert "[bold]2[/bold]" in text
    assert "\x1b[2J" not in text
    assert (text.count("\x1b[?25l"), text.count("\x1b[?25h")) == (1, 1)


def test_a_bar_that_is_not_kept_is_gone(monkeypatch, capsys):
    """A line that follows stands in its place."""
    be_a_terminal(monkeypatch)
    bar = Bar(keep=False)
    bar.show("half", 1, 2)
    bar.close()
    bar.say("the end")
    assert capsys.readouterr().err.endswith("\x1b[2Kthe end\n")


def test_a_terminal_that_cannot_redraw_still_gets_the_sentences(monkeypatch, capsys):
    """TERM=dumb, as editors have it."""
    be_a_terminal(monkeypatch)
    monkeypatch.setenv("TERM", "dumb")
    bar = Bar()
    bar.show("half", 1, 2)
    bar.say("failed: one")
    bar.close()
    text = capsys.readouterr().err
    assert "failed: one" in text
    assert "\x1b[2K" not in text
