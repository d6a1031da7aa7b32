"""What Python and notebooks get: one way to ask, records with their names, verdicts that are no yes or no by accident."""

from dataclasses import replace

import pytest

import onnxnnw
from onnxnnw.verification.verdict import Verdict
from onnxnnw.verification.verify import examine


@pytest.fixture(scope="module")
def verdict(enrolled) -> Verdict:
    return onnxnnw.verify(enrolled.marked, enrolled.record).best


def test_records_come_loaded_or_as_paths_one_or_several(enrolled):
    """All forms give the same verdict, under the name of the file."""
    path, other = enrolled.record, enrolled.fingerprint
    loaded = onnxnnw.load_record(path)
    forms = [path, str(path), loaded, [path], (str(path),), [loaded]]
    assert {repr(onnxnnw.verify(enrolled.marked, form)[0]) for form in forms} == {
        repr(onnxnnw.verify(enrolled.marked, path).best)
    }
    both = onnxnnw.verify(enrolled.marked, [loaded, str(other)])
    assert [found.record for found in both] == ["mark.record", "fingerprint.record"]
    with pytest.raises(onnxnnw.TraceabilityError, match="no record to verify against"):
        onnxnnw.verify(enrolled.marked, [])
    with pytest.raises(onnxnnw.TraceabilityError, match=r"nowhere\.record"):
        onnxnnw.verify(enrolled.marked, "nowhere.record")


def test_a_name_is_no_part_of_a_record(enrolled, tmp_path):
    """Neither of its bytes nor of what makes two records equal."""
    record = onnxnnw.load_record(enrolled.record)
    assert record.name == "mark.record"
    assert replace(record, name="other").to_bytes() == record.to_bytes() == enrolled.record.read_bytes()
    assert replace(record, name="other").commitment == record.commitment


def test_a_verdict_is_neither_true_nor_false(verdict, enrolled):
    """`if verify(…):` would take every answer for yes, so it says what to ask."""
    several = onnxnnw.verify(enrolled.marked, enrolled.record)
    search = examine(enrolled.marked, [enrolled.record])
    for answer in (verdict, several, search):
        with pytest.raises(TypeError, match=r"inconclusive.*\.meets\(\).*\.decision"):
            bool(answer)
    assert verdict.meets()
    assert several.best.decision == "traced"


def test_a_verdict_shows_itself(verdict):
    """A line at the prompt, a sentence as text."""
    assert repr(verdict).startswith("<Verdict traced by 'mark.record': log10 p -")
    assert "\n" not in repr(verdict)
    assert len(repr(verdict)) < 120
    assert str(verdict).startswith("traced by mark.record; log10 p -")
    assert verdict.evidence.sentence in str(verdict)


def test_a_notebook_shows_a_table_that_no_name_breaks_out_of(verdict):
    """Texts of records and files are escaped; what was left out is counted."""
    evil = "<script>alert(1)</script>&\"'"
    finding = verdict.findings[0] if verdict.findings else None
    shown = replace(verdict, record=evil, actor=evil, not_understood=(evil, evil))
    if finding is not None:
        shown = replace(shown, findings=tuple([replace(finding, sentence=evil)] * 13))
        assert "and 3 more findings" in shown._repr_html_()
    page = shown._repr_html_()
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert page.startswith("<table>")
    assert "2 parts" in page


def test_a_prompt_completes_the_verbs():
    """And nothing that is not public."""
    assert dir(onnxnnw) == sorted(onnxnnw.__all__)
    assert {"embed", "fingerprint", "verify", "search"} <= set(dir(onnxnnw))
