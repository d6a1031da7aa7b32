"""An entry that names a registry, and one that asks by when its record existed."""

import datetime
import json

import pytest

from onnxnnw.cli.entry import main
from onnxnnw.enrolment.enrol import fingerprint
from onnxnnw.gate.checking import check
from onnxnnw.records.record_file import load_record
from onnxnnw.registry.log.evidence import TOKEN_ENDING
from onnxnnw.registry.log.kept import KeptLog, append
from onnxnnw.registry.log.timestamps import request_stamp
from onnxnnw.registry.store import Registry
from tests.gate.test_check import reasons
from tests.support.timestamps import Authority, serving

TOMORROW = datetime.datetime.now(datetime.UTC).date() + datetime.timedelta(1)
LONG_AGO = datetime.date(2020, 1, 1)


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> Authority:
    """One whose root the policy trusts."""
    return Authority(tmp_path_factory.mktemp("tsa") / "a")


@pytest.fixture
def registry(place):
    """A registry of the record, as records.db in the policy's folder."""
    with Registry(place.folder / "records.db", create=True, logged=append) as opened:
        opened.add([(place.folder / "own.record").read_bytes()], "ours")
        yield opened


def entry(files: str = '"own.onnx"', more: str = "", require: str = "traced") -> str:
    return f'[[network]]\nname = "own"\nfiles = [{files}]\nregistry = "records.db"\nrequire = "{require}"\n{more}\n'


def stamped(registry, authority) -> KeptLog:
    log = KeptLog(registry.database, registry.vault)
    with serving(authority.answer) as url:
        checkpoint = log.checkpoint()
        log.keep_stamp(checkpoint, request_stamp(checkpoint.note, url))
    return log


def test_a_registry_stands_for_records(place, registry):
    """Its network is traced and named as the registry names it; a stranger is a no; besides records it counts too."""
    checked = check(place.policy(entry()))
    assert (checked.code, checked.answers[0].best.record) == (0, "ours")
    assert checked.lineage == {
        registry.entries()[0].commitment: load_record(place.folder / "own.record").derived["digest"]
    }
    assert reasons(check(place.policy(entry('"stranger.onnx"')))) == ["NotTraced"]
    assert check(place.policy(entry(more='records = ["own.record"]'))).code == 0
    besides = check(place.policy(entry('"stranger.onnx"', 'records = ["own.record"]')))
    assert (besides.code, len(besides.answers[0].search.verdicts)) == (1, 2)
    assert check(place.policy(entry(more='records = ["broken.record"]'))).code == 0
    unsure = check(place.policy(entry('"stranger.onnx"', 'records = ["broken.record"]')))
    assert (unsure.code, reasons(unsure)) == (3, ["NotTraced", "UnreadableRecord"])


def test_every_record_is_paid_for(place, registry):
    """Records and registry together are alternatives of one answer: p is multiplied by all of them."""
    alone = check(place.policy(entry('"stranger.onnx"'))).answers[0].search.best
    both = check(place.policy(entry('"stranger.onnx"', 'records = ["own.record"]'))).answers[0].search
    p = {round(verdict.log10_p, 6) for verdict in both.verdicts}
    assert len(p) == 1
    assert p.pop() == pytest.approx(min(0.0, alone.log10_p + 0.30103), abs=1e-4)


def test_a_revoked_record_opens_no_gate(place, registry):
    """It is named with time and reason; it holds none-of shut as before."""
    commitment = registry.entries()[0].commitment
    registry.revoke(commitment, "it leaked")
    checked = check(place.policy(entry()))
    assert (checked.code, reasons(checked)) == (1, ["RecordRevoked"])
    assert "it leaked" in checked.answers[0].sentence
    assert reasons(check(place.policy(entry(require="none-of")))) == ["OneOfOurs"]


def test_none_of_asks_each_record_of_a_registry(place, registry):
    """A scan leaves records out, and what was left out has not said no."""
    assert check(place.policy(entry('"stranger.onnx"', require="none-of"))).code == 0
    registry.add([(place.folder / "small.record").read_bytes()])
    checked = check(place.policy(entry('"stranger.onnx"', require="none-of")))
    assert (checked.code, reasons(checked)) == (3, ["Inconclusive"])


@pytest.mark.parametrize("content", [None, b"nothing", b"SQLite format 3\0" + bytes(200)])
def test_a_registry_that_cannot_be_read_is_no_no(content, place):
    """Not there, something else, damaged: exit 3, and why."""
    if content is not None:
        (place.folder / "records.db").write_bytes(content)
        (place.folder / "records.db").chmod(0o600)
    checked = check(place.policy(entry()))
    assert (checked.code, reasons(checked)) == (3, ["UnreadableRegistry"])
    assert "records.db" in checked.answers[0].sentence


def test_an_empty_registry_and_a_server_that_is_not_there(place):
    """Neither says no."""
    Registry(place.folder / "records.db", create=True).close()
    assert reasons(check(place.policy(entry()))) == ["UnreadableRegistry"]
    assert reasons(check(place.policy(entry(require="none-of")))) == ["UnreadableRegistry"]
    pytest.importorskip("psycopg")
    away = entry().replace("records.db", "postgresql://127.0.0.1:1/nothing?connect_timeout=2")
    assert reasons(check(place.policy(away))) == ["UnreadableRegistry"]


def test_a_date_is_held_against_the_registrys_timestamps(place, registry, authority):
    """Before it: yes. After it: no. Without a timestamp, or by an authority that is not trusted: nobody can say."""
    (place.folder / "tsa.pem").write_bytes(authority.root.read_bytes())
    dated = f'committed-before = {TOMORROW}\ntsa-roots = ["tsa.pem"]'
    assert reasons(check(place.policy(entry(more=dated)))) == ["NotTimestamped"]
    log = stamped(registry, authority)
    checked = check(place.policy(entry(more=dated)))
    assert checked.code == 0
    said = checked.to_json()["units"][0]["files"][0]["records"][0]["evidence"]
    assert said["existed_before"] == log.existed_before(registry.entries()[0].commitment, authority.root.read_bytes())
    late = check(place.policy(entry(more=f'committed-before = {LONG_AGO}\ntsa-roots = ["tsa.pem"]')))
    assert (late.code, reasons(late)) == (1, ["CommittedTooLate"])
    assert check(place.policy(entry(more='timestamp = true\ntsa-roots = ["tsa.pem"]'))).code == 0
    assert (
        reasons(check(place.policy(entry(more='timestamp = true\ntsa-roots = ["no.pem"]')))) == ["NotTimestamped"] * 2
    )
    assert reasons(check(place.policy(entry('"stranger.onnx"', dated)))) == ["NotTraced"]


def test_another_authoritys_word_does_not_count_and_does_not_hide_ours(place, registry, authority, tmp_path):
    """Two authorities stamped; trusted is one of them, in whichever order."""
    stranger = Authority(tmp_path / "other", "another authority")
    (place.folder / "tsa.pem").write_bytes(stranger.root.read_bytes())
    more = 'timestamp = true\ntsa-roots = ["tsa.pem"]'
    stamped(registry, authority)
    refused = check(place.policy(entry(more=more)))
    assert (refused.code, reasons(refused)) == (3, ["NotTimestamped", "NotTimestamped"])
    assert "not by an authority under these roots" in refused.answers[0].sentence
    stamped(registry, stranger)
    assert check(place.policy(entry(more=more))).code == 0


def test_a_registry_that_was_written_to_cannot_backdate(place, registry, authority):
    """A record that was put into the log's first place afterwards is not in the state that was timestamped."""
    from onnxnnw.registry.schema import tables

    (place.folder / "tsa.pem").write_bytes(authority.root.read_bytes())
    fingerprint(place.folder / "stranger.onnx", place.folder / "other.record")
    registry.add([(place.folder / "other.record").read_bytes()])
    stamped(registry, authority)
    with registry.database.writing() as connection:
        entries = tables().log_entries
        old = registry.entries()[0].commitment
        connection.execute(entries.update().where(entries.c.place == 1).values(commitment="1" * 64))
        connection.execute(entries.update().where(entries.c.commitment == old).values(commitment="2" * 64))
        connection.execute(entries.update().where(entries.c.place == 1).values(commitment=old))
    checked = check(place.policy(entry(more='timestamp = true\ntsa-roots = ["tsa.pem"]')))
    assert (checked.code, reasons(checked)) == (3, ["NotTimestamped", "NotTimestamped"])
    assert "does not hold it" in checked.answers[0].sentence


def test_a_proof_beside_its_timestamp_is_enough_without_the_registry(place, registry, authority, monkeypatch):
    """Record, proof, timestamp and root as files; without its timestamp, by another key, of another record: nothing."""
    (place.folder / "tsa.pem").write_bytes(authority.root.read_bytes())
    log = stamped(registry, authority)
    proof = log.prove(registry.entries()[0].commitment)
    (place.folder / "own.tlog-proof").write_bytes(proof.content)
    token = place.folder / f"own.tlog-proof{TOKEN_ENDING}"
    token.write_bytes(proof.stamp.token)
    asked = (
        f'committed-before = {TOMORROW}\ntsa-roots = ["*.pem"]\nproofs = ["*.tlog-proof*"]\nlog-keys = ["{log.key()}"]'
    )
    assert check(place.policy(place.entry(more=asked))).code == 0
    fingerprint(place.folder / "own.onnx", place.folder / "other.record")
    assert reasons(check(place.policy(place.entry(records='"other.record"', more=asked)))) == ["NotTimestamped"]
    early = asked.replace(str(TOMORROW), str(LONG_AGO))
    assert reasons(check(place.policy(place.entry(more=early)))) == ["CommittedTooLate"]
    other = KeptLog(Registry(place.folder / "o.db", create=True).database, registry.vault).key()
    stranger = check(place.policy(place.entry(more=asked.replace(str(log.key()), str(other)))))
    assert (stranger.code, len(stranger.answers[0].problems)) == (3, 2)
    with monkeypatch.context() as few:
        few.setattr("onnxnnw.gate.dating.MAX_PROOFS", 0)
        unread = check(place.policy(place.entry(more=asked)))
    assert (unread.code, "1 proofs, of which the first 0 were read" in unread.answers[0].sentence) == (3, True)
    token.write_bytes(b"0" * 40)
    assert "no timestamp of RFC 3161" in check(place.policy(place.entry(more=asked))).answers[0].sentence
    token.unlink()
    assert check(place.policy(place.entry(more=asked))).code == 3
    (place.folder / "own.tlog-proof").write_bytes(b"nothing")
    assert check(place.policy(place.entry(more=asked))).code == 3


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return int(str(ended.value.code))


def test_verify_says_by_when_a_record_of_a_registry_existed(place, registry, authority, capsys):
    """In JSON and in words where a trusted timestamp says so; without a root, that there is one which was not checked."""
    asked = ("verify", place.folder / "own.onnx", "--registry", place.folder / "records.db")
    assert run(*asked, "--tsa-root", authority.root, "--json") == 0
    assert json.loads(capsys.readouterr().out)["records"][0]["verdict"]["evidence"]["existed_before"] is None
    log = stamped(registry, authority)
    assert run(*asked, "--tsa-root", authority.root, "--json") == 0
    evidence = json.loads(capsys.readouterr().out)["records"][0]["verdict"]["evidence"]
    wanted = log.existed_before(registry.entries()[0].commitment, authority.root.read_bytes())
    assert evidence["existed_before"] == wanted
    assert run(*asked, "--tsa-root", authority.root) == 0
    assert f"existed before {wanted}" in capsys.readouterr().out
    assert run(*asked) == 0
    shown = capsys.readouterr()
    assert "existed before" not in shown.out
    assert "--tsa-root" in shown.err
    assert run("verify", place.folder / "own.onnx", "--record", place.folder / "own.record", "--tsa-root", "x") == 2
