"""One made campaign for all tests of the report, read once and written once."""

from pathlib import Path

import pytest

from onnxnnw.report.results import Results, read_results
from onnxnnw.report.writing import write_report
from tests.support import made_results as made


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of results with every study."""
    return made.make(tmp_path_factory.mktemp("results") / "made")


@pytest.fixture(scope="session")
def results(folder: Path) -> Results:
    """The same, read."""
    return read_results(folder)


@pytest.fixture(scope="session")
def page(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the campaign, with its tables and figures beside it."""
    place = tmp_path_factory.mktemp("report")
    return write_report(folder, place / "report.html", place / "tables", None).page
