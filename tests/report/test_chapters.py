"""Chapters of a page: none that is empty."""

import numpy as np

from onnxnnw.report.page.html import chapters
from onnxnnw.report.results import read_results
from onnxnnw.report.writing import all_tables
from tests.support import made_results as made


def titles(folder, lines) -> list[str]:
    """Of the chapters of a page of these trials, figures left out."""
    return [chapter.title for chapter in chapters(all_tables(read_results(made.write(folder, lines))), ())]


def test_a_campaign_of_one_method_has_no_chapters_of_others(tmp_path):
    every = list(made.detections(np.random.default_rng(1)))
    rtw = [line for line in every if line["mark"]["method"] == "rtw"]
    assert {"NCT", "RTW", "TBW"} <= set(titles(tmp_path / "all", every))
    found = titles(tmp_path / "rtw", rtw)
    assert "RTW" in found
    assert not {"NCT", "TBW", "NCT fingerprint"} & set(found)
