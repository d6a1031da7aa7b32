"""A policy and files: every way in which the gate opens or stays shut, with its code and reason."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from onnxnnw.cli.entry import main
from onnxnnw.enrolment.enrol import embed, fingerprint
from onnxnnw.evidence.subject import digest_of
from onnxnnw.gate.checking import check
from onnxnnw.gate.examining import Probe, examine_until
from onnxnnw.gate.jobs import jobs_of
from onnxnnw.modifications.base import apply, find_modification
from onnxnnw.records.key import Key
from onnxnnw.verification.named_records import named_record
from onnxnnw.verification.verify import examine_records
from tests.gate.conftest import Place
from tests.support.keys import key_pair
from tests.support.networks import dense, save


def reasons(checked) -> list[str]:
    return [problem.rule.name for answer in checked.answers for problem in answer.problems]


def code(*arguments: object) -> int:
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    assert isinstance(left.value.code, int)
    return left.value.code


@pytest.mark.parametrize(
    ("files", "records", "more", "expected", "why"),
    [
        ('"own.onnx"', '"own.record"', "", 0, []),
        ('"own.onnx"', '"*.record"', "", 0, []),
        ('"own.onnx"', '"."', "", 0, []),
        ('"stranger.onnx"', '"own.record"', "", 1, ["NotTraced"]),
        ('"own.onnx", "stranger.onnx"', '"own.record"', "", 1, ["NotTraced"]),
        ('"stranger.onnx"', '"own.record", "broken.record"', "", 3, ["NotTraced", "UnreadableRecord"]),
        ('"stranger.onnx"', '"own.record", "small.record"', "", 3, ["Inconclusive"]),
        ('"own.onnx"', '"broken.record"', "", 3, ["UnreadableRecord"]),
        ('"own.onnx"', '"nowhere.record"', "", 3, ["UnreadableRecord"]),
        ('"own.onnx"', '"no/*.record"', "", 3, ["UnreadableRecord"]),
        ('"nowhere.onnx"', '"own.record"', "", 3, ["FileMissing"]),
        ('"no/*.onnx"', '"own.record"', "", 3, ["FileMissing"]),
        ('"notes.txt"', '"own.record"', "", 3, ["UnreadableNetwork"]),
        ('"own.onnx"', '"own.record"', 'forbid = ["unchanged"]', 1, ["FindingForbidden"]),
        ('"own.onnx"', '"own.record"', f'commitments = ["{"0" * 64}"]', 3, ["UnreadableRecord"]),
        ('"own.onnx"', '"own.record"', "expires = 2020-01-01", 3, ["PolicyExpired"]),
        ('"own.onnx"', '"own.record"', "expires = 2999-01-01", 0, []),
        ('"stranger.onnx"', '"own.record"', 'mode = "warn"', 0, ["NotTraced"]),
        ('"stranger.onnx"', '"own.record"', 'mode = "off"', 0, []),
        ('"own.onnx"', '"broken.record"', 'mode = "warn"', 0, ["UnreadableRecord"]),
    ],
)
def test_each_reason_has_its_code(files, records, more, expected, why, place):
    """3 could not look, 1 no, 0 yes; several reasons are all told."""
    checked = check(place.policy(place.entry(files, records, more)))
    assert sorted(reasons(checked)) == sorted(why)
    assert checked.code == expected


def test_none_of(place):
    """It must not be any of ours: a stranger passes, ours does not, and what cannot be told is no yes."""
    for name, records, expected in (
        ("stranger.onnx", '"own.record"', 0),
        ("own.onnx", '"own.record"', 1),
        ("stranger.onnx", '"own.record", "small.record"', 3),
        ("stranger.onnx", '"own.record", "broken.record"', 3),
        ("own.onnx", '"own.record", "small.record", "broken.record"', 1),
    ):
        text = f'[[network]]\nname = "no"\nfiles = ["{name}"]\nrecords = [{records}]\nrequire = "none-of"\n'
        assert check(place.policy(text)).code == expected, (name, records)


def test_three_wins_over_one_wins_over_zero(place, capsys):
    """And the summary says which file decides."""
    place.policy(place.entry('"own.onnx", "stranger.onnx", "nowhere.onnx"'))
    policy = place.folder / "onnxnnw.toml"
    assert code("check", "--policy", policy) == 3
    assert "1 passed, 1 failed, 1 could not be told: exit code 3, because of" in capsys.readouterr().out
    assert code("check", place.folder / "own.onnx", place.folder / "stranger.onnx", "--policy", policy) == 1
    assert "because of" in capsys.readouterr().out
    assert code("check", place.folder / "own.onnx", "--policy", policy) == 0


def test_networks_that_no_entry_names_are_refused(place):
    """In folders and by name, whatever they are called; a policy may ignore them."""
    shutil.copy(place.folder / "stranger.onnx", place.folder / "data.bin")
    policy = place.policy(place.entry())
    checked = check(policy, [place.folder])
    assert reasons(checked) == ["NotInPolicy", "NotInPolicy"]
    assert checked.code == 1
    assert check(place.policy(place.entry(), 'others = "ignore"'), [place.folder]).code == 0
    assert check(place.policy(place.entry(), 'mode = "warn"'), [place.folder]).code == 0


def test_a_replaced_layer_is_found(place):
    """The network is traced, and too much of it is another one: a policy that allows nothing says no, one that allows all too."""
    save(dense(layers=4, width=64), place.folder / "own.onnx")
    (place.folder / "own.record").unlink()
    fingerprint(place.folder / "own.onnx", place.folder / "own.record", key=Key(bytes(32)))
    model = onnx.load(place.folder / "own.onnx")
    last = model.graph.initializer[6]
    values = np.random.default_rng(5).normal(0, 0.1, (64, 64)).astype("f4")
    last.CopyFrom(numpy_helper.from_array(values, last.name))
    save(model, place.folder / "own.onnx")
    assert {"FindingNotAllowed"} == set(reasons(check(place.policy(place.entry()))))
    more = 'allow = ["any"]\nmin-explained = 0.9'
    assert reasons(check(place.policy(place.entry(more=more)))) == ["TooLittleExplained"]


def test_an_unreadable_network_is_no_no(place):
    """A pointer of Git LFS, for one: what to do stands in the answer."""
    (place.folder / "own.onnx").write_text("version https://git-lfs.github.com/spec/v1\n")
    checked = check(place.policy(place.entry()))
    assert (checked.code, reasons(checked)) == (3, ["UnreadableNetwork"])
    assert "git lfs pull" in checked.answers[0].sentence


def bundle(place, tokenizer: str = "", head: str = "") -> object:
    sha256 = tokenizer or digest_of(place.folder / "notes.txt").sha256
    members = f'{{ path = "own.onnx", network = "own" }}, {{ path = "notes.txt", sha256 = "{sha256}" }}'
    return place.policy(place.entry() + f'[[bundle]]\nname = "all"\nfiles = [{members}]\n{head}')


def test_a_bundle_is_one_unit(place):
    """One answer for all its files: by digest, by record, and each of them has to be there."""
    answer = check(bundle(place)).to_json()
    assert [(unit["unit"], unit["exit_code"], len(unit["files"])) for unit in answer["units"]] == [
        ("network own", 0, 1),
        ("bundle all", 0, 2),
    ]
    assert reasons(check(bundle(place, "0" * 64))) == ["OtherContent"]
    assert check(bundle(place, head="expires = 2020-01-01")).code == 3
    assert check(bundle(place, head='mode = "off"')).code == 0


def test_a_bundle_without_one_of_its_files_is_not_told(place):
    """Nothing may be missing from a release."""
    policy = bundle(place)
    (place.folder / "notes.txt").unlink()
    assert reasons(check(policy)) == ["FileMissing"]
    assert check(policy).code == 3
    (place.folder / "own.onnx").unlink()
    assert check(policy).code == 3


def test_giving_one_file_of_a_bundle_asks_of_all(place):
    """As a hook does that is given what changed."""
    policy = bundle(place)
    jobs, _ = jobs_of(policy, [place.folder / "own.onnx"])
    assert [job.bundle for job in jobs] == ["", "all", "all"]
    jobs, _ = jobs_of(policy, [place.folder / "notes.txt"])
    assert [job.bundle for job in jobs] == ["all", "all"]


@pytest.mark.slow
def test_many_files_on_many_cores_are_answered_as_by_one(place):
    """The same answers in the same order."""
    for number in range(10):
        shutil.copy(place.folder / ("own.onnx" if number % 3 else "stranger.onnx"), place.folder / f"net{number}.onnx")
    policy = place.policy(place.entry('"net*.onnx"'))
    alone, spread = check(policy, processes=1), check(policy, processes=2)

    def told(checked) -> list:
        return [(a.path, a.code, [p.sentence for p in a.problems]) for a in checked.answers]

    assert told(alone) == told(spread)
    assert [answer.code for answer in spread.answers] == [1, 0, 0, 1, 0, 0, 1, 0, 0, 1]
    assert alone.lineage == spread.lineage


@pytest.mark.slow
def test_the_order_of_records_changes_no_verdict(tmp_path):
    """Likeliest first, stopping where nothing can change: the verdict that settles is the one that a whole search gives."""
    records = []
    for seed in range(6):
        path = save(dense(width=64, seed=seed), tmp_path / f"{seed}.onnx")
        fingerprint(path, tmp_path / f"{seed}.record")
        records.append(named_record(tmp_path / f"{seed}.record"))
    probes = [Probe(named) for named in records]
    for seed in (4, 99):
        path = save(dense(width=64, seed=seed), tmp_path / "candidate.onnx")
        whole = examine_records(path, records, (), 1e-6, False)
        early = examine_until(path, records, probes, (), 1e-6, False, lambda verdict: verdict.decision == "traced")
        assert early.best == whole.best
        assert len(early.verdicts) == (1 if seed == 4 else 6)


def test_json_says_all_of_it(place, capsys):
    """Policy by digest, units, files, reasons, verdicts."""
    policy = place.policy(place.entry('"own.onnx", "stranger.onnx"'), "expires = 2999-01-01")
    assert code("check", "--policy", policy.path, "--json") == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["format"], found["answer"], found["exit_code"]) == ("onnxnnw/check/1", "no", 1)
    assert found["policy"]["sha256"] == digest_of(policy.path).sha256
    own, stranger = found["units"][0]["files"]
    assert (own["exit_code"], stranger["exit_code"]) == (0, 1)
    assert own["records"][0]["decision"] == "traced"
    assert stranger["problems"][0]["rule"] == "NNW001"


def test_signatures_and_parents(place):
    """A file signed by who was named; a record that was made of a signed network, and not of another one."""
    ours, other = key_pair(place.folder, name="ours"), key_pair(place.folder, name="other")
    assert code("sign", place.folder / "own.onnx", "--key", ours.private) == 0
    assert check(place.policy(place.entry(more='signed-by = ["ours.pub"]'))).code == 0
    assert reasons(check(place.policy(place.entry(more='signed-by = ["other.pub"]')))) == ["NotSigned"]
    parent = 'parent = "own.onnx"\nparent-signed-by = ["ours.pub"]'
    shutil.copy(place.folder / "own.onnx", place.folder / "copy.onnx")
    assert check(place.policy(place.entry('"copy.onnx"', more=parent))).code == 0
    assert code("sign", place.folder / "stranger.onnx", "--key", ours.private) == 0
    wrong = parent.replace("own.onnx", "stranger.onnx")
    assert reasons(check(place.policy(place.entry('"copy.onnx"', more=wrong)))) == ["OtherParent"]
    (place.folder / "own.onnx.sig").unlink()
    assert reasons(check(place.policy(place.entry('"copy.onnx"', more=parent)))) == ["NotSigned"]
    assert other.public.exists()


def test_reading_wrong_policies_on_the_command_line(place, capsys):
    """Wrong usage is 2, what is not there 3; nothing on standard output."""
    policy = place.folder / "onnxnnw.toml"
    policy.write_text('format = "onnxnnw/policy/1"\nregistry = "x.db"\n')
    assert code("check", "--policy", policy) == 2
    shown = capsys.readouterr()
    assert (shown.out, "registry" in shown.err) == ("", True)
    assert code("check", "--policy", place.folder / "nowhere.toml") == 3
    place.policy(place.entry())
    assert code("check", "--policy", policy, "--sign", "k.pem") == 2
    assert code("check", "--policy", policy, "--sarif", policy) == 2
    assert "would replace" in capsys.readouterr().err
    assert code("check", "--policy", policy, "--sarif", place.folder / "x", "--junit", place.folder / "x") == 2


@pytest.mark.slow
def test_a_reference_sees_through_channels_in_another_order(tmp_path):
    """Without it nobody can tell; with it the file passes where that finding is allowed, and not where it is not."""
    shipped = Path(__file__).parents[2] / "models" / "resnet8.onnx"
    embed(shipped, tmp_path / "marked.onnx", tmp_path / "own.record", key=Key(bytes(32)))
    apply(find_modification("channel-permutation")(), tmp_path / "marked.onnx", tmp_path / "own.onnx")
    shutil.copy(shipped, tmp_path / "original.onnx")
    place, told = Place(tmp_path), 'reference = "original.onnx"'
    blind = check(place.policy(place.entry()))
    assert [answer.code for answer in blind.answers] == [3]
    seen = check(place.policy(place.entry(more=f'{told}\nallow = ["channels-in-another-order"]')))
    assert [answer.code for answer in seen.answers] == [0], reasons(seen)
    shut = check(place.policy(place.entry(more=told)))
    assert [answer.code for answer in shut.answers] == [1]
    assert reasons(shut) == ["FindingNotAllowed"]
    (tmp_path / "original.onnx").write_bytes(b"")
    assert [answer.code for answer in check(place.policy(place.entry(more=told))).answers] == [3]
