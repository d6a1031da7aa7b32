"""Einsum read as a matrix product: what follows from the canonical matrix is what the operator answers."""

import itertools
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper

from onnxnnw.accounting.classing import account_of
from onnxnnw.constants.contraction import contraction_of
from onnxnnw.graph.slots import find_slots
from onnxnnw.network_file.file import open_network
from tests.support.networks import model_of, save, tensor


@st.composite
def equations(draw: st.DrawFn) -> tuple[str, str, str, dict[str, int], bool]:
    """Data's term, weight's term, result, lengths, and whether the weight comes first; each index has one of five roles."""
    labels = draw(st.permutations("abcdefgh"))
    counts = [draw(st.integers(low, high)) for low, high in ((0, 1), (0, 2), (1, 2), (0, 2), (0, 1))]
    ends = np.cumsum([0, *counts])
    batch, out, summed, free, alone = ("".join(labels[a:b]) for a, b in itertools.pairwise(ends))
    lengths = {label: draw(st.integers(4, 8)) for label in labels}
    shuffled = lambda text: "".join(draw(st.permutations(text)))  # noqa: E731
    return (
        shuffled(batch + summed + free + alone),
        shuffled(batch + out + summed),
        shuffled(batch + out + free),
        lengths,
        draw(st.booleans()),
    )


@given(case=equations())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_canonical_matrix_computes_what_the_operator_does(
    case: tuple[str, str, str, dict[str, int], bool], tmp_path: Path
) -> None:
    """Rows are what the result has, columns what is summed over, in the weight's own order; stacks where both have an index."""
    data, own, result, lengths, first = case
    rng = np.random.default_rng(1)
    x, w = (rng.normal(size=[lengths[label] for label in term]).astype("f4") for term in (data, own))
    if w.size < 64:
        return
    terms = [(own, "w"), (data, "x")] if first else [(data, "x"), (own, "w")]
    equation = f"{terms[0][0]},{terms[1][0]}->{result}"
    node = helper.make_node("Einsum", [name for _, name in terms], ["y"], equation=equation)
    model = model_of([node], [tensor("w", w)])
    with open_network(save(model, tmp_path / "m.onnx")) as network:
        (slot,) = find_slots(network).slots
        matrix = slot.array()
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, {"x": x})

    batch = [label for label in own if label in data and label in result]
    out = [label for label in own if label not in data]
    summed = [label for label in own if label not in result]
    free = [label for label in data if label not in own and label in result]
    size = lambda chosen: int(np.prod([lengths[label] for label in chosen]))  # noqa: E731
    assert (slot.rows, slot.row_size) == (size(batch + out), size(summed))
    vectors = np.einsum(f"{data}->{''.join(batch + free + summed)}", x).reshape(size(batch), size(free), size(summed))
    stack = matrix.reshape(size(batch), size(out), size(summed))
    answer = (vectors @ stack.transpose(0, 2, 1)).reshape([lengths[label] for label in batch + free + out])
    np.testing.assert_allclose(np.einsum(f"{''.join(batch + free + out)}->{result}", answer), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("equation", "shape"),
    [
        ("bi,ij->bj", (64, 2)),
        ("...i,ij->...j", (64, 2)),
        ("bij,jhd->bihd", (64, 4)),
        ("bhqd,hdo->bqo", (64, 4)),
        ("bi,ij", (64, 2)),
    ],
)  # fmt: skip
def test_equations_as_exporters_write_them_are_products(equation: str, shape: tuple[int, int]) -> None:
    """The second operand is a matrix."""
    found = contraction_of(equation, 1)
    assert found is not None
    assert found.is_product


@pytest.mark.parametrize(
    "equation",
    [
        "bi,ii->bi",
        "bi,ij->b",
        "bii,ij->bj",
        "b...,...j->bj",
        "bi,ij->bjj",
        "bi",
        "",
        "->",
        ",",
        "bi,i1->b1",
        "bi->ij,bj",
        "bi,ij->bj->",
    ],
)
def test_diagonals_and_what_is_no_equation_are_not_read(equation: str, tmp_path: Path) -> None:
    """An index twice, or one that the operand has for itself, is no product: the operator is named."""
    assert contraction_of(equation, 1) is None
    node = helper.make_node("Einsum", ["x", "w"], ["y"], equation=equation)
    path = save(
        model_of([node], [tensor("w", np.random.default_rng(0).normal(size=(16, 16)).astype("f4"))]),
        tmp_path / "m.onnx",
    )
    with open_network(path) as network:
        view = find_slots(network)
        account = account_of(network, view)
    assert not view.slots
    assert [(entry.kind, entry.operator) for entry in account.entries] == [("not understood", "Einsum.1")]


def test_a_factor_of_each_element_is_a_table() -> None:
    """Nothing is summed over with it."""
    found = contraction_of("bij,ij->bij", 1)
    assert found is not None
    assert not found.is_product
