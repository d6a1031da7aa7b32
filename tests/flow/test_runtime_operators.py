"""What is known of runtimes' operators: all that is installed here, and what it was taken from."""

import sys
from pathlib import Path

import pytest

from benchmarks import operators
from onnxnnw.flow import runtime_operators
from onnxnnw.flow.runtime_operators import VERSIONS, is_runtime_operator
from onnxnnw.flow.tracing import trace_flow
from tests.support.networks import dense, save

UPDATE = (
    "the installed {} knows operators that the list lacks: run `python -m benchmarks operators --pythons …`, see there"
)


@pytest.fixture(scope="module")
def installed() -> operators.Operators:
    """Version and operators of each package that is installed."""
    return operators.read(sys.executable)


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_every_operator_that_is_installed_is_listed(installed: operators.Operators, package: str) -> None:
    """Of all domains and opsets. A newer version that adds some makes this fail, on purpose."""
    version, found = installed[package]
    assert len(found) > 200
    missing = sorted(name for name in found if not is_runtime_operator(*name))
    assert not missing, f"{UPDATE.format(f'{package} {version}')}: {missing[:9]}"


def test_the_list_says_what_it_was_taken_from() -> None:
    """A version each, and operators that only one of them has."""
    assert set(VERSIONS) == set(operators.PACKAGES)
    assert all(version.replace(".", "").isdigit() for version in VERSIONS.values())
    assert is_runtime_operator("ai.onnx.preview.training", "Adam")  # onnx alone
    assert is_runtime_operator("com.microsoft", "Gelu")  # onnxruntime alone
    assert is_runtime_operator("ai.onnx.contrib", "BertTokenizer")  # onnxruntime-extensions alone


def test_names_are_compared_exactly() -> None:
    """The standard's domain has two names; nothing else is alike."""
    assert is_runtime_operator("", "MatMul")
    assert is_runtime_operator("ai.onnx", "MatMul")
    for domain, name in (("com.microsoft", "MatMul"), ("", "matmul"), ("", ""), ("AI.ONNX", "MatMul"), ("com", "Gelu")):
        assert not is_runtime_operator(domain, name)
    assert not is_runtime_operator("com.microsoft", "MyOwn")


def test_writing_what_is_listed_changes_nothing() -> None:
    """The file is what the command writes; nobody edited the data by hand."""
    source = operators.TARGET.read_text()
    names = {(domain, name) for domain, names in runtime_operators.runtime_operators().items() for name in names}
    found = {package: (version, names) for package, version in VERSIONS.items()}
    assert operators.rewritten(source, found) == source
    fewer = operators.rewritten(source, {package: ("0.1", {("ai.onnx", "Only")}) for package in VERSIONS})
    scope: dict[str, object] = {}
    exec(fewer, scope)
    assert scope["_NAMES"] == {"": "\n        Only\n    "}
    assert scope["VERSIONS"] == dict.fromkeys(VERSIONS, "0.1")


def test_a_network_without_local_functions_does_without_the_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is loaded only where it is needed."""
    from onnxnnw.network_file.file import open_network

    monkeypatch.setitem(sys.modules, "onnxnnw.flow.runtime_operators", None)  # an import would fail
    with open_network(save(dense(), tmp_path / "m.onnx")) as network:
        assert trace_flow(network).nodes
