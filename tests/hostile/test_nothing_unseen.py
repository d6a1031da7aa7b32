"""The law: whatever the reader does not see counts neither as agreeing nor as absent.

For every operator that onnx defines at every version, and every operator that onnxruntime adds, a weight stands at each of
the inputs in turn. Replaced, it must show: what is explained falls, or the account names the operator; and never is it "not traced"
where nothing was read.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from onnxnnw.accounting.classing import account_of
from onnxnnw.accounting.roles import MAX_STRUCTURAL
from onnxnnw.cli.entry import main
from onnxnnw.enrolment.enrol import embed, fingerprint
from onnxnnw.enrolment.inspection import inspect
from onnxnnw.graph.slots import find_slots
from onnxnnw.network_file.file import open_network
from onnxnnw.records.key import Key
from onnxnnw.records.record_file import load_record
from onnxnnw.verification.verdict import Verdict
from onnxnnw.verification.verify import verify
from tests.hostile.conftest import Victim
from tests.support.networks import model_of, save, tensor, weight

WIDTH = 64
MAX_INPUTS = 6
SHAPES = ((WIDTH, WIDTH), (WIDTH * WIDTH,), (8, 8, 8, 8))


def operators() -> Iterator[tuple[str, str, int, int]]:
    """Domain, name, version and number of inputs of every operator at every version."""
    for schema in onnx.defs.get_all_schemas_with_history():
        if (
            schema.domain in ("", "ai.onnx.ml")
            and not schema.deprecated
            and schema.name not in ("Constant", "If", "Loop", "Scan")
        ):
            yield schema.domain, schema.name, schema.since_version, min(MAX_INPUTS, max(1, len(schema.inputs)))
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    for schema in state.get_all_operator_schema():
        if schema.domain.startswith("com.microsoft"):
            yield schema.domain, schema.name, schema.since_version, min(MAX_INPUTS, max(1, len(schema.inputs)))


OPERATORS = sorted(set(operators()))


def holding(op: tuple[str, str, int, int], place: int, shape: tuple[int, ...], seed: int) -> ModelProto:
    """x -> own weights -> y, and beside it an operator with a weight at one of its inputs, joined to what is computed."""
    domain, name, version, count = op
    inputs = ["x"] * count
    inputs[place] = "held"
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["h"]),
        helper.make_node(name, inputs, ["o"], domain=domain),
        helper.make_node("Add", ["h", "o"], ["y"]),
    ]
    held = tensor("held", np.random.default_rng(seed).standard_t(5, shape).astype("f4") * 0.05)
    model = model_of(nodes, [weight("a", WIDTH, WIDTH, seed=1), held])
    del model.opset_import[:]
    model.opset_import.append(helper.make_opsetid("", version if not domain else 21))
    if domain:
        model.opset_import.append(helper.make_opsetid(domain, version))
    return model


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_weight_at_any_input_of_any_operator_is_read_or_named(shape: tuple[int, ...], tmp_path: Path) -> None:
    """All of it is a weight, or not understood with the operator's name; never a parameter or a part of the structure."""
    wrong = []
    for op in OPERATORS:
        for place in range(op[3]):
            path = save(holding(op, place, shape, 2), tmp_path / "m.onnx")
            account = inspect(path).account
            seen = account.weight - WIDTH * WIDTH + account.not_understood // 4
            if seen < WIDTH * WIDTH - MAX_STRUCTURAL and not (account.dead or account.doubtful):
                wrong.append((*op[:3], place, dict(account.amounts)))
    assert not wrong, f"{len(wrong)}, such as {wrong[:5]}"


@pytest.mark.slow
def test_a_weight_that_is_replaced_shows_whatever_reads_it(tmp_path: Path) -> None:
    """What is explained falls far below the gate, for every operator and input."""
    wrong = []
    for op in OPERATORS:
        for place in range(op[3]):
            original = save(holding(op, place, SHAPES[0], 2), tmp_path / "m.onnx")
            (tmp_path / "f.record").unlink(missing_ok=True)
            fingerprint(original, tmp_path / "f.record", positions=300, key=Key(b"k" * 32))
            other = save(holding(op, place, SHAPES[0], 3), tmp_path / "o.onnx")
            (verdict,) = verify(other, [load_record(tmp_path / "f.record")])
            if inspect(other).account.dead:  # of a constant whose shape alone is read, values are for nobody
                continue
            if verdict.explained > 0.6 or verdict.decision == "identical":
                wrong.append((*op[:3], place, verdict.decision, verdict.explained))
    assert not wrong, f"{len(wrong)}, such as {wrong[:5]}"


def test_nothing_is_not_traced_of_which_nothing_was_read(victim: Victim, tmp_path: Path) -> None:
    """Our own weights behind operators of which nothing is known, at run time, in texts and in bytes: inconclusive."""
    weights = {t.name: numpy_helper.to_array(t) for t in victim.model.graph.initializer if t.name in ("w0", "w1")}
    both = np.concatenate([w.reshape(-1) for w in weights.values()])
    text = helper.make_tensor("text", TensorProto.STRING, [1], [both.tobytes()])
    given = helper.make_tensor_value_info("w", TensorProto.FLOAT, [WIDTH, WIDTH])
    unknown = helper.make_node("Mystery", ["x", "w0", "w1"], ["y"], domain="vendor")
    bias = [helper.make_node("Sub", ["x", "x"], ["z"]), helper.make_node("Add", ["z", "b"], ["r"]),
            helper.make_node("Reshape", ["r", "s"], ["m"]), helper.make_node("MatMul", ["x", "m"], ["y"])]  # fmt: skip
    palette = [helper.make_node("Gather", ["x", "i"], ["m"]), helper.make_node("MatMul", ["x", "m"], ["y"])]
    context = helper.make_node("EPContext", ["x"], ["y"], domain="com.microsoft", ep_cache_context=both.tobytes())
    mystery = helper.make_node("Mystery", ["x", "text"], ["y"], domain="vendor")
    chain = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("MatMul", ["h", "w"], ["y"])]
    cases = {
        "an operator that nobody knows": model_of([unknown], [tensor(n, w) for n, w in weights.items()], domains=["vendor"]),
        "one element of a text": model_of([mystery], [text], domains=["vendor"]),
        "a bias": model_of(bias, [tensor("b", both), tensor("s", np.array([2 * WIDTH, WIDTH]))]),
        "places in a palette": model_of(palette, [tensor("i", (both * 1e4).astype(np.int64))]),
        "bytes of a compiled context": model_of([context], [], domains=["com.microsoft"]),
        "given at run time": model_of(chain, []),
    }  # fmt: skip
    cases["given at run time"].graph.input.append(given)
    for name, model in cases.items():
        path = save(model, tmp_path / "m.onnx")
        for record in victim.records:
            (verdict,) = verify(path, [load_record(record)])
            assert (verdict.decision, verdict.absent) == ("inconclusive", 0), name
            assert verdict.not_understood, name
            with pytest.raises(SystemExit) as left:
                main(["verify", str(path), "--record", str(record)])
            assert left.value.code == 3, name


def judged(victim: Victim, model: ModelProto, tmp_path: Path) -> Verdict:
    path = save(model, tmp_path / "judged.onnx")
    (verdict,) = verify(path, [load_record(victim.fingerprint)])
    return verdict


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5])
@pytest.mark.parametrize("form", ["rows", "columns", "blocks"])
def test_parts_of_layers_that_were_replaced_show(victim: Victim, tmp_path: Path, form: str, share: float) -> None:
    """A tenth of the rows, columns or blocks of each layer: explained falls by as much."""
    model = ModelProto.FromString(victim.model.SerializeToString())
    rng = np.random.default_rng(7)
    for proto in model.graph.initializer:
        if proto.name not in ("w0", "w1"):
            continue
        values = numpy_helper.to_array(proto).copy()
        other = rng.normal(0, values.std(), values.shape).astype("f4")
        chosen = np.zeros(values.shape, bool)
        count = round(share * WIDTH)
        if form == "rows":
            chosen[rng.permutation(WIDTH)[:count]] = True
        elif form == "columns":
            chosen[:, rng.permutation(WIDTH)[:count]] = True
        else:
            side = round(np.sqrt(share) * WIDTH)
            chosen[:side, :side] = True
        proto.CopyFrom(tensor(proto.name, np.where(chosen, other, values)))
    verdict = judged(victim, model, tmp_path)
    assert verdict.decision == "traced"
    assert verdict.account.estimate == pytest.approx(1 - share, abs=0.06)
    assert verdict.explained < 1 - share + 0.02
    assert not verdict.meets("traced", 0.95)


def test_parameters_that_were_replaced_are_said_and_not_the_same_network(tmp_path: Path) -> None:
    """Every normalisation and bias another one, every weight as it was."""
    from tests.support.networks import convolutional

    original = save(convolutional(), tmp_path / "m.onnx")
    fingerprint(original, tmp_path / "f.record", key=Key(b"f" * 32))
    model = convolutional()
    rng = np.random.default_rng(5)
    for proto in model.graph.initializer:
        if len(proto.dims) == 1:
            values = numpy_helper.to_array(proto)
            proto.CopyFrom(tensor(proto.name, rng.uniform(0.1, 3, values.shape).astype("f4")))
    (verdict,) = verify(save(model, tmp_path / "o.onnx"), [load_record(tmp_path / "f.record")])
    assert verdict.decision == "traced"
    assert "parameters changed" in {finding.name for finding in verdict.findings}
    assert "same network" not in verdict.evidence.sentence
    assert verdict.account.parts["parameters"] > 0
    (own,) = verify(original, [load_record(tmp_path / "f.record")])
    assert own.account.unexplained == 0
    assert "shares an origin" in own.evidence.sentence


def test_structure_beyond_what_there_was_is_not_explained(victim: Victim, tmp_path: Path) -> None:
    """A network in pieces of 64 whole numbers is not understood, however small each piece is."""
    model = ModelProto.FromString(victim.model.SerializeToString())
    last = model.graph.node[-1]
    value, last.output[0] = "own", "own"
    for number in range(200):
        name, out = f"p{number}", "y" if number == 199 else f"g{number}"
        model.graph.initializer.append(tensor(name, np.arange(MAX_STRUCTURAL)[::-1].copy() ^ number % 64))
        model.graph.node.append(helper.make_node("Gather", [value, name], [out], axis=-1))
        value = out
    verdict = judged(victim, model, tmp_path)
    assert verdict.explained < 0.5
    assert verdict.account.parts["not understood"] > 10_000


def attention(factor: float) -> ModelProto:
    """One attention layer, mask as (1 - m) * factor."""
    nodes: list[NodeProto] = [helper.make_node("MatMul", ["x", k], [k + "x"]) for k in "qkv"]
    nodes += [
        helper.make_node("Transpose", ["kx"], ["kt"], perm=[0, 2, 1]), helper.make_node("MatMul", ["qx", "kt"], ["s"]),
        helper.make_node("Sub", ["one", "m"], ["inv"]), helper.make_node("Mul", ["inv", "big"], ["mask"]),
        helper.make_node("Add", ["s", "mask"], ["sm"]), helper.make_node("Softmax", ["sm"], ["p"]),
        helper.make_node("MatMul", ["p", "vx"], ["z"]), helper.make_node("MatMul", ["z", "o"], ["y"]),
    ]  # fmt: skip
    held = [weight(k, WIDTH, WIDTH, seed=n) for n, k in enumerate("qkvo")]
    return model_of(nodes, [*held, tensor("one", np.float32(1)), tensor("big", np.float32(factor))], inputs=("x", "m"))


def test_a_mask_hides_nothing_whatever_its_factor(tmp_path: Path) -> None:
    """Masks of -1e4, -1e9 and the smallest float give the same account: nothing follows from another summand's factor."""
    accounts = [inspect(save(attention(f), tmp_path / "a.onnx")).account.amounts for f in (-1e4, -1e9, -3.4e38)]
    assert accounts[0] == accounts[1] == accounts[2]
    assert accounts[0]["weight"] == 4 * WIDTH * WIDTH


def test_a_summand_with_a_large_factor_hides_no_network(victim: Victim, tmp_path: Path) -> None:
    """y + 1e9 (s - s): every answer is the same."""
    model = ModelProto.FromString(victim.model.SerializeToString())
    model.graph.node[-1].output[0] = "own"
    model.graph.initializer.append(tensor("big", np.float32(1e9)))
    model.graph.node.extend(
        [
            helper.make_node("ReduceMax", ["x"], ["s"], keepdims=0), helper.make_node("Sub", ["s", "s"], ["zero"]),
            helper.make_node("Mul", ["zero", "big"], ["nothing"]), helper.make_node("Add", ["own", "nothing"], ["y"]),
        ]
    )  # fmt: skip
    (verdict,) = verify(save(model, tmp_path / "m.onnx"), [load_record(victim.watermark)])
    assert verdict.decision == "traced"
    assert verdict.account.estimate == 1


ABSENT_OUTPUTS = [["z", ""], ["", "z"], ["", "z", ""]]


@pytest.mark.parametrize("outputs", ABSENT_OUTPUTS, ids=str)
@pytest.mark.parametrize("inputs", [["x", "", "six"], ["x", "zero", ""]], ids=str)
def test_an_absent_output_is_no_wire_to_an_absent_input(
    victim: Victim, tmp_path: Path, outputs: list[str], inputs: list[str]
) -> None:
    """The stolen weights feed an output that is not given; the network that runs has an input that is not given."""
    stolen = [proto for proto in victim.model.graph.initializer if proto.name in ("w0", "w1")]
    nodes = [
        helper.make_node("Clip", inputs, ["r"]), helper.make_node("MatMul", ["r", "e"], ["y"]),
        helper.make_node("MatMul", ["x", "w0"], ["d1"]), helper.make_node("MatMul", ["d1", "w1"], ["d2"]),
        helper.make_node("Split", ["d2"], outputs, axis=-1),
    ]  # fmt: skip
    limits = [tensor("six", np.float32(6)), tensor("zero", np.float32(0))]
    path = save(model_of(nodes, [*stolen, *limits, weight("e", WIDTH, 8, seed=9)]), tmp_path / "m.onnx")
    for record in victim.records:
        (verdict,) = verify(path, [load_record(record)])
        assert verdict.decision == "not traced"
    with open_network(path) as network:
        assert [slot.name for slot in find_slots(network).slots] == ["e"]


def test_recurrent_layers_whose_first_output_is_absent_are_read(tmp_path: Path) -> None:
    """['', Y_h] is how exporters ask for the last state only."""
    inputs = ["x", "W", "R", "B", "", "h0", "c0"]
    node = helper.make_node("LSTM", inputs, ["", "y"], hidden_size=32)
    held = [weight("W", 1, 128, 16), weight("R", 1, 128, 32, seed=1), weight("B", 1, 256, seed=2)]
    zeros = [tensor(name, np.zeros((1, 1, 32), "f4")) for name in ("h0", "c0")]
    path = save(model_of([node], [*held, *zeros]), tmp_path / "m.onnx")
    fingerprint(path, tmp_path / "f.record", positions=256)
    assert {weight.name for weight in inspect(path).weights} == {"W", "R"}


def test_identity_of_nothing_is_no_internal_error(victim: Victim, tmp_path: Path) -> None:
    """No runtime loads it, and no digest stumbles over it."""
    path = save(model_of([helper.make_node("Identity", [], ["y"])], []), tmp_path / "m.onnx")
    (verdict,) = verify(path, [load_record(victim.watermark)], full=True)
    assert verdict.decision == "not traced"


def test_what_a_verification_cannot_see_is_said_at_enrolment(tmp_path: Path) -> None:
    """Both commands warn with the share and the operators."""
    node = helper.make_node("Mystery", ["h", "e"], ["y"], domain="vendor")
    layers = [helper.make_node("MatMul", ["x", "a"], ["h"]), node]
    held = [weight("a", WIDTH, WIDTH), weight("e", WIDTH, WIDTH, seed=1)]
    path = save(model_of(layers, held, domains=["vendor"]), tmp_path / "m.onnx")
    for made in (
        fingerprint(path, tmp_path / "f.record", positions=200),
        embed(path, tmp_path / "o.onnx", tmp_path / "w.record", positions=200),
    ):
        assert any(
            "80.0% of what is stored cannot be seen" in warning and "Mystery.1" in warning for warning in made.warnings
        )
        account = made.record.account
        assert account is not None
        assert account["amounts"]["not understood"] == 4 * WIDTH * WIDTH


def test_every_kind_adds_up_to_what_is_stored(victim: Victim) -> None:
    """Weights, parameters and structure of the victim, element by element."""
    with open_network(victim.path) as network:
        view = find_slots(network)
        account = account_of(network, view)
        assert account.stored == sum(t.size for t in view.flow.tensors.values())
    assert (account.weight, account.parameter) == (2 * WIDTH * WIDTH, 2 * WIDTH)
