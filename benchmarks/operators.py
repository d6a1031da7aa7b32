"""Write anew which operators runtimes know: the data of ``onnxnnw/flow/runtime_operators.py``.

    python -m benchmarks operators [--pythons CPU/bin/python,EXTENSIONS/bin/python]

Read are onnx, onnxruntime and onnxruntime-extensions, as far as they are installed for this Python and for the others given:
onnxruntime for CPUs and onnxruntime for GPUs exclude each other. All three are needed, one version of each. Nothing is
measured, the file is written in place, and ``git diff`` shows what came and what went.
"""

import argparse
import json
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path

from benchmarks.machine import Failed

__all__ = ["main", "read", "rewritten"]

TARGET = Path(__file__).parent.parent / "onnxnnw" / "flow" / "runtime_operators.py"
BEGIN, END = "# What follows is written by `python -m benchmarks operators`.\n", "# End of what is written.\n"
PACKAGES = ("onnx", "onnxruntime", "onnxruntime-extensions")

_READ = '''
import ctypes as c
import json
import os
from importlib.metadata import PackageNotFoundError, version

def installed(*names):
    for name in names:
        try:
            return version(name)
        except PackageNotFoundError:
            pass

def of_onnx():
    import onnx.defs
    return [(s.domain, s.name) for s in onnx.defs.get_all_schemas_with_history()]

def of_onnxruntime():
    from onnxruntime.capi.onnxruntime_pybind11_state import get_all_operator_schema
    return [(s.domain, s.name) for s in get_all_operator_schema()]

def of_extensions():
    """Let the library register its operators with a runtime that does nothing but write down their names.

    OrtApi is a table of functions that only grows: CreateCustomOpDomain has number 26, CustomOpDomain_Add number 27, and the
    third pointer of an OrtCustomOp is its GetName [onnxruntime_c_api.h].
    """
    from onnxruntime_extensions import get_library_path
    found, domains = [], []
    get_name = c.CFUNCTYPE(c.c_char_p, c.c_void_p)

    @c.CFUNCTYPE(c.c_void_p)
    def nothing():
        return None

    @c.CFUNCTYPE(c.c_void_p, c.c_char_p, c.POINTER(c.c_void_p))
    def create_domain(name, out):
        domains.append(name.decode())
        out[0] = len(domains)

    @c.CFUNCTYPE(c.c_void_p, c.c_size_t, c.POINTER(c.c_void_p))
    def add(domain, operator):
        found.append((domains[domain - 1], get_name(operator[2])(c.addressof(operator.contents)).decode()))

    functions = [nothing] * 600
    functions[26:28] = create_domain, add
    table = (c.c_void_p * len(functions))(*(c.cast(f, c.c_void_p).value for f in functions))
    text = c.create_string_buffer(version("onnxruntime").encode())
    get_api = c.CFUNCTYPE(c.c_void_p, c.c_uint32)(lambda number: c.addressof(table))
    get_version = c.CFUNCTYPE(c.c_void_p)(lambda: c.addressof(text))
    base = (c.c_void_p * 2)(c.cast(get_api, c.c_void_p).value, c.cast(get_version, c.c_void_p).value)
    register = c.CDLL(get_library_path()).RegisterCustomOps
    register.restype, register.argtypes = c.c_void_p, [c.c_void_p, c.c_void_p]
    register(None, c.addressof(base))
    from onnxruntime_extensions import _cuops  # knows operators that only some builds of the library have
    classes = [k for k in vars(_cuops).values() if isinstance(k, type) and issubclass(k, _cuops.CustomOp)]
    return found + [("ai.onnx.contrib", k.__name__) for k in classes if k is not _cuops.CustomOp]

out = {}
for package, names, operators in (
    ("onnx", ("onnx",), of_onnx),
    ("onnxruntime", ("onnxruntime-gpu", "onnxruntime"), of_onnxruntime),
    ("onnxruntime-extensions", ("onnxruntime-extensions",), of_extensions),
):
    if installed(*names):
        out[package] = installed(*names), sorted(set(operators()))
print(json.dumps(out), flush=True)
os._exit(0)  # the library would say goodbye to a runtime that is no more
'''

Operators = Mapping[str, tuple[str, set[tuple[str, str]]]]


def read(python: str) -> Operators:
    """Version and operators of each package that is installed for a Python, in a process of its own."""
    done = subprocess.run([python, "-c", _READ], capture_output=True, text=True)
    if done.returncode:
        raise Failed(f"{python}: {done.stderr.strip()[-500:] or f'ended with {done.returncode}'}")
    found = json.loads(done.stdout.splitlines()[-1])
    return {package: (version, set(map(tuple, operators))) for package, (version, operators) in found.items()}


def rewritten(source: str, found: Operators) -> str:
    """The text of the module with these versions and operators in place of its own."""
    head, _, rest = source.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not end:
        raise Failed(f"{TARGET.name} has not the two lines between which the data stand")
    lines = ["VERSIONS: Mapping[str, str] = {"]
    lines += [f'    "{package}": "{found[package][0]}",' for package in PACKAGES]
    lines += ["}", '"""The packages that the names were taken from."""', "", "_NAMES: Mapping[str, str] = {"]
    names: dict[str, set[str]] = {}
    for package in PACKAGES:
        for domain, name in found[package][1]:
            names.setdefault("" if domain == "ai.onnx" else domain, set()).add(name)
    for domain in sorted(names):
        lines += [f'    "{domain}": """']
        lines += textwrap.wrap(
            " ".join(sorted(names[domain])), 112, initial_indent=" " * 8, subsequent_indent=" " * 8,
            break_long_words=False, break_on_hyphens=False,
        )  # fmt: skip
        lines += ['    """,']
    return "\n".join([head + BEGIN + lines[0], *lines[1:], "}", END + tail])


def main(arguments: list[str]) -> int:
    """Read what is installed and write the file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks operators", description=__doc__)
    parser.add_argument("--pythons", default="", help="Pythons of other environments, separated by commas")
    options = parser.parse_args(arguments)
    found: dict[str, tuple[str, set[tuple[str, str]]]] = {}
    for python in [sys.executable, *filter(None, options.pythons.split(","))]:
        for package, (version, operators) in read(python).items():
            known = found.setdefault(package, (version, operators))
            if known[0] != version:
                raise Failed(f"{package} is there as {known[0]} and as {version}; one of each, please")
            only = len(known[1] - operators), len(operators - known[1])
            print(f"{package} {version}: {len(operators)} operators; {only[1]} of them new, {only[0]} missing here")
            found[package] = version, known[1] | operators
    missing = [package for package in PACKAGES if package not in found]
    if missing:
        raise Failed(f"{' and '.join(missing)} installed nowhere; give the Python of an environment with --pythons")
    TARGET.write_text(rewritten(TARGET.read_text(), found))
    return 0
