"""The error at which a mark is first lost: hand-made trials."""

import pytest

from onnxnnw.report.results import read_results
from onnxnnw.report.tables.outlasting import outlasting_table
from tests.support import made_results as made


def trial(number: int, bits: int, quality: float, log10_p: float) -> dict:
    """A network of 20 % error, quantised."""
    return made.line(
        "detection",
        number,
        mark=made.mark(),
        truth=True,
        modification={"name": "quantization", "parameter": "bits", "value": bits},
        quality={"classification-error": quality},
        unmodified={"classification-error": 20.0},
        verdict=made.verdict(log10_p, {}, True),
    )


def rows(tmp_path, *lines) -> list[list[str]]:
    """The table's texts."""
    (table,) = outlasting_table(read_results(made.write(tmp_path / "r", lines)))
    return [[entry.text for entry in row] for group in table.groups for row in group.rows]


def test_the_smallest_error_of_a_lost_mark_is_told_with_its_strength(tmp_path):
    found = rows(tmp_path, trial(0, 8, 20.0, -90), trial(1, 4, 30.0, -20), trial(2, 3, 50.0, -2), trial(3, 2, 88.0, -1))
    assert found == [["Quantization", "B = 3", "150.0", "50.0", "-20.0"]]


def test_a_mark_that_is_never_lost_says_how_far_it_was_tried(tmp_path):
    assert rows(tmp_path, trial(0, 8, 20.0, -90), trial(1, 2, 88.0, -20)) == [
        ["Quantization", "never, up to B = 2", "–", "340.0", "-20.0"]
    ]


def test_a_mark_that_was_never_found_says_so(tmp_path):
    assert rows(tmp_path, trial(0, 8, 21.0, -1)) == [["Quantization", "B = 8", "5.0", "never found", "–"]]


def test_what_is_lost_without_any_modification_is_lost_to_none(tmp_path):
    """The network as it was marked is not traced: no strength is the first at which it is lost."""
    before = trial(9, 8, 20.0, -3)
    before["modification"] = before["unmodified"] = None
    assert rows(tmp_path, before, trial(0, 8, 20.0, -2), trial(1, 4, 30.0, -2)) == [
        ["Quantization", "not found before, either", "–", "–", "–"]
    ]


def test_fewer_bits_are_stronger_whatever_they_are_bits_of(tmp_path):
    found = []
    for number, bits in enumerate((4, 16, 8)):
        one = trial(number, bits, 20.0 + number, -50)
        one["modification"]["name"] = "float-quantization"
        found.append(one)
    assert rows(tmp_path, *found)[0][1] == "never, up to bits = 4"


@pytest.mark.parametrize("lines", [[], [made.line("search", 0, records=3, right=True)]])
def test_nothing_modified_has_no_table(tmp_path, lines):
    assert outlasting_table(read_results(made.write(tmp_path / "r", lines))) == ()
