"""A registry: what is added is whole or not there, what is searched is found, what is changed is noticed."""

import sqlite3
import stat
from pathlib import Path

import numpy as np
import pytest

from onnxnnw.enrolment.enrol import embed, fingerprint
from onnxnnw.errors import UnreadableRegistry, UsageError
from onnxnnw.graph.slots import find_slots
from onnxnnw.network_file.file import open_network
from onnxnnw.network_file.patch import Edit, write_patched
from onnxnnw.records.record_file import load_record
from onnxnnw.registry.check import problems
from onnxnnw.registry.entry import Filters
from onnxnnw.registry.log.kept import append
from onnxnnw.registry.search import search_registry
from onnxnnw.registry.store import Registry
from onnxnnw.registry.unicity import unicity

MODEL = Path(__file__).parent.parent.parent / "models" / "resnet8.onnx"


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Two marked copies, a fingerprint, and a stranger of the same layout."""
    folder = tmp_path_factory.mktemp("made")
    embed(MODEL, folder / "added.onnx", folder / "added.record")
    embed(MODEL, folder / "replaced.onnx", folder / "replaced.record", insertion="replaced")
    fingerprint(MODEL, folder / "fingerprint.record")
    rng = np.random.default_rng(0)
    with open_network(MODEL, for_writing=True) as network:
        edits = []
        for slot in find_slots(network).slots:
            values = rng.standard_normal(slot.size) * slot.array().std()
            edits.append(Edit(*slot.edits(np.arange(slot.size), values)))
        write_patched(network, folder / "stranger.onnx", edits)
    return folder


def contents(made: Path) -> list[bytes]:
    return [(made / f"{name}.record").read_bytes() for name in ("added", "replaced", "fingerprint")]


@pytest.fixture
def registry(made, tmp_path):
    """A registry of the three records."""
    with Registry(tmp_path / "r.db", create=True, logged=append) as opened:
        opened.add(contents(made), "resnet8")
        yield opened


def rekeyed(made: Path, count: int) -> list[bytes]:
    """Records as the replaced one under other keys."""
    from onnxnnw.records.key import Key

    record = load_record(made / "replaced.record")
    return [record.with_key(Key(bytes([k % 256, k // 256]) * 16)).to_bytes() for k in range(count)]


def test_what_was_added_comes_back_byte_for_byte_and_only_once(registry, made):
    """Adding is idempotent, and bytes stay as they are."""
    again = registry.add(contents(made))
    assert (len(again.new), len(again.known), len(registry)) == (0, 3, 3)
    found = {registry.content(entry.commitment) for entry in registry.entries()}
    assert found == set(contents(made))
    assert problems(registry) == []


def test_one_unreadable_record_keeps_all_of_them_out(registry, made):
    """All or none."""
    from onnxnnw.errors import UnreadableRecord

    with pytest.raises(UnreadableRecord):
        registry.add([*rekeyed(made, 2), b"{}"])
    assert len(registry) == 3


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
def test_a_registry_that_others_can_read_is_refused(registry, tmp_path, mode):
    """Who reads a record can erase its mark."""
    path = tmp_path / "r.db"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(mode)
    with pytest.raises(UnreadableRegistry, match="others can read"):
        Registry(path)


def test_what_is_no_registry_is_named(tmp_path):
    """A missing file, another file, another program's database, and a newer version."""
    with pytest.raises(UnreadableRegistry, match="no registry"):
        Registry(tmp_path / "missing.db")
    other = tmp_path / "other.db"
    other.write_bytes(b"something else entirely")
    other.chmod(0o600)
    with pytest.raises(UnreadableRegistry, match="is no registry"):
        Registry(other, create=True)
    strange = tmp_path / "strange.db"
    with sqlite3.connect(strange) as connection:
        connection.execute("create table t (x)")
    strange.chmod(0o600)
    with pytest.raises(UnreadableRegistry, match="something else"):
        Registry(strange, create=True)
    newer = tmp_path / "newer.db"
    Registry(newer, create=True).close()
    with sqlite3.connect(newer) as connection:
        connection.execute("update registry_info set value = '99' where name = 'version'")
    with pytest.raises(UnreadableRegistry, match="version 99"):
        Registry(newer)
    with pytest.raises(UsageError, match="PostgreSQL"):
        Registry("mysql://host/x")


def test_a_candidate_finds_its_own_record_first(registry, made):
    """Marked copies and the network itself; a stranger finds none, and every record is an alternative."""
    for name, kind in (("added", "watermark"), ("replaced", "watermark")):
        found = search_registry(made / f"{name}.onnx", registry)
        assert found.search.best.decision == "traced"
        assert found.entries[0].commitment == load_record(made / f"{name}.record").commitment
        assert (found.entries[0].kind, found.tried) == (kind, 3)
    assert search_registry(MODEL, registry).entries[0].kind == "fingerprint"
    for thorough in (False, True):
        assert not search_registry(made / "stranger.onnx", registry, thorough=thorough).meets()


@pytest.mark.slow
def test_a_record_among_many_is_found_and_its_p_value_pays_for_all(registry, made):
    """Small pages become larger ones, and nothing is lost on the way."""
    alone = search_registry(made / "replaced.onnx", registry).search.best.log10_p
    many = rekeyed(made, 100)
    for content in many[:70]:
        registry.add([content])
    registry.add(many[70:])
    found = search_registry(made / "replaced.onnx", registry)
    assert found.tried == 103
    assert found.entries[0].commitment == load_record(made / "replaced.record").commitment
    assert found.search.best.log10_p == pytest.approx(alone + np.log10(103 / 3), abs=0.02)
    assert found.passed < 60
    assert problems(registry) == []


def test_a_revoked_record_stays_and_opens_no_gate(registry, made):
    """With reason and time; a second time is wrong usage."""
    commitment = load_record(made / "added.record").commitment
    entry = registry.revoke(commitment[:12], "it leaked")
    assert (entry.reason, entry.revoked_at is not None, len(registry)) == ("it leaked", True, 3)
    assert [e.commitment for e in registry.entries(Filters(revoked=True))] == [commitment]
    with pytest.raises(UsageError, match="already"):
        registry.revoke(commitment, "again")
    found = search_registry(made / "added.onnx", registry)
    assert found.search.best.decision == "traced"
    pairs = zip(found.entries, found.search.verdicts, strict=True)
    assert found.meets() == any(e.revoked_at is None and v.decision == "traced" for e, v in pairs)
    assert problems(registry) == []


CHANGES = [
    "update records set network = 'resnet9' where id = 1",
    "update records set actor = 'x' where id = 2",
    "update records set added_at = '2020-01-01T00:00:00.000000Z' where id = 3",
    "update records set content = cast(x'00' || substr(content, 2) as blob) where id = 1",
    "update records set group_id = (select group_id from records where id = 2) where id = 1",
    "update wholes set data = cast(substr(data, 1, 99) || x'55' || substr(data, 101) as blob) where record_id = 1",
    "update screens set data = cast(substr(data, 1, 50) || x'55' || substr(data, 52) as blob) where id = 1",
    "update layouts set slots = cast(substr(slots, 1, 20) || x'55' || substr(slots, 22) as blob)",
    "update groups set positions = 511 where id = 1",
    "update groups set units = cast(x'0000000000000000' || substr(units, 9) as blob) where length(units) > 0",
    "delete from wholes where record_id = 2",
    "delete from screens where id = 2",
    "update log_entries set commitment = 'ab' || substr(commitment, 3) where place = 1",
]


@pytest.mark.parametrize("change", CHANGES)
def test_check_finds_what_was_changed(registry, tmp_path, change):
    """Whatever table it is in."""
    with sqlite3.connect(tmp_path / "r.db") as connection:
        connection.execute(change)
    assert problems(registry)


def test_a_damaged_scan_page_is_named_by_a_search(registry, made, tmp_path):
    """It is no "not traced"."""
    with sqlite3.connect(tmp_path / "r.db") as connection:
        connection.execute("update screens set data = cast(substr(data, 1, 50) || x'55' || substr(data, 52) as blob)")
    with pytest.raises(UnreadableRegistry, match="damaged"):
        search_registry(made / "added.onnx", registry)


def test_unicity_leaves_a_network_out_that_is_its_own(registry, made):
    """The fingerprinted network is no false match; the stranger is a pair."""
    found = unicity(registry, [MODEL, made / "stranger.onnx"])
    assert found.own == 1
    assert [(one.pairs, one.false) for one in found.layouts] == [(1, 0)]
    assert found.layouts[0].upper == pytest.approx(0.95)
