"""The published tables are complete: every method, network and modification, at every strength of the standard's grid."""

import re
from pathlib import Path

import pytest

from onnxnnw.standard.robustness import PUBLISHED, TABLES

GRID = {
    "gaussian-noise": (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1),
    "fine-tuning": (1, 3, 5, 7, 10),
    "quantization": (16, 8, 6, 4, 2),
    "magnitude-pruning": (10, 20, 50, 80, 90),
}
TEXT = Path(__file__).parents[2].parent / "shared" / "standard" / "nnw-tec-v1.0.txt"
NUMBER = re.compile(r"\d*\.?\d+")


@pytest.mark.parametrize("method", ["nct", "rtw", "tbw"])
@pytest.mark.parametrize("network", ["vgg16", "resnet8"])
@pytest.mark.parametrize("modification", GRID)
def test_every_grid_point_is_there(method, network, modification):
    """With the number of its table."""
    assert tuple(PUBLISHED[method, network, modification]) == GRID[modification]
    assert network in TABLES[method, modification]


@pytest.mark.skipif(not TEXT.exists(), reason="the standard's text is not at hand")
@pytest.mark.parametrize("key", [key for key in PUBLISHED if key[0] in ("rtw", "tbw")], ids="-".join)
def test_tables_are_as_printed(key):
    """The rows of Tables 13 to 16 and 18 to 21, read again out of the standard's own text."""
    method, network, modification = key
    number = TABLES[method, modification][network]
    rows = _rows(TEXT.read_text(), number)
    column = 0 if network == "vgg16" else 2
    for parameter, (mark, error) in PUBLISHED[key].items():
        printed = rows[float(parameter)][column : column + 2]
        assert printed == [float(mark), float(error)]


def _rows(text: str, number: int) -> dict[float, list[float]]:
    """Parameter -> the four numbers of its row, of the table of this number."""
    body = re.split(rf"Table {number}\. ", text)[-1]
    out: dict[float, list[float]] = {}
    for line in body.splitlines():
        numbers = [float(n) for n in NUMBER.findall(line)]
        if re.fullmatch(r"[\d.\s\-]+", line.strip()) and len(numbers) == 5:
            out.setdefault(numbers[0], numbers[1:])
        if re.match(r"\*?Table \d+", line) and out:
            break
    return out
