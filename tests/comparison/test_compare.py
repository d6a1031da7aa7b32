"""Compare two files: one line that is right, and what was done to each layer, with no record."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from onnxnnw.cli import main
from onnxnnw.comparison import Comparison, compare
from onnxnnw.comparison.layers import KINDS
from onnxnnw.comparison.page import page_of
from onnxnnw.modifications import find_modification
from onnxnnw.modifications.base import apply
from tests.support.networks import dense, externalise, save, weight
from tests.support.range_server import RangeServer


def modified(source: Path, folder: Path, *steps: tuple[str, dict]) -> Path:
    """A network after some modifications."""
    for number, (name, parameters) in enumerate(steps):
        out = folder / f"step{number}.onnx"
        apply(find_modification(name)(**parameters), source, out, seed=number)
        source = out
    return source


def ended(*arguments: object) -> int:
    """The exit code of a command."""
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    return int(end.value.code or 0)


def done_in(comparison: Comparison) -> set[str]:
    """Everything that was said of any layer."""
    return {words for layer in comparison.layers for words in layer.done}


def test_the_same_network_stored_otherwise_is_identical(resnet8, tmp_path):
    """External data change no digest."""
    other = externalise(onnx.load(resnet8), tmp_path, "net.onnx", lambda name: "weights.bin")
    found = compare(resnet8, other)
    assert (found.relation, found.exit_code, found.found, found.covered) == ("identical", 0, 1.0, 1.0)
    assert {layer.kind for layer in found.layers} == {"same"}


@pytest.mark.parametrize("name", ["runtime-optimization", "dynamic-quantization"])
def test_what_tools_write_is_another_form_of_the_same_weights(name, resnet8, tmp_path):
    """Renamed, folded, in eight bits."""
    found = compare(resnet8, modified(resnet8, tmp_path, (name, {})))
    assert found.relation == "same weights, other form"
    assert {layer.kind for layer in found.layers} <= {"same", "other form"}
    assert "renamed" in done_in(found)


@pytest.mark.parametrize(
    ("name", "parameters", "words"),
    [
        ("quantization", {"bits": 4}, "quantised to about 4 bits"),
        ("magnitude-pruning", {"percentage": 50.0}, "50% pruned"),
        ("gaussian-noise", {"ratio": 0.1}, "all values moved by 0.1 deviations, as noise or further training do"),
    ],
)
def test_what_was_done_is_said_with_its_number(name, parameters, words, resnet8, tmp_path):
    """For most layers, for each is measured alone."""
    found = compare(resnet8, modified(resnet8, tmp_path, (name, parameters)))
    assert found.relation == "derived"
    assert sum(words in layer.done for layer in found.layers) >= 5
    assert found.found == 1.0


def test_one_changed_value_is_not_called_none(tmp_path):
    """A share that rounds to 0.0 % is still more than nothing."""
    own, other = tmp_path / "own.onnx", tmp_path / "other.onnx"
    save(dense(layers=3, width=64), own)
    model = onnx.load(own)
    tensor = model.graph.initializer[2]
    values = numpy_helper.to_array(tensor).copy()
    values[3, 5] += 1
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    save(model, other)
    done = [what for layer in compare(own, other).layers if layer.changed for what in layer.done]
    assert len(done) == 1
    assert "fewer than 0.1% of the values are others" in done[0]


def test_another_order_of_channels_is_seen_through(resnet8, tmp_path):
    """No key takes part: rows and columns of every width say the same order."""
    steps = [(name, {}) for name in ("channel-permutation", "channel-rescaling", "sign-flip")]
    found = compare(resnet8, modified(resnet8, tmp_path, *steps))
    assert found.relation == "same weights, other form"
    assert found.orders is not None
    assert found.orders.agreeing == found.orders.channels > 100
    assert {layer.kind for layer in found.layers} == {"other order"}
    assert {"channels in another order", "channels rescaled"} <= done_in(found)


def test_channels_that_were_added_are_told_apart_from_the_rest(resnet8, tmp_path):
    """They are the candidate's own."""
    found = compare(resnet8, modified(resnet8, tmp_path, ("dummy-channels", {"percentage": 50.0})))
    assert found.relation == "derived"
    assert found.found == 1.0
    assert 0.3 < found.covered < 0.7
    assert any("rows more" in words for words in done_in(found))


def test_strangers_of_one_architecture_are_unrelated(tmp_path):
    """All shapes and names are equal; nothing else is."""
    found = compare(save(dense(3, seed=1), tmp_path / "a.onnx"), save(dense(3, seed=2), tmp_path / "b.onnx"))
    assert (found.relation, found.exit_code, found.found) == ("unrelated", 1, 0.0)
    assert len(found.extras) == 3


def test_one_layer_that_resembles_the_others_is_no_stranger(tmp_path):
    """As where two trainings began alike: too little for an origin, too much for a no."""
    ours, theirs = dense(8, seed=1), dense(8, seed=2)
    values = numpy_helper.to_array(ours.graph.initializer[0])
    noise = np.random.default_rng(0).standard_normal(values.shape).astype(np.float32) * values.std()
    name = theirs.graph.initializer[0].name
    theirs.graph.initializer[0].CopyFrom(numpy_helper.from_array(values + np.float32(0.9) * noise, name))
    found = compare(save(ours, tmp_path / "a.onnx"), save(theirs, tmp_path / "b.onnx"))
    assert found.relation == "could not tell"
    assert "1 of 8 layers" in found.sentence
    assert found.exit_code == 3


def test_a_network_with_another_head_shares_what_it_shares(tmp_path):
    """What it has besides, and what it lacks, is named."""
    ours, theirs = dense(4, seed=1), dense(4, seed=1)
    theirs.graph.initializer[6].CopyFrom(weight("w3", 48, 48, seed=99))
    found = compare(save(ours, tmp_path / "a.onnx"), save(theirs, tmp_path / "b.onnx"))
    assert found.relation == "derived"
    assert [layer.name for layer in found.layers if not layer.found_as] == ["w3"]
    assert [extra.name for extra in found.extras] == ["w3"]


def test_what_cannot_be_read_is_no_answer(tmp_path):
    """Where nothing could be looked at, nothing is said: exit 3."""
    model = dense(1, width=48)
    for node in model.graph.node:
        node.domain = "somebody.else" if node.op_type == "MatMul" else node.domain
    model.opset_import.append(helper.make_opsetid("somebody.else", 1))
    path = save(model, tmp_path / "b.onnx")
    other = save(dense(3, seed=2), tmp_path / "a.onnx")
    for pair in ((other, path), (path, other)):
        found = compare(*pair)
        assert (found.relation, found.exit_code) == ("could not tell", 3)
        assert any("somebody.else" in problem for problem in found.unread)


def hostile(path: Path) -> Path:
    """A network whose names are HTML, control characters and braces."""
    model = dense(3, seed=5)
    bad = {"w0": "</script><img src=x onerror=alert(1)>", "w1": "{names}\x1b[31m&amp;\n\"'", "w2": "<b>" + "x" * 300}
    for tensor in model.graph.initializer:
        tensor.name = bad.get(tensor.name, tensor.name)
    for node in model.graph.node:
        node.input[:] = [bad.get(name, name) for name in node.input]
    return save(model, path)


def test_hostile_names_are_text_on_the_page(tmp_path):
    """Nothing of a name becomes markup, in no place."""
    first = hostile(tmp_path / "a.onnx")
    model = onnx.load(first)
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        tensor.CopyFrom(numpy_helper.from_array((values * 1.5 + 0.01).astype(np.float32), tensor.name))
    onnx.save(model, tmp_path / "<i>b.onnx")
    page = page_of(compare(first, tmp_path / "<i>b.onnx"))
    assert page.count("<script>") == page.count("</script>") == 1
    assert not [bad for bad in ("<img", "<i>b", "<b>x", "\x1b", "</script><img") if bad in page]
    assert "onerror" in page
    assert "http" not in page


def test_the_page_is_whole_and_stands_alone(resnet8, tmp_path, capsys):
    """Every layer has a block in both strips and a line in the table; nothing is loaded from elsewhere."""
    other = modified(resnet8, tmp_path, ("gaussian-noise", {"ratio": 0.1}))
    assert ended("compare", resnet8, other, "--html", tmp_path / "page.html") == 0
    page = (tmp_path / "page.html").read_text()
    layers = len(compare(resnet8, other).layers)
    assert page.count("<button") == 2 * layers
    assert page.count("<tr id=") == layers
    assert not [word for word in ("src=", "href=", "@import", "url(") if word in page]
    assert "derived" in capsys.readouterr().out
    assert json.loads(page.partition("const layers = ")[2].partition(";\n")[0])[0]["found as"] == "stem.weight"


def test_the_json_says_what_the_page_says(resnet8, tmp_path, capsys):
    """And an exit code of 1 for strangers."""
    a, b = save(dense(3, seed=1), tmp_path / "a.onnx"), save(dense(3, seed=2), tmp_path / "b.onnx")
    assert ended("compare", a, b, "--json") == 1
    document = json.loads(capsys.readouterr().out)
    assert document["format"] == "onnxnnw/comparison/1"
    assert document["relation"] == "unrelated"
    assert {layer["kind"] for layer in document["layers"]} <= set(KINDS)


def test_a_page_never_replaces_a_record(enrolled, resnet8):
    """The only copy of a secret."""
    assert ended("compare", resnet8, resnet8, "--html", enrolled.record) == 2


def test_a_page_never_replaces_a_network(resnet8, tmp_path, capsys):
    """Neither of those that are compared, whatever their name, nor a third."""
    for name in ("one.onnx", "other.html", "third.onnx"):
        shutil.copyfile(resnet8, tmp_path / name)
        assert ended("compare", tmp_path / "one.onnx", resnet8, "--html", tmp_path / name) == 2
        assert "another kind" in capsys.readouterr().err
        assert (tmp_path / name).read_bytes() == resnet8.read_bytes()


@pytest.mark.slow
def test_an_address_says_what_a_file_says(resnet8, tmp_path):
    """Word for word, of a network with its channels in another order, for which the reference is opened twice."""
    other = modified(resnet8, tmp_path, ("channel-permutation", {}))
    with RangeServer(tmp_path) as theirs, RangeServer(resnet8.parent) as ours:
        there = compare(f"{ours.url}/{resnet8.name}?token=geheim", f"{theirs.url}/{other.name}").to_json()
        assert all(request.range is not None for request in [*ours.requests, *theirs.requests])
    here = compare(resnet8, other).to_json()
    assert here["orders"] is not None
    assert there.pop("reference") == f"{ours.url}/{resnet8.name}"
    assert there == {name: value for name, value in here.items() if name != "reference"} | {
        "candidate": f"{theirs.url}/{other.name}"
    }


def test_the_command_takes_addresses(tmp_path, capsys):
    """Secrets of an address stay in it, what was read is told, and no more is than was allowed."""
    save(dense(width=64), tmp_path / "net.onnx")
    with RangeServer(tmp_path) as server:
        address = f"{server.url}/net.onnx?token=geheim"
        assert ended("compare", address, tmp_path / "net.onnx") == 0
        shown = capsys.readouterr()
        assert "geheim" not in shown.out + shown.err
        assert "bytes in" in shown.err
        assert ended("compare", address, address, "--max-download", "1KB") == 3
        assert "--max-download" in capsys.readouterr().err


def test_a_server_that_fails_is_no_stranger(resnet8, tmp_path):
    """Exit 3, on whichever side it is."""
    with RangeServer(tmp_path) as server:
        assert ended("compare", resnet8, f"{server.url}/nothing.onnx") == 3
        assert ended("compare", f"{server.url}/nothing.onnx", resnet8) == 3
