"""What commands print, word for word: ``python -m tests.support.recorded_commands`` records it anew."""

from pathlib import Path

import pytest

from tests.support.recorded_commands import COMMANDS, FOLDER, Recorded, differences, make_inputs, output_of


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Networks, records and policies, made once."""
    folder = tmp_path_factory.mktemp("inputs")
    make_inputs(folder)
    return folder


@pytest.mark.xdist_group("recorded commands")
@pytest.mark.parametrize("command", COMMANDS, ids=repr)
def test_a_command_prints_what_it_printed(command: Recorded, inputs: Path) -> None:
    """Output, exit code and files are as they were recorded."""
    kept = (FOLDER / f"{command.name}.txt").read_text()
    assert not list(differences(kept, output_of(command, inputs)))


def test_only_these_are_recorded() -> None:
    """No output is kept of a command that is no more, and no two have one name."""
    assert sorted(path.stem for path in FOLDER.iterdir()) == sorted(command.name for command in COMMANDS)


def test_a_difference_is_seen() -> None:
    """A word, a count, a code, a line more; not the last digit of a figure, nor the width of its column."""
    kept = "exit 0\ntraced   log10 p  -123.4\n512 positions\n"
    assert not list(differences(kept, kept.replace(" -123.4", "   -123.5")))
    for one, other in (
        ("exit 0", "exit 1"),
        ("traced", "no"),
        ("-123.4", "-60.1"),
        ("512", "511"),
        ("ns\n", "ns\nmore\n"),
    ):
        assert len(list(differences(kept, kept.replace(one, other)))) == 1, other
