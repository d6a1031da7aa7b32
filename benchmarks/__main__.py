"""``python -m benchmarks NAME``: run the benchmark of that name; every file of this folder with a ``main`` is one."""

import importlib
import pkgutil
import sys
from pathlib import Path


def names() -> list[str]:
    """The benchmarks of this folder, found without importing them."""
    found = []
    for info in pkgutil.iter_modules([str(Path(__file__).parent)]):
        source = (Path(__file__).parent / f"{info.name}.py").read_text()
        if not info.name.startswith("_") and "\ndef main(" in source:
            found.append(info.name)
    return found


def main(arguments: list[str]) -> int:
    """Run one benchmark."""
    if not arguments or arguments[0] not in names():
        known = ", ".join(names())
        print(f"usage: python -m benchmarks NAME [--help]\nthere are: {known}", file=sys.stderr)
        return 2
    return int(importlib.import_module(f"benchmarks.{arguments[0]}").main(arguments[1:]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
