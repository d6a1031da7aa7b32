"""The pages of docs/guide do what they say: examples run, notebooks execute, links lead somewhere."""

import ast
import re
import shutil
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
GUIDE = ROOT / "docs" / "guide"
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def run(source: str, names: dict[str, Any], page: str) -> int:
    """Run an example; what its lines give is held against what stands behind ``# ->``. How many were."""
    lines, compared = source.splitlines(), 0
    for statement in ast.parse(source).body:
        if not isinstance(statement, ast.Expr):
            exec(compile(ast.Module([statement], []), page, "exec"), names)
            continue
        given = eval(compile(ast.Expression(statement.value), page, "eval"), names)
        _, arrow, expected = lines[(statement.end_lineno or 0) - 1].partition("# -> ")
        if arrow:
            pattern = re.sub(r"([\[\]*?])", r"[\1]", expected.strip()).replace("…", "*")
            assert fnmatchcase(repr(given), pattern), f"{page}: {lines[statement.lineno - 1]}: {given!r}"
            compared += 1
    return compared


def test_the_examples_of_the_python_page_give_what_it_says(resnet8, tmp_path, monkeypatch, capsys):
    """In its order, in one folder with a file net.onnx."""
    shutil.copy(resnet8, tmp_path / "net.onnx")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    compared = sum(run(block, names, "api.md") for block in BLOCK.findall((GUIDE / "api.md").read_text("utf-8")))
    assert compared >= 25
    assert capsys.readouterr().out.startswith("traced by net.record; ")


def test_an_example_that_gives_something_else_fails():
    """The comparison can fail, and its wildcard stands for anything."""
    assert run("1 + 1  # -> 2\n[1, 2]  # -> […]\n'a b'  # -> 'a…'\n", {}, "here") == 3
    for wrong in ("1 + 1  # -> 3", "[1]  # -> 1", "'b'  # -> 'a…'"):
        with pytest.raises(AssertionError, match="here"):
            run(wrong, {}, "here")


LINKED = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *(ROOT / "docs").rglob("*.md")]


@pytest.mark.parametrize("page", LINKED, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_to_files_lead_to_files(page):
    """Those to headings too."""
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        if target.startswith(("http:", "https:", "mailto:")):
            continue
        name, _, heading = target.partition("#")
        place = (page.parent / name).resolve() if name else page
        assert place.exists(), f"{page.name}: {target}"
        if heading and place.suffix == ".md":
            titles = re.findall(r"^#+ (.*)$", place.read_text("utf-8"), re.MULTILINE)
            anchors = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
            assert heading in anchors, f"{page.name}: {target}"


@pytest.mark.slow
@pytest.mark.parametrize("notebook", sorted(GUIDE.glob("*.ipynb")), ids=lambda path: path.name)
def test_notebooks_run_from_top_to_bottom(notebook, tmp_path):
    """In a kernel of their own; they are kept without outputs, and a verdict shows itself as a table."""
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    content = nbformat.read(notebook, as_version=4)
    nbformat.validate(content)
    cells = [cell for cell in content.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in cells)
    nbclient.NotebookClient(
        content, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    ).execute()
    shown = [output.data for cell in cells for output in cell.outputs if "data" in output]
    assert any("<table>" in data.get("text/html", "") for data in shown)
