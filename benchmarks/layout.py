"""Draw the packages and their imports: docs/measured/figures/packages.svg.

    python -m benchmarks layout

Nothing is measured: columns are the order of the packages, arrows what the files import.
"""

import argparse
import ast
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
FIGURE = ROOT / "docs" / "measured" / "figures" / "packages.svg"
COLUMNS = (
    (
        *("errors", "texts", "notices", "files", "array_files", "standard", "statistics", "parameters"),
        *("onnxruntime_package", "torchvision_package", "runtime", "images", "recipes"),
    ),
    ("sources",),
    ("network_file",),
    ("flow",),
    ("constants",),
    ("graph",),
    ("accounting", "records", "channels"),
    ("matching", "alignment", "methods"),
    ("candidate",),
    ("enrolment", "verification"),
    ("registry", "comparison", "evidence", "tasks", "training", "modifications"),
    ("gate", "campaign", "report", "method_check", "demo", "cli"),
)
"""Packages from left to right; those of the first column are used everywhere, and their arrows are left out."""

_WIDTH, _HEIGHT, _STEP_X, _STEP_Y = 158, 30, 190, 48


def imports() -> dict[str, set[str]]:
    """Package -> the packages that its files import."""
    out: dict[str, set[str]] = {}
    for path in (ROOT / "onnxnnw").rglob("*.py"):
        own = path.relative_to(ROOT / "onnxnnw").parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("onnxnnw."):
                other = node.module.split(".")[1]
                if other != own:
                    out.setdefault(own, set()).add(other)
    return out


def drawn(arrows: dict[str, set[str]]) -> str:
    """The figure as SVG, in colours that light and dark pages can show."""
    missing = (set(arrows) | set().union(*arrows.values())) - {name for column in COLUMNS for name in column}
    assert not missing - {"exporters", "__init__", "__main__"}, f"packages without a column: {missing}"
    tallest = max(map(len, COLUMNS))
    places = {
        name: (20 + column * _STEP_X, 20 + round((tallest - len(names)) / 2 * _STEP_Y) + row * _STEP_Y)
        for column, names in enumerate(COLUMNS)
        for row, name in enumerate(names)
    }
    width, height = 40 + len(COLUMNS) * _STEP_X, 40 + tallest * _STEP_Y
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="13">',
        '<rect width="100%" height="100%" fill="white"/>',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0L8 4L0 8z" fill="#56789a"/></marker></defs>',
    ]
    for own, others in sorted(arrows.items()):
        for other in sorted(others):
            if own not in places or other not in places or other in COLUMNS[0]:
                continue
            (x1, y1), (x2, y2) = places[own], places[other]
            start, end = (x1, y1 + _HEIGHT / 2), (x2 + _WIDTH, y2 + _HEIGHT / 2)
            if x1 == x2:
                start, end = (x1 + _WIDTH / 2, y1), (x2 + _WIDTH / 2, y2 + _HEIGHT)
            bend = (start[0] - end[0]) / 2
            parts.append(
                f'<path d="M{start[0]} {start[1]}C{start[0] - bend} {start[1]} {end[0] + bend} {end[1]} {end[0]} {end[1]}" '
                'fill="none" stroke="#56789a" stroke-opacity=".45" marker-end="url(#tip)"/>'
            )
    for name, (x, y) in places.items():
        parts.append(
            f'<rect x="{x}" y="{y}" width="{_WIDTH}" height="{_HEIGHT}" rx="5" fill="#eef3f8" stroke="#56789a"/>'
        )
        parts.append(f'<text x="{x + _WIDTH / 2}" y="{y + 20}" text-anchor="middle" fill="#123">{name}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def main(arguments: Sequence[str]) -> int:
    """Write the figure."""
    argparse.ArgumentParser(prog="python -m benchmarks layout", description=__doc__).parse_args(arguments)
    FIGURE.write_text(drawn(imports()))
    print(FIGURE.relative_to(ROOT))
    return 0
