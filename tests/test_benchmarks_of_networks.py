"""The accounts of a folder's networks, and its strangers, on networks that are known to the last element."""

import pytest
from onnx import helper

from benchmarks import accounting, strangers
from onnxnnw.accounting.account import Account, AccountLine
from tests.support.networks import dense, model_of, save, weight


@pytest.fixture
def folder(tmp_path):
    """Two networks without a common weight, one that holds the first one's weights, a small one, and no network."""
    (tmp_path / "inner").mkdir()
    save(dense(width=48, seed=1), tmp_path / "inner" / "first.onnx")
    save(dense(width=48, seed=2), tmp_path / "second.onnx")
    nodes = [helper.make_node("Custom", ["x", "secret"], ["h"], domain="own"), helper.make_node("Relu", ["h"], ["y"])]
    save(model_of(nodes, [weight("secret", 40, 50)], domains=["own"]), tmp_path / "opaque.onnx")
    (tmp_path / "broken.onnx").write_bytes(b"no network")
    return tmp_path


def row_of(text: str, name: str) -> list[str]:
    """The cells of the first row that begins with a name."""
    line = next(line for line in text.splitlines() if line.startswith(f"| {name} |"))
    return [cell.strip() for cell in line.split("|")[1:-1]]


def test_every_file_has_its_account(folder, capsys):
    """Nodes, all that is stored, and shares that are those of the file."""
    page = folder / "new" / "page.md"
    assert accounting.main(["--corpus", str(folder), "--output", str(page)]) == 0
    text = capsys.readouterr().out
    size, bias = 2 * 48 * 48, 2 * 48
    shares = [f"{size / (size + bias):.1%}", f"{bias / (size + bias):.1%}"]
    assert row_of(text, "first")[:5] == ["first", "6", f"{size + bias:,}", *shares]
    assert "100.0%" in row_of(text, "opaque")[6]
    assert "Custom" in row_of(text, "opaque")[-1]
    assert row_of(text, "broken")[-1].startswith("refused: broken.onnx")
    assert "4 files, 1 refused" in text
    assert str(folder) not in text
    assert "begin accounting" in page.read_text()


def test_exceptions_are_summed_by_operator_and_reason():
    """A hundred small ones of one kind are one large one; what is covered is none."""
    entries = [AccountLine("not understood", f"t{number}", "Custom.1", "unknown", 4) for number in range(10)]
    entries += [AccountLine("doubtful", "d", "Mul.1", "zero", 2), AccountLine("weight", "w", "MatMul.1", "", 900)]
    amounts = {"weight": 948, "parameter": 10, "structural": 0, "not understood": 40, "doubtful": 2, "dead": 0}
    row = accounting.Row("file", 3, Account({**amounts, "given": 0}, entries, []))
    assert list(accounting.exceptions(row)) == [("not understood", "Custom.1", "unknown", 0.04)]
    assert [kind for kind, *_ in accounting.exceptions(row, 0)] == ["not understood", "doubtful"]


def test_strangers_are_not_traced(folder, capsys):
    """Both ways; the network that hides all it stores is inconclusive, and the page says which."""
    assert strangers.main(["--corpus", str(folder)]) == 0
    text = capsys.readouterr().out
    decisions = dict(zip(strangers.DECISIONS, row_of(text, "unrelated")[2:], strict=True))
    assert decisions == {"not traced": "2", "inconclusive": "2", "traced": "0", "identical": "0", "refused": "2"}
    assert row_of(text, "opaque")[1:3] == ["inconclusive", "2"]
    assert str(folder) not in text


def test_a_stranger_that_is_traced_is_a_failure(folder, capsys):
    """The same weights under a name that no relation knows."""
    model = dense(width=48, seed=1)
    model.graph.initializer[1].CopyFrom(weight("b0", 48, seed=77))
    save(model, folder / "third.onnx")
    assert strangers.main(["--corpus", str(folder)]) == 1
    assert "Strangers called traced: 2." in capsys.readouterr().out
