"""The layout: a module imports only what stands before it, plug-ins no siblings, torch only where it lives."""

import ast
import subprocess
import sys
import tomllib
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES: dict[str, str] = {
    "errors": "",
    "texts": "",
    "notices": "",
    "files": "",
    "standard": "cells grids contradictions imperceptibility robustness usability tables",
    "statistics": "tails sequential association side_by_side added",
    "parameters": "",
    "array_files": "",
    "onnxruntime_package": "",
    "torchvision_package": "",
    "runtime": "",
    "images": "",
    "recipes": "",
    "sources": "signing limits addresses answers protocol connections http_ranges hub_cache pointers remote hub inference",
    "network_file": "formats wire cutting foreign source relocation stored tensor_list tensor_files ort_format ahead safetensors "
    "openvino containers file writing patch",
    "flow": "names nodes runtime_operators handing literals attribute_weights tracing unread",
    "constants": "arrays moved evaluated contraction decoding rulebook elementwise arithmetic_rules quantisation_rules "
    "structure_rules place_rules rules constants",
    "graph": "live packed_operators uses out_rows downstream computed_tables slot slot_view slots linear_map linear doubts digest",
    "channels": "shapes tags walk products passing moving groups changing growing",
    "accounting": "roles amounts given account classing",
    "records": "canonical_json key slot_table skeleton fields shared_parts record record_file drawn_together positions row_factors",
    "matching": "read_before read_together row_scale slot_scales anchor_agreement readings assembly match crowd crowd_pieces "
    "crowd_matches parameter_reads known_skeleton",
    "alignment": "balance assignment signatures search scales weights grouped matrices agreeing likeness networks sketch",
    "methods": "payload triggers base control_reads effects discovery",
    "candidate": "",
    "together": "fingerprints prepared",
    "enrolment": "formulas sketched origins ancestry measure_slots copies owner how_many mark_grid own_weights refusals "
    "record_draft enrol method_mark price inspection recipients",
    "verification": "units slot_reads disguised named_records places_at_hand explained findings visible answer_text verdict "
    "verdicts evidence looking examiner ordered short_cut endpoint verify",
    "dask_client": "",
    "registry": "schema database vault encryption entry scan_data pages store log alignment scan_pages scan cluster search check "
    "unicity",
    "comparison": "layers pairing orders compare page",
    "evidence": "rules subject answer sarif junit keys envelope statements oms attested parent cyclonedx log page writing question",
    "gate": "addresses allowances requirements policy policy_file places jobs chain registry_records dating examining judging "
    "checking",
    "tasks": "base own_samples own_metrics own_evaluation",
    "training": "cards checkpoints hooks watch loop networks at_epoch insertion",
    "modifications": "base",
    "campaign": "settings campaign_file step environment cache workers progress steps trial plan estimate results running",
    "report": "fields trials campaign_networks units settings results parts counts tables figure_contents certificate figures "
    "page writing",
    "method_check": "",
    "demo": "",
    "cli": "options bars evidence_options show registries verdicts",
}
"""Every package with its modules: each imports only from what stands before it, between packages and inside one."""
ORDER = list(PACKAGES)
PLUG_INS = ("methods", "verification.findings", "tasks", "modifications", "cli")
"""Folders in which a new file is found unaided: it imports what the folder's modules share, never a sibling."""
TORCH_PACKAGES = ("training",)
MAX_FILES, MAX_LINES = 16, 350
HEAVY = (
    *("torch", "torchvision", "onnxruntime", "skimage", "matplotlib", "jinja2", "scipy", "PIL"),
    *("sqlalchemy", "psycopg", "cryptography", "rfc3161_client", "pydantic", "rich"),
)

FILES = sorted((ROOT / "onnxnnw").rglob("*.py"))
EXPORTERS = sorted((ROOT / "exporters").glob("*.py"))


def module_of(path: Path) -> list[str]:
    """``onnxnnw/network_file/wire.py`` -> ["graph", "wire"]."""
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
def test_a_module_imports_only_what_stands_before_it(path):
    """The order holds for every import, lazy ones included, between packages and inside each."""
    own = module_of(path)
    assert own[0] in PACKAGES, f"{own[0]} is no package of this list"
    inside = PACKAGES[own[0]].split()
    for name in imports_of(path):
        parts = name.split(".")
        if parts[0] != "onnxnnw" or len(parts) < 3 or parts[1] not in PACKAGES:
            continue
        if parts[1] != own[0]:
            assert ORDER.index(parts[1]) < ORDER.index(own[0]), f"{'.'.join(own)} imports {name}"
        elif len(own) > 1 and own[0] not in PLUG_INS and {parts[2], own[1]} <= {*inside} and parts[2] != own[1]:
            assert inside.index(parts[2]) < inside.index(own[1]), f"{'.'.join(own)} imports {name}"


@pytest.mark.parametrize("folder", PLUG_INS)
def test_plug_ins_import_no_sibling(folder):
    """A new one is one new file: it imports what its folder's modules share and earlier packages."""
    shared = {"base", *PACKAGES.get(folder, "").split()}
    for path in (ROOT / "onnxnnw" / folder.replace(".", "/")).glob("*.py"):
        if path.stem in ("__init__", "entry", *shared):
            continue
        for name in imports_of(path):
            rest = name.removeprefix(f"onnxnnw.{folder}.").split(".")
            if name.startswith(f"onnxnnw.{folder}.") and (path.parent / f"{rest[0]}.py").exists():
                assert rest[0] in shared, f"{path.stem} imports {name}"


@pytest.mark.slow
def test_modules_form_no_circle():
    """No module needs itself, by whatever way; imports for type checkers alone are left out."""
    files = {".".join(module_of(path)): path for path in FILES}
    graph: dict[str, set[str]] = {}
    for name, path in files.items():
        needed = {n.removeprefix("onnxnnw.") for n in imports_of(path) if n.startswith("onnxnnw.")}
        graph[name] = {n if n in files else n.rpartition(".")[0] for n in needed} - {name, ""}
    list(TopologicalSorter(graph).static_order())


def test_packages_and_modules_stay_small():
    """A package has few files (plug-in folders and the command line have as many as there are), a file few lines."""
    for folder in {path.parent for path in FILES}:
        name = ".".join(folder.relative_to(ROOT / "onnxnnw").parts)
        assert name in PLUG_INS or len([p for p in folder.glob("*.py") if p.stem != "__init__"]) <= MAX_FILES, name
    long = {str(p.relative_to(ROOT)): n for p in FILES if (n := len(p.read_text().splitlines())) > MAX_LINES}
    assert not long


@pytest.mark.parametrize("path", EXPORTERS, ids=lambda p: p.stem)
def test_an_exporter_imports_no_sibling(path):
    """A new network is one new file."""
    for name in imports_of(path):
        if name.startswith("onnxnnw.exporters.") and path.stem not in ("__init__", "base"):
            assert name.split(".")[2] == "base"


@pytest.mark.parametrize("path", FILES, ids=lambda p: "/".join(module_of(p)) or "onnxnnw")
def test_heavy_packages_are_imported_late(path):
    """Nothing imports torch, onnxruntime, scikit-image, matplotlib, scipy or Pillow until a function needs it."""
    if module_of(path)[:1] and module_of(path)[0] in TORCH_PACKAGES:
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
        ("import onnxnnw.verification.verify", set(HEAVY)),
        ("import onnxnnw.cli.entry; onnxnnw.cli.entry.build_app()", {"numpy", "onnx", *HEAVY}),
        ("import onnxnnw.tasks, onnxnnw.training.networks", set(HEAVY)),
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


def test_every_public_name_can_be_had():
    """``onnxnnw`` loads names when they are asked for, from modules that it names by text; a fresh interpreter asks for all."""
    code = "import onnxnnw; print([name for name in onnxnnw.__all__ if getattr(onnxnnw, name, None) is None])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr
