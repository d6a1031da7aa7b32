"""The house: a room imports only from rooms above it, plug-ins never from siblings, torch only where it lives."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = (
    "errors standard statistics keys canonical graph images runtime slot_table records folds placement parameters payload triggers "
    "methods formulas candidate origins survey parameter_reads enrolment inspection "
    "changes explained findings verdict verification "
    "recipes checkpoints tasks training networks moment marking modifications campaign report demo cli"
).split()
GRAPH = (
    "formats wire relocation stored file patch flow runtime_operators tracing unread arrays decoding rules constants live "
    "uses roles computed_tables fold slots digest accounting gauge compare match"
).split()
PLUG_INS = ("methods", "findings", "tasks", "modifications")
TORCH_ROOMS = ("training",)
HEAVY = ("torch", "torchvision", "onnxruntime", "skimage", "matplotlib", "jinja2", "scipy", "PIL")

FILES = sorted((ROOT / "onnxnnw").rglob("*.py"))
EXPORTERS = sorted((ROOT / "exporters").glob("*.py"))


def module_of(path: Path) -> list[str]:
    """``onnxnnw/graph/wire.py`` -> ["graph", "wire"]."""
    parts = list(path.relative_to(ROOT / "onnxnnw").with_suffix("").parts)
    return parts[:-1] if parts[-1] == "__init__" else parts


def imports_of(path: Path, top_level_only: bool = False) -> set[str]:
    """Absolute names of the modules that a file imports, type-checking blocks left out."""
    tree = ast.parse(path.read_text())
    skipped = {
        id(n)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.dump(block.test)
        for statement in block.body
        for n in ast.walk(statement)
    }
    if top_level_only:
        skipped |= {
            id(n)
            for f in ast.walk(tree)
            if isinstance(f, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            for n in ast.walk(f)
            if n is not f
        }
    found = set()
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize(
    "path", [p for p in FILES if module_of(p) not in ([], ["__main__"])], ids=lambda p: "/".join(module_of(p))
)
def test_a_room_imports_only_from_rooms_above_it(path):
    """The order of the house holds for every import, lazy ones included."""
    own = module_of(path)
    assert own[0] in ROOMS, f"{own[0]} is no room of the house"
    for name in imports_of(path):
        parts = [*name.split("."), ""]
        if parts[0] != "onnxnnw" or len(parts) < 3 or parts[1] not in ROOMS:
            continue
        if parts[1] == own[0]:
            if own[0] == "graph" and len(own) > 1 and parts[2] in GRAPH:
                assert GRAPH.index(parts[2]) < GRAPH.index(own[1]), f"{'/'.join(own)} imports {name}"
            elif own[0] in PLUG_INS and len(own) > 1:
                assert parts[2] in ("", "base", "find_modification", "modification_names"), (
                    f"{'/'.join(own)} imports {name}"
                )
        else:
            assert ROOMS.index(parts[1]) < ROOMS.index(own[0]), f"{'/'.join(own)} imports {name}"


@pytest.mark.parametrize("path", EXPORTERS, ids=lambda p: p.stem)
def test_an_exporter_imports_no_sibling(path):
    """A new network is one new file."""
    for name in imports_of(path):
        if name.startswith("onnxnnw.exporters.") and path.stem not in ("__init__", "base"):
            assert name.split(".")[2] == "base"


@pytest.mark.parametrize("path", FILES, ids=lambda p: "/".join(module_of(p)) or "onnxnnw")
def test_heavy_packages_are_imported_late(path):
    """Nothing imports torch, onnxruntime, scikit-image, matplotlib, scipy or Pillow until a function needs it."""
    if module_of(path)[:1] and module_of(path)[0] in TORCH_ROOMS:
        return
    heavy = {name.split(".")[0] for name in imports_of(path, top_level_only=True)} & set(HEAVY)
    assert not heavy


def test_every_package_is_listed_in_pyproject():
    """setuptools installs only what is listed, so the list must name every folder."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {".".join(p.parent.relative_to(ROOT).parts) for p in (ROOT / "onnxnnw").rglob("__init__.py")}
    assert set(project["packages"]) == folders | {"onnxnnw.exporters", "onnxnnw.models"}


def test_networks_that_ship_are_small():
    """``models/`` holds at most 5 MB."""
    assert sum(path.stat().st_size for path in (ROOT / "models").iterdir() if path.is_file()) <= 5 * 2**20


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import onnxnnw", {"onnx", "numpy", *HEAVY}),
        ("import onnxnnw.verification", set(HEAVY)),
        ("import onnxnnw.cli.entry; onnxnnw.cli.entry.build_app()", {"numpy", "onnx", *HEAVY}),
        ("import onnxnnw.tasks, onnxnnw.networks", set(HEAVY)),
    ],
)
def test_importing_brings_nothing_heavy(statement, absent):
    """What a statement must not import is not imported, in a fresh interpreter."""
    code = f"import sys; {statement}; print([n for n in {sorted(absent)!r} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_nothing_names_a_machine():
    """No absolute path of a developer's machine stands in code, docs or networks."""
    places = [*FILES, *EXPORTERS, *(ROOT / "docs").rglob("*.md"), *(ROOT / "models").iterdir(), ROOT / "README.md"]
    for path in places:
        if path.is_file():
            content = path.read_bytes()
            assert not [word for word in (b"/" + b"work/", b"/" + b"root/", b"/" + b"home/") if word in content], path
