"""float -> int8 -> float16 by attestations: a gate without records follows them, and no link may be missing or false."""

import json
import shutil

import onnx
import pytest
from onnx import numpy_helper

from onnxnnw.cli.entry import main
from onnxnnw.enrolment.enrol import fingerprint
from onnxnnw.gate.checking import check
from onnxnnw.records.record_file import load_record
from tests.support.keys import key_pair
from tests.support.networks import save


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    assert isinstance(left.value.code, int)
    return left.value.code


def renamed(source, target, suffix: str):
    """The same network under other names, as a tool that rewrites it leaves it."""
    model = onnx.load(source)
    names = {tensor.name: tensor.name + suffix for tensor in model.graph.initializer}
    for tensor in model.graph.initializer:
        tensor.name = names[tensor.name]
    for node in model.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
    return save(model, target)


@pytest.fixture
def chain(place):
    """own.onnx (record) -> second.onnx (attested, enrolled in its turn) -> third.onnx (attested); the records are thrown away."""
    folder = place.folder
    key_pair(folder, name="ci")
    renamed(folder / "own.onnx", folder / "second.onnx", "_2")
    model = onnx.load(folder / "second.onnx")
    for tensor in model.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype("f2").astype("f4"), tensor.name))
    save(model, folder / "third.onnx")
    fingerprint(folder / "second.onnx", folder / "second.record")
    for name, record in (("second", "own"), ("third", "second")):
        arguments = ["--attestation", folder / f"{name}.intoto.jsonl", "--sign", folder / "ci.pem"]
        assert run("verify", folder / f"{name}.onnx", "--record", folder / f"{record}.record", *arguments) == 0
    return place


def policy(place, more: str = 'allow = ["layout", "float16"]', statements: str = "*.intoto.jsonl", root: str = ""):
    root = root or load_record(place.folder / "own.record").commitment
    return place.policy(
        f'[[network]]\nname = "deployed"\nfiles = ["third.onnx"]\nrequire = "traced"\nattestations = ["{statements}"]\n'
        f'keys = ["ci.pub"]\ncommitments = ["{root}"]\n{more}\n'
    )


def reasons(checked) -> set[str]:
    return {problem.rule.name for answer in checked.answers for problem in answer.problems}


def test_a_gate_without_records_follows_the_chain(chain):
    """Two links, and the answer tells them."""
    checked = check(policy(chain))
    assert (checked.code, reasons(checked)) == (0, set())
    (note,) = checked.answers[0].notes
    assert note.startswith("by attestations: third.onnx ← second.onnx ← record own.record")


def test_every_link_has_to_be_there_signed_and_allowed(chain):
    """A missing link, a foreign key, a foreign root, a finding that is not allowed on the way, another file."""
    folder = chain.folder
    assert check(policy(chain, statements="third.intoto.jsonl")).code == 1
    assert check(policy(chain, root="0" * 64)).code == 1
    assert "FindingNotAllowed" in reasons(check(policy(chain, more='allow = ["float16"]')))
    assert "FindingNotAllowed" in reasons(check(policy(chain, more='allow = ["layout"]')))
    rules = policy(chain)
    key_pair(folder, name="ci")
    assert check(rules).code == 1
    with (folder / "third.onnx").open("ab") as file:
        file.write(b"\xfa\x3f\x00")
    assert check(rules).code == 1


def test_an_attestation_that_cannot_be_read_might_have_been_the_link(chain):
    """So the answer is not no; where the chain is whole without it, it is yes."""
    (chain.folder / "zzz.intoto.jsonl").write_text("broken")
    assert check(policy(chain)).code == 0
    shutil.copy(chain.folder / "zzz.intoto.jsonl", chain.folder / "second.intoto.jsonl")
    checked = check(policy(chain))
    assert (checked.code, reasons(checked)) == (3, {"AttestationUnusable"})


def test_a_statement_about_itself_leads_nowhere(chain):
    """A record made of the very file that it attests ends no chain, and none runs in a circle."""
    folder = chain.folder
    fingerprint(folder / "third.onnx", folder / "third.record")
    arguments = ["--attestation", folder / "loop.intoto.jsonl", "--sign", folder / "ci.pem"]
    assert run("verify", folder / "third.onnx", "--record", folder / "third.record", *arguments) == 0
    assert check(policy(chain, statements="loop.intoto.jsonl")).code == 1
    assert check(policy(chain)).code == 0


def test_verdicts_of_another_shape_prove_nothing(chain):
    """Signed by the right key, and full of what no version wrote."""
    from onnxnnw.evidence.envelope import IN_TOTO, Envelope
    from onnxnnw.evidence.keys import load_signer

    place = chain.folder / "third.intoto.jsonl"
    lines = place.read_text().splitlines()
    statement = json.loads(Envelope.from_json(json.loads(lines[1])).payload)
    for verdicts in (
        None,
        1,
        [None],
        [{}],
        [{"findings": [1]}],
        [{**statement["predicate"]["verdicts"][0], "explained": "x"}],
    ):
        statement["predicate"]["verdicts"] = verdicts
        envelope = Envelope(IN_TOTO, json.dumps(statement).encode()).signed(load_signer(chain.folder / "ci.pem"))
        place.write_text(json.dumps(envelope.to_json()))
        assert check(policy(chain)).code == 1
