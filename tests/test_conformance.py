"""The page of conformance leaves out no clause of the standard and no contradiction; what pages name is there."""

import ast
import re
from pathlib import Path

import pytest

from onnxnnw.standard.contradictions import CONTRADICTIONS

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "reference" / "conformance.md").read_text()
GUIDE = (ROOT / "docs" / "guide" / "new-method.md").read_text()
PAGES = PAGE + GUIDE
TEXT = ROOT.parent / "shared" / "standard" / "nnw-tec-v1.0.txt"

CODE = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", PAGES, flags=re.DOTALL))
FILES = sorted({code for code in CODE if re.fullmatch(r"(?:[\w.-]+/)+(?:[\w.-]+\.\w+)?", code)})
TESTS = sorted({code for code in CODE if re.fullmatch(r"[\w./-]+\.py::\w+", code) and code != "file.py::test"})
NAMES = sorted(set(re.findall(r"`([\w/]+\.py)`: ((?:`[\w-]+`(?:, )?)+)", PAGES)))


def test_the_page_names_something():
    """Or the other tests would pass on an empty page."""
    assert len(FILES) > 40
    assert len(TESTS) > 60
    assert len(NAMES) > 10


@pytest.mark.parametrize("file", FILES)
def test_a_file_that_is_named_exists(file):
    """Folders end in a slash."""
    path = ROOT / file
    assert path.is_dir() if file.endswith("/") else path.is_file()


@pytest.mark.parametrize("named", TESTS)
def test_a_test_that_is_named_exists(named):
    """In the file that is named."""
    file, _, test = named.partition("::")
    functions = {node.name for node in ast.parse((ROOT / file).read_text()).body if isinstance(node, ast.FunctionDef)}
    assert test in functions


@pytest.mark.parametrize(("file", "names"), NAMES)
def test_a_name_in_a_file_stands_there(file, names):
    """`file.py`: `name`; options of the command line as the parameters that they are made of."""
    content = (ROOT / file).read_text()
    for name in re.findall(r"`([\w-]+)`", names):
        assert re.search(rf"\b{name.removeprefix('--').replace('-', '_')}\b", content)


@pytest.mark.parametrize(
    ("folder", "link"),
    [
        (folder, link)
        for folder, text in (("reference", PAGE), ("guide", GUIDE))
        for link in sorted(set(re.findall(r"\]\(([^)]+)\)", text)))
    ],
)
def test_links_lead_to_pages(folder, link):
    """Relative to the page."""
    assert (ROOT / "docs" / folder / link).is_file()


def test_contradictions_are_those_of_the_code():
    """Row by row: where, contradiction, choice, tables."""
    expected = [(c.where, c.contradiction, c.choice, ", ".join(map(str, c.tables)) or "–") for c in CONTRADICTIONS]
    rows = PAGE.partition("<!-- contradictions -->")[2].strip().splitlines()[2:]
    assert expected == [tuple(row.strip("| ").split(" | ")) for row in rows]


@pytest.mark.skipif(not TEXT.exists(), reason="the standard's text is not at hand")
def test_no_clause_is_left_out():
    """Each numbered clause opens a row, or has subclauses that do."""
    text = re.sub(r"\*", "", TEXT.read_text())
    clauses = set(re.findall(r"^#+ (\d(?:\.\d)*)\.? ", text, re.MULTILINE))
    assert "7.2.6" in clauses
    answered = {
        number
        for cell in re.findall(r"^\| (\d[^|]*) \|", PAGE, re.MULTILINE)
        for number in re.findall(r"\b\d(?:\.\d)*\b", cell.partition("Table")[0])
    } | set(re.findall(r"^## (\d(?:\.\d)?)", PAGE, re.MULTILINE))
    assert not {c for c in clauses if not any(a == c or a.startswith(f"{c}.") for a in answered)}


def test_no_table_is_left_out():
    """1 to 23 are named in the first column, alone or in a range."""
    cells = " ".join(re.findall(r"^\| (\d[^|]*) \|", PAGE, re.MULTILINE))
    named = set()
    for first, last in re.findall(r"Tables? (\d+)(?: (?:to|and) (\d+))?", cells):
        named |= set(range(int(first), int(last or first) + 1))
    assert set(range(1, 24)) == named


TABLE = (ROOT / "CONTRIBUTING.md").read_text()


@pytest.mark.parametrize("file", sorted(set(re.findall(r"`((?:onnxnnw|tests|docs|exporters)/[\w./-]*)`", TABLE))))
def test_where_to_change_something_is_there(file):
    """Each file and folder that CONTRIBUTING's table names."""
    path = ROOT / file
    assert path.is_dir() if file.endswith("/") else path.is_file()


LINKS = [
    (page, target)
    for page in [*(ROOT / "docs").rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
    for target in sorted(set(re.findall(r"\]\(([^)#\s]+)(?:#[^)\s]*)?\)", page.read_text())))
    if "://" not in target
]


@pytest.mark.parametrize(("page", "target"), LINKS, ids=lambda value: value.name if isinstance(value, Path) else value)
def test_links_of_all_pages_lead_somewhere(page, target):
    """Relative to the page that they stand on."""
    assert (page.parent / target).exists()


TROUBLE = (ROOT / "docs" / "guide" / "troubleshooting.md").read_text()
SOURCES = "".join(path.read_text() for path in (ROOT / "onnxnnw").rglob("*.py"))


@pytest.mark.parametrize("words", sorted(set(re.findall(r'^\|[^|]*?"([^"|]+)"', TROUBLE, re.MULTILINE))))
def test_what_troubleshooting_quotes_is_said(words):
    """The words of a message, as the package writes them."""
    assert words in SOURCES
