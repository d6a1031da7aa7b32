"""Steps are addressed by what decides them, done once, checked when they are read, and done again when they are damaged."""

import copy
import inspect
import json
import pickle
import subprocess
import sys
from collections.abc import Iterator

import pytest

from onnxnnw.campaign.cache import Cache, DamagedEntry
from onnxnnw.campaign.running import run
from onnxnnw.campaign.workers import in_this_process, on_this_machine
from onnxnnw.errors import TraceabilityError
from tests.support.toy_campaigns import Lacking, Number, Sum, Told, plan_of


@pytest.fixture
def log(tmp_path):
    return tmp_path / "log"


def lines(log):
    return log.read_text().splitlines() if log.exists() else []


def do(tmp_path, *steps, told=None, workers=None):
    with workers or in_this_process() as pool:
        return run(plan_of(*steps), Cache(tmp_path / "cache"), None, pool, told or Told())


def test_an_address_follows_from_the_fields_and_the_inputs(log):
    """Equal fields, equal address, in another process too; any other field, another address, also of what follows."""
    one, other = Number(1, "log"), Number(2, "log")
    assert one.address == Number(1, "log").address != other.address
    assert Sum((one,), "log").address != Sum((other,), "log").address
    code = "from tests.support.toy_campaigns import *; print(Sum((Number(1, 'log'),), 'log').address)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == Sum((one,), "log").address


def test_each_step_is_done_once(tmp_path, log):
    """Inputs that steps share are done once, and nothing is done when everything is there."""
    shared = Number(3, str(log))
    steps = (Sum((shared, Number(4, str(log))), str(log)), Sum((shared, shared), str(log)))
    ran, entries = do(tmp_path, *steps)
    assert sorted(lines(log)) == ["3", "4", "sum 6", "sum 7"]
    assert (ran.steps, ran.done) == (4, 4)
    assert [entries[step.address].result["value"] for step in steps] == [7, 6]
    again, _ = do(tmp_path, *steps)
    assert again.done == 0
    assert len(lines(log)) == 4


def test_a_changed_step_redoes_only_what_follows_from_it(tmp_path, log):
    """The other input is found."""
    one = Number(1, str(log))
    do(tmp_path, Sum((one, Number(2, str(log))), str(log)))
    do(tmp_path, Sum((one, Number(5, str(log))), str(log)))
    assert lines(log).count("1") == 1
    assert lines(log)[-1] == "sum 6"


def damage_content(entry):
    (entry / "number.txt").write_text("9")


def damage_length(entry):
    (entry / "number.txt").write_text("99999")


def damage_entry(entry):
    path = entry / "entry.json"
    path.write_text(path.read_text().replace('"value": 1', '"value": 7'))


def damage_json(entry):
    (entry / "entry.json").write_text("{")


def remove_file(entry):
    (entry / "number.txt").unlink()


def remove_entry(entry):
    (entry / "entry.json").unlink()


@pytest.mark.slow
@pytest.mark.parametrize(
    "damage", [damage_content, damage_length, damage_entry, damage_json, remove_file, remove_entry]
)
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_damaged_entry_is_noticed_and_done_again(tmp_path, log, damage, jobs):
    """Whatever happened to it, the sum that needs it is right, and only this entry is made anew."""
    one, two = Number(1, str(log)), Number(2, str(log))
    do(tmp_path, one, two)
    damage(Cache(tmp_path / "cache")._entry(one.address))
    total = Sum((one, two), str(log))
    ran, entries = do(tmp_path, total, workers=on_this_machine(jobs))
    assert entries[total.address].result["value"] == 3
    assert ran.failed == ()
    assert sorted(lines(log)) == ["1", "1", "2", "sum 3"]


def test_a_damaged_entry_is_never_read(tmp_path, log):
    """Asking for its files is an error, not a wrong answer."""
    one = Number(1, str(log))
    do(tmp_path, one)
    cache = Cache(tmp_path / "cache")
    damage_content(cache._entry(one.address))
    with pytest.raises(DamagedEntry):
        cache.files(one.address)
    assert not cache.has(one.address)


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_step_that_fails_leaves_the_others(tmp_path, log, jobs):
    """Whatever does not follow from it is done; what does is named."""
    bad = Number(1, str(log), fails=True)
    good = Sum((Number(2, str(log)),), str(log))
    told = Told()
    ran, entries = do(tmp_path, Sum((bad,), str(log)), good, told=told, workers=on_this_machine(jobs))
    assert entries[good.address].result["value"] == 2
    assert list(entries) == [good.address]
    assert ran.failed[0] == "number: this number cannot be written"
    assert "made from failed" in ran.failed[1]
    assert len(told.failures) == 2


@pytest.mark.slow
def test_a_worker_that_dies_is_replaced(tmp_path, log):
    """Its step is taken up where it was; the others' too."""
    steps = [Number(value, str(log), dies=1 if value == 1 else 0) for value in range(4)]
    total = Sum(tuple(steps), str(log))
    told = Told()
    ran, entries = do(tmp_path, total, told=told, workers=on_this_machine(2))
    assert ran.failed == ()
    assert entries[total.address].result["value"] == 6
    assert any("a worker died" in sentence for sentence in told.sentences)


@pytest.mark.slow
def test_a_step_that_kills_every_worker_is_given_up(tmp_path, log):
    """After three attempts; the rest is done."""
    killer, other = Number(1, str(log), dies=99), Number(2, str(log))
    ran, entries = do(tmp_path, killer, other, workers=on_this_machine(2))
    assert list(entries) == [other.address]
    assert "3 times" in ran.failed[0]


def errors_below(kind: type[TraceabilityError]) -> Iterator[type[TraceabilityError]]:
    """All errors of the package that were imported."""
    for one in kind.__subclasses__():
        if one.__module__.startswith("onnxnnw."):
            yield one
        yield from errors_below(one)


ERRORS = [TraceabilityError, *errors_below(TraceabilityError)]


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_every_error_comes_back_from_a_worker(kind):
    """Pickled and copied: the same kind, message and fields, whatever its constructor takes."""
    takes = inspect.signature(kind.__init__).parameters.values()
    wanted = [p for p in takes if p.name != "self" and p.kind is p.POSITIONAL_OR_KEYWORD]
    error = kind(*(f"word {number}" for number in range(len(wanted) or 1)))
    error.add_note("a note")
    for found in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(found) is kind
        assert (str(found), found.args, vars(found)) == (str(error), error.args, vars(error))


@pytest.mark.slow
def test_an_error_of_several_arguments_is_told_by_its_message(tmp_path, log):
    """From a process of its own; no worker died."""
    ran, _ = do(tmp_path, Lacking(str(log)), Number(1, str(log)), workers=on_this_machine(2))
    assert len(ran.failed) == 1
    assert "onnxnnw[cluster]" in ran.failed[0]


@pytest.mark.slow
def test_two_campaigns_share_a_step_under_way(tmp_path, log):
    """Two processes that want the same step at the same time do it once between them."""
    code = (
        "import sys; from pathlib import Path; from onnxnnw.campaign.cache import Cache\n"
        "from tests.support.toy_campaigns import *\n"
        "print(Cache(Path(sys.argv[1])).make(Number(5, sys.argv[2]), None).result['value'])"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "cache"), str(log)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [process.communicate()[0].strip() for process in running] == ["5"] * 3
    assert lines(log) == ["5"]


def test_an_entry_says_where_and_how_long(tmp_path, log):
    """Environment, seconds and the files' digests stand in it; nothing unfinished is left."""
    one = Number(1, str(log))
    do(tmp_path, one)
    folder = Cache(tmp_path / "cache")._entry(one.address)
    entry = json.loads((folder / "entry.json").read_text())
    assert entry["environment"]["python"]
    assert entry["seconds"] >= 0
    assert set(entry["files"]) == {"number.txt"} == {p.name for p in folder.iterdir()} - {"entry.json"}
    assert list((tmp_path / "cache" / "work").iterdir()) == []


def test_what_is_begun_first_is_what_most_waits_for(tmp_path, log):
    """The longest way to the end goes first."""
    chain = Sum((Sum((Number(1, str(log)),), str(log)),), str(log))
    told = Told()
    do(tmp_path, Number(2, str(log)), chain, told=told)
    assert lines(log)[0] == "1"
    assert told.left == sorted(told.left, reverse=True)
