"""The table of operators' inputs: every entry says why, and the page shows what the code does."""

import onnx
import pytest

from benchmarks.operator_inputs import PAGE, page
from onnxnnw.accounting.roles import table
from onnxnnw.flow.runtime_operators import is_runtime_operator


def test_the_page_is_what_the_table_says() -> None:
    """Write it anew with ``python -m benchmarks operator_inputs``."""
    assert PAGE.read_text() == page()


@pytest.mark.parametrize("op", table())
def test_every_operator_of_the_table_exists(op: str) -> None:
    """A misspelt name would be an entry that nothing ever meets."""
    assert onnx.defs.has(op) or any(is_runtime_operator(domain, op) for domain in ("", "com.microsoft"))
    for role in table()[op].values():
        assert role.kind in ("parameter", "structural")
        assert len(role.reason) > 5
