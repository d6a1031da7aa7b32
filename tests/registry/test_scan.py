"""The scan: marks in projections have pages too, pages that move while they are read lose nothing, and a cluster finds the same."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from onnxnnw.cli.entry import main
from onnxnnw.enrolment.enrol import embed
from onnxnnw.errors import CannotLook, UsageError
from onnxnnw.graph.slots import find_slots
from onnxnnw.methods.rtw import MATRICES, RtwInsertion
from onnxnnw.network_file.file import open_network
from onnxnnw.network_file.patch import Edit, write_patched
from onnxnnw.records.key import Key
from onnxnnw.records.record import Record
from onnxnnw.records.slot_table import SlotEntry
from onnxnnw.registry import pages as paging
from onnxnnw.registry import scan as scanning
from onnxnnw.registry.check import problems
from onnxnnw.registry.log.kept import append
from onnxnnw.registry.scan import BEST, scan
from onnxnnw.registry.scan_data import ADDED, LONGER, PROJECTED, REPLACED, SCREEN, Family, Scanned, scanned
from onnxnnw.registry.scan_pages import groups_of
from onnxnnw.registry.search import search_registry
from onnxnnw.registry.store import Registry
from onnxnnw.verification.looking import Looking
from tests.support import marks
from tests.support.networks import dense, save


def keys(count: int) -> list[Key]:
    """As many keys."""
    return [Key(bytes([k % 256, k // 256]) * 16) for k in range(count)]


@pytest.fixture(scope="module")
def projected(tmp_path_factory) -> tuple[Path, Record]:
    """A network that carries an RTW mark, and its record."""
    folder = tmp_path_factory.mktemp("projected")
    own = save(dense(width=96), folder / "own.onnx")
    record = marks.drafted(own, RtwInsertion(bits=32, payload="RTW"), secret=5)
    return folder / "marked.onnx", marks.marked_with_rtw(own, folder / "marked.onnx", record)


def looked(path: Path, registry: Registry, **more: object) -> scanning.Scan:
    """A scan of a registry."""
    with open_network(path) as network:
        return scan(registry, Looking(network, [], 1e-6, False, 1), **more)


def test_marks_in_projections_are_scanned_and_not_verified_one_by_one(projected, tmp_path):
    """Among 60 records of other keys the right one comes first, and only the best are looked at whole."""
    path, record = projected
    others = [record.with_key(key).to_bytes() for key in keys(60)]
    with Registry(tmp_path / "r.db", create=True, logged=append) as registry:
        registry.add([*others[:30], record.to_bytes(), *others[30:]])
        assert problems(registry) == []
        found = looked(path, registry)
        assert found.unscanned == ()
        assert len(found.hits) == BEST
        assert registry.entries_of([found.hits[0].number])[0].commitment == record.commitment
        assert found.hits[0].z > 4 > found.hits[1].z
        searched = search_registry(path, registry)
        assert searched.search.best.decision == "traced"
        assert searched.entries[0].commitment == record.commitment
        assert len(searched.search.verdicts) <= BEST


@pytest.mark.parametrize("matrix", MATRICES)
def test_what_a_projected_mark_is_scanned_for_is_a_fair_coin_without_it(projected, matrix):
    """z of 400 keys on one network, whatever X is drawn from: as of a standard normal; the mark stands far out."""
    path, _ = projected
    record = marks.drafted(path, RtwInsertion(bits=24, matrix=matrix))
    with open_network(path) as network:
        from onnxnnw.registry.alignment import arrays_by_place, projected_tables

        arrays = arrays_by_place(Looking(network, [], 1e-6, False, 1), record.slots)
        tables = projected_tables(arrays, record.slots)
    z = []
    for key in keys(400):
        data = scanned(record.with_key(key))
        assert data.family.name == PROJECTED
        for table in tables:
            found, wanted = table[data.positions].astype(float), data.expected.astype(float)
            z.append(found @ wanted / np.sqrt((found @ found) * (wanted @ wanted) / found.size))
    one = np.array(z).reshape(-1, 2)
    assert abs(one.mean(0)).max() < 0.25
    assert (np.abs(one.std(0) - 1) < 0.25).all()


def test_pages_that_are_merged_while_they_are_read_lose_no_record(tmp_path, monkeypatch):
    """A writer adds while a reader reads: the page with the record goes, a larger one has it, and numbers are used again."""
    path = save(dense(width=96), tmp_path / "own.onnx")
    enrolled = embed(path, tmp_path / "marked.onnx", tmp_path / "m.record")
    record = enrolled.record
    contents = [record.with_key(key).to_bytes() for key in keys(63)]
    with Registry(tmp_path / "r.db", create=True) as registry, Registry(tmp_path / "r.db") as writer:
        registry.add([record.to_bytes()])
        for content in contents[:62]:
            registry.add([content])
        read, done = scanning.read_pages, []

        def reading(*arguments: object) -> object:
            if not done:
                done.append(writer.add([contents[62]]))  # the 64th: all become one page
            return read(*arguments)

        monkeypatch.setattr(scanning, "read_pages", reading)
        monkeypatch.setattr(scanning, "WORKERS", 1)
        found = looked(tmp_path / "marked.onnx", registry, thorough=True)
        assert registry.entries_of([found.hits[0].number])[0].commitment == enrolled.commitment
        assert found.looked_at >= 63


def test_processes_find_what_threads_find(many, monkeypatch):
    """The same records, in the same order, with the same z."""
    with Registry(many / "r.db") as registry:
        monkeypatch.setattr(scanning, "FORKED", 10**9)
        threads = looked(many / "marked.onnx", registry)
        monkeypatch.setattr(scanning, "FORKED", 1)
        monkeypatch.setattr(scanning.threading, "active_count", lambda: 1)
        made, executor = [], scanning._executor
        monkeypatch.setattr(scanning, "_executor", lambda *given: made.append(executor(*given)) or made[-1])
        assert looked(many / "marked.onnx", registry) == threads
        assert scanning._is_forked(made[0]) == (sys.platform == "linux")
        assert len(registry) == 201  # connections of this process are as they were


def test_layouts_of_other_sizes_are_left_out_unless_all_are_asked_for(many, tmp_path):
    """A network of another width shares no slot's size with them; a thorough search leaves nothing out."""
    other = save(dense(width=80), tmp_path / "other.onnx")
    with Registry(many / "r.db") as registry, open_network(other) as network:
        sizes = {int(np.prod(slot.shape)) for slot in Looking(network, [], 1e-6, False, 1).view.slots}
        assert groups_of(registry, sizes) == []
        assert len(groups_of(registry)) == 1
        assert looked(other, registry).looked_at == 0


# --- on a cluster -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def many(tmp_path_factory) -> Path:
    """A registry of 200 records in as many pages as there may be, and the copy of one of them."""
    folder = tmp_path_factory.mktemp("many")
    path = save(dense(width=96), folder / "own.onnx")
    record = embed(path, folder / "marked.onnx", folder / "m.record").record
    with Registry(folder / "r.db", create=True) as registry:
        contents = [record.with_key(key).to_bytes() for key in keys(200)]
        contents.insert(77, record.to_bytes())
        for start in range(0, len(contents), 8):
            registry.add(contents[start : start + 8])
    return folder


def process(*arguments: str) -> subprocess.Popen:
    """A process of Dask's."""
    command = [sys.executable, "-m", "dask", *arguments]
    environment = {**os.environ, "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "5"}
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)


@pytest.fixture
def cluster(tmp_path):
    """A scheduler and two workers, each a process of its own; its address, and the workers."""
    file = tmp_path / "scheduler.json"
    options = ["--scheduler-file", str(file)]
    scheduler = process("scheduler", *options, "--port", "0", "--host", "127.0.0.1", "--no-dashboard")
    own = ["--nthreads", "1", "--no-nanny", "--no-dashboard", "--local-directory", str(tmp_path)]
    workers = [process("worker", *options, *own) for _ in range(2)]
    try:
        from distributed import Client

        for _ in range(600):
            if file.exists() and file.stat().st_size:
                break
            time.sleep(0.1)
        with Client(scheduler_file=str(file), set_as_default=False, timeout=60) as client:
            client.wait_for_workers(2, timeout=120)
            address = client.scheduler.address
        yield address, workers
    finally:
        for one in (*workers, scheduler):
            one.kill()
            one.wait()


@pytest.mark.slow
def test_a_cluster_finds_what_one_machine_finds(many, cluster, capsys):
    """A real scheduler and two workers; the command, too; another candidate there is refused."""
    address, _ = cluster
    with Registry(many / "r.db") as registry:
        here = search_registry(many / "marked.onnx", registry)
        there = search_registry(many / "marked.onnx", registry, cluster=address)
        again = search_registry(many / "own.onnx", registry, cluster=address)
        assert (
            search_registry(many / "own.onnx", registry, thorough=True).search.best.decision
            == again.search.best.decision
        )
    assert [e.commitment for e in there.entries] == [e.commitment for e in here.entries]
    assert (there.looked_at, there.passed) == (here.looked_at, here.passed) == (201, here.passed)
    assert there.search.best.decision == "traced"
    with pytest.raises(SystemExit) as ended:
        main(["registry", "search", str(many / "marked.onnx"), "--registry", str(many / "r.db"), "--cluster", address])
    assert ended.value.code == 0
    assert "traced" in capsys.readouterr().out


@pytest.mark.slow
def test_a_worker_that_is_killed_in_the_middle_takes_no_record_with_it(many, cluster):
    """The parts that it had are done by the other one, and each counts once."""
    address, workers = cluster
    with Registry(many / "r.db") as registry, open_network(many / "marked.onnx") as network:
        from onnxnnw.registry.cluster import on_cluster

        looking = Looking(network, [], 1e-6, False, 1)
        with on_cluster(address, str(many / "r.db"), None, many / "marked.onnx", network, True) as parts:
            killed = []

            def with_a_kill(group: int, pages: object) -> object:
                for part in parts(group, pages):
                    if not killed:
                        killed.append(workers[0].send_signal(signal.SIGKILL))
                    yield part

            found = scan(registry, looking, True, with_a_kill)
        assert scan(registry, looking, True) == found
        assert workers[0].wait(30) == -signal.SIGKILL
        assert found.looked_at == 201


def test_a_cluster_that_is_none_is_said(many):
    """Wrong usage, or nobody there."""
    with Registry(many / "r.db") as registry:
        with pytest.raises((UsageError, CannotLook)):
            search_registry(many / "marked.onnx", registry, cluster="nonsense://x")
        with pytest.raises(CannotLook, match="no Dask scheduler answers"):
            search_registry(many / "marked.onnx", registry, cluster="tcp://127.0.0.1:9")


@pytest.mark.parametrize("width", [4, 8])
@pytest.mark.parametrize("name", [REPLACED, ADDED])
def test_the_first_positions_of_a_row_are_what_fewer_would_have_been_kept_as(name, width):
    """Of both widths of a position, with and without host."""
    rng, far = np.random.default_rng(width), 2**33 if width == 8 else 2**20
    family = Family(name, 200, (SlotEntry("w", "MatMul", (far, 1), "float", "", "matmul", 1, (), True),))
    host = rng.integers(-99, 99, 200, np.int16) if name == ADDED else np.empty(0, np.int16)
    data = Scanned(family, rng.integers(0, far, 200), rng.integers(-127, 127, 200, np.int8), host)
    assert family.width == width
    row = data.to_bytes(LONGER)
    assert family.positions_in(len(row)) == LONGER
    assert family.first_of(row, SCREEN) == data.to_bytes(SCREEN)
    assert family.first_of(row, LONGER) == row


@pytest.mark.parametrize("insertion", ["added", "replaced"])
def test_a_registry_of_version_1_is_read_as_it_is_and_grows(tmp_path, monkeypatch, insertion):
    """Its pages hold 64 positions; with newer ones they merge into one, nothing is damaged, and every record is found first."""
    path = save(dense(width=96), tmp_path / "own.onnx")
    record = embed(path, tmp_path / "marked.onnx", tmp_path / "m.record", insertion=insertion).record
    contents = [record.with_key(key).to_bytes() for key in keys(99)]
    monkeypatch.setattr(paging, "LONGER", SCREEN)
    with Registry(tmp_path / "r.db", create=True, logged=append) as registry:
        registry.add([record.to_bytes()])
        for content in contents[:40]:
            registry.add([content])
    monkeypatch.undo()
    with sqlite3.connect(tmp_path / "r.db") as connection:
        connection.execute("update registry_info set value = '1' where name = 'version'")

    def found_first(version: str) -> None:
        with Registry(tmp_path / "r.db") as registry:
            assert problems(registry) == []
            hits = looked(tmp_path / "marked.onnx", registry).hits
            assert registry.entries_of([hits[0].number])[0].commitment == record.commitment
        with sqlite3.connect(tmp_path / "r.db") as connection:
            assert connection.execute("select value from registry_info where name = 'version'").fetchone() == (version,)

    found_first("1")
    with Registry(tmp_path / "r.db", create=True, logged=append) as registry:
        for content in contents[40:]:
            registry.add([content])
    found_first("2")


def test_beside_a_match_far_beyond_chance_only_such_are_verified(tmp_path):
    """Of the best 20 one is left where one is marked, two where two are, and all where none is."""
    path = save(dense(width=96), tmp_path / "own.onnx")
    first = embed(path, tmp_path / "marked.onnx", tmp_path / "1.record", insertion="replaced").record
    second = embed(
        tmp_path / "marked.onnx", tmp_path / "twice.onnx", tmp_path / "2.record", insertion="replaced"
    ).record
    contents = [first.with_key(key).to_bytes() for key in keys(60)]
    with Registry(tmp_path / "r.db", create=True) as registry:
        registry.add([*contents, first.to_bytes(), second.to_bytes()])

        def found_in(name: str) -> list[tuple[str, str]]:
            found = search_registry(tmp_path / name, registry, thorough=True)
            pairs = zip(found.search.verdicts, found.entries, strict=True)
            return [(verdict.decision, entry.commitment) for verdict, entry in pairs]

        assert found_in("marked.onnx") == [("traced", first.commitment)]
        assert sorted(found_in("twice.onnx")) == sorted([("traced", one.commitment) for one in (first, second)])
        assert [decision for decision, _ in found_in("own.onnx")] == ["not traced"] * BEST


@pytest.mark.parametrize("number", range(4))
def test_a_record_whose_first_positions_hold_zeros_is_looked_at_further(tmp_path, number):
    """As pruning may leave it; z of nothing is chance. Others are left out all the same."""
    path = save(dense(width=96), tmp_path / "own.onnx")
    key = Key(bytes([number]) * 32)
    record = embed(path, tmp_path / "marked.onnx", tmp_path / "m.record", insertion="replaced", key=key).record
    first = scanned(record).positions[:SCREEN]
    starts, pruned = np.cumsum([0, *(entry.size for entry in record.slots)]), tmp_path / "pruned.onnx"
    with open_network(tmp_path / "marked.onnx", for_writing=True) as network:
        slots, edits = find_slots(network).by_name(), []
        for start, entry in zip(starts, record.slots, strict=False):
            places = first[(first >= start) & (first < start + entry.size)] - start
            edits.append(Edit(*slots[entry.name].edits(places, np.zeros(places.size))))
        write_patched(network, pruned, edits)
    with Registry(tmp_path / "r.db", create=True) as registry:
        registry.add([record.to_bytes(), *(record.with_key(each).to_bytes() for each in keys(60)[10:])])
        found = looked(pruned, registry)
        assert registry.entries_of([found.hits[0].number])[0].commitment == record.commitment
        assert found.passed < 25
