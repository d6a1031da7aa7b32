"""A folder of results is input: what is right is read, what is wrong gets one clear sentence."""

import gzip
import json
import os
from pathlib import Path

import pytest

from onnxnnw.errors import MissingData, UnreadableData
from onnxnnw.report import results as reading
from onnxnnw.report.results import read_results
from onnxnnw.report.trials import Detection
from tests.support import made_results as made


def one(**changed) -> dict:
    """A right line, or one that differs in some fields."""
    return {
        **made.line("detection", 1, truth=True, mark=made.mark(), quality={}, verdict=made.verdict(-9, {}, True)),
        **changed,
    }


def test_packed_and_plain_say_the_same(results, tmp_path):
    """The same trials, compressed or not."""
    packed = read_results(made.make(tmp_path / "packed", packed=True))
    assert packed.trials == results.trials
    assert packed.cuts == results.cuts


def test_every_line_becomes_a_trial(folder, results):
    """In their order, by their names."""
    lines = (folder / "trials.jsonl").read_text().splitlines()
    assert [trial.id for trial in results.trials] == [json.loads(line)["trial"] for line in lines]
    assert results.unknown == {}


def test_secrets_and_seeds_are_not_taken_over(results):
    """What a reader does not take cannot be shown: neither seeds nor anything that is no number among the parameters."""
    assert "5ec4e7" not in repr(results)
    assert "987654321987" not in repr(results)


def test_an_unknown_study_is_counted(tmp_path):
    """A later version's trials are no error, and are not passed over in silence."""
    found = read_results(made.write(tmp_path, [one(), made.line("weather", 2), made.line("weather", 3)]))
    assert (len(found.trials), found.unknown) == (1, {"weather": 2})


def test_no_trials_at_all(tmp_path):
    """A campaign in which every step failed has results too."""
    found = read_results(made.write(tmp_path, [], steps={"count": 3, "failed": ["train resnet8"]}))
    assert (found.trials, found.steps.failed) == ((), ("train resnet8",))


DAMAGED = {
    "torn": b'{"format": "onnxnnw/tri',
    "not JSON": b"trial 7",
    "a list": b"[]",
    "a number": b"1",
    "not UTF-8": b'{"format": "\xff"}',
    "NaN": json.dumps(one()).replace("-9", "NaN").encode(),
    "Infinity": json.dumps(one()).replace("-9", "-Infinity").encode(),
    "a name twice": json.dumps(one()).replace('"model": 0', '"model": 0, "model": 1').encode(),
    "nested": b"[" * 100_000,
    "a huge integer": json.dumps(one()).replace('"model": 0', '"model": ' + "9" * 5000).encode(),
    "another format": json.dumps(one(format="onnxnnw/trial/2")).encode(),
    "no format": json.dumps({k: v for k, v in one().items() if k != "format"}).encode(),
    "no name": json.dumps(one(trial=None)).encode(),
    "a long name": json.dumps(one(trial="x" * 201)).encode(),
    "truth is no flag": json.dumps(one(truth="yes")).encode(),
    "a negative model": json.dumps(one(model=-1)).encode(),
    "a p above 1": json.dumps(one(verdict=made.verdict(0.5, {}, True))).encode(),
    "an unknown decision": json.dumps(one(verdict={**made.verdict(-9, {}, True), "decision": "maybe"})).encode(),
    "quality is a word": json.dumps(one(quality={"top1": "good"})).encode(),
    "a quality beyond floats": json.dumps(one(quality={"top1": 0})).replace('"top1": 0', '"top1": 1e999').encode(),
    "a quality of 401 digits": json.dumps(one(quality={"top1": 10**400})).encode(),
    "a cost of 401 digits": json.dumps(one(cost={"seconds": 10**400})).encode(),
    "a cost of minus 401 digits": json.dumps(one(cost={"seconds": -(10**400)})).encode(),
    "a cost beyond floats": json.dumps(one(cost={"seconds": 0})).replace('"seconds": 0', '"seconds": 1e999').encode(),
    "a value of 401 digits": json.dumps(one(verdict=made.verdict(-9, {"rho": 10**400}, True))).encode(),
    "no mark": json.dumps(one(mark=None)).encode(),
    "a modification without name": json.dumps(one(modification={"value": 3})).encode(),
    "the same trial again": json.dumps(one(trial="good-0")).encode(),
}


@pytest.mark.parametrize("line", DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_line_is_named_by_its_number(line, tmp_path):
    """The third line is wrong, and the error says so in one line."""
    good = [json.dumps(one(trial=f"good-{number}")).encode() for number in range(2)]
    made.write(tmp_path, [])
    (tmp_path / "trials.jsonl").write_bytes(b"\n".join([*good, line, b""]))
    with pytest.raises(UnreadableData, match=r"trials\.jsonl: line 3") as caught:
        read_results(tmp_path)
    assert len(str(caught.value)) < 500
    assert "\n" not in str(caught.value)


def test_a_number_beyond_floats_is_named_by_its_field(tmp_path):
    """Also among numbers that may stand beside texts."""
    made.write(tmp_path, [one(cost={"device": "cpu", "seconds": 10**400})])
    with pytest.raises(UnreadableData, match=r"line 1: 'cost': 'seconds' has to be a number"):
        read_results(tmp_path)


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"format": "onnxnnw/results/9"}, "is not known"),
        ({"cuts": "many"}, "cuts"),
        ({"cuts": [{"tables": ["two"], "sentence": "x"}]}, "tables"),
        ({"cuts": [{"tables": [2]}]}, "sentence"),
        ({"name": 7}, "name"),
        ({"steps": []}, "object"),
    ],
)
def test_a_wrong_head_is_refused(changed, complaint, tmp_path):
    """results.json is checked as well."""
    with pytest.raises(UnreadableData, match=complaint):
        read_results(made.write(tmp_path, [], **changed))


def test_missing_things_are_named(tmp_path):
    """No folder, no head, no trials."""
    with pytest.raises(MissingData, match="onnxnnw evaluate"):
        read_results(tmp_path / "nowhere")
    with pytest.raises(MissingData, match=r"results\.json"):
        read_results(tmp_path)
    made.write(tmp_path, [])
    (tmp_path / "trials.jsonl").unlink()
    with pytest.raises(MissingData, match=r"trials\.jsonl"):
        read_results(tmp_path)


def test_two_lists_of_trials_are_one_too_many(tmp_path):
    """Which of them is meant cannot be guessed."""
    made.write(tmp_path, [one()])
    made.write(tmp_path, [one()], packed=True)
    with pytest.raises(UnreadableData, match="both"):
        read_results(tmp_path)


def test_damaged_compression(tmp_path):
    """Torn, and not compressed at all."""
    made.write(tmp_path, [one(trial=f"t{number}") for number in range(50)], packed=True)
    packed = tmp_path / "trials.jsonl.gz"
    content = packed.read_bytes()
    for damaged in (content[: len(content) // 2], b"plain text", content[:20] + b"\0" * 40 + content[60:]):
        packed.write_bytes(damaged)
        with pytest.raises(UnreadableData, match=r"trials\.jsonl\.gz: line \d+"):
            read_results(tmp_path)


def test_a_bomb_is_not_unpacked(tmp_path, monkeypatch):
    """A line that never ends, and lines without end."""
    made.write(tmp_path, [])
    (tmp_path / "trials.jsonl").unlink()
    packed = tmp_path / "trials.jsonl.gz"
    packed.write_bytes(gzip.compress(b" " * 3_000_000))
    with pytest.raises(UnreadableData, match="line 1"):
        read_results(tmp_path)
    packed.write_bytes(gzip.compress(b"\n" * 3_000_000))
    monkeypatch.setattr(reading, "MAX_BYTES", 1_000_000)
    with pytest.raises(UnreadableData, match=r"line \d+: more than"):
        read_results(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
def test_a_pipe_is_not_waited_for(tmp_path):
    """A FIFO in place of a file would block for ever."""
    made.write(tmp_path, [])
    (tmp_path / "trials.jsonl").unlink()
    os.mkfifo(tmp_path / "trials.jsonl")
    with pytest.raises(UnreadableData, match="is not a regular file but"):
        read_results(tmp_path)


def test_a_link_into_the_dark(tmp_path):
    """A dangling link is a missing file."""
    made.write(tmp_path, [])
    (tmp_path / "trials.jsonl").unlink()
    Path(tmp_path / "trials.jsonl").symlink_to(tmp_path / "gone")
    with pytest.raises(MissingData):
        read_results(tmp_path)


def test_names_are_made_visible(tmp_path):
    """Control characters, turned direction and half a surrogate pair can be printed afterwards."""
    name = "a\x1b[31m\u202eb\ud800"
    (trial,) = read_results(made.write(tmp_path, [one(network=name)])).trials
    assert trial.network == r"a\x1b[31m\x202eb\xd800"
    assert isinstance(trial, Detection)
    trial.network.encode()
