"""Faults: killed at any moment, many at once, no room left; on SQLite and PostgreSQL."""

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from onnxnnw.enrolment.enrol import fingerprint
from onnxnnw.errors import UnreadableRegistry
from onnxnnw.records.key import Key
from onnxnnw.records.record_file import load_record
from onnxnnw.registry.check import problems
from onnxnnw.registry.log.kept import append
from onnxnnw.registry.store import Registry
from tests.support import postgres

MODEL = Path(__file__).parent.parent.parent / "models" / "resnet8.onnx"

WRITER = """
import sys
from pathlib import Path
from onnxnnw.records.key import Key
from onnxnnw.records.record_file import load_record
from onnxnnw.registry.log.kept import append
from onnxnnw.registry.store import Registry
place, template, start, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
record = load_record(template)
with Registry(place, create=True, logged=append) as registry:
    for k in range(start, start + count):
        one = record.with_key(Key(k.to_bytes(32, "little")))
        registry.add([one.to_bytes()])
        print(one.commitment, flush=True)
        if k % 3 == 0:
            registry.revoke(one.commitment, "for the test")
            print("revoked", one.commitment, flush=True)
"""


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("template") / "net.record"
    fingerprint(MODEL, path)
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request, tmp_path):
    """An empty place for a registry."""
    if request.param == "sqlite":
        yield str(tmp_path / "r.db")
        return
    if reason := postgres.missing():
        pytest.skip(reason)
    with postgres.server() as url:
        yield url


def start(place: str, template: Path, first: int, count: int) -> subprocess.Popen:
    command = [sys.executable, "-c", WRITER, place, str(template), str(first), str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_killed_at_any_moment_nothing_acknowledged_is_lost(place, template):
    """Nor is anything half there, and the log is consistent."""
    Registry(place, create=True, logged=append).close()
    rng = random.Random(0)
    said: list[str] = []
    for round_ in range(50):
        writer = start(place, template, round_ * 1000, 1000)
        assert writer.stdout is not None
        said.append(writer.stdout.readline())  # it is at work
        time.sleep(rng.uniform(0, 0.3))
        writer.kill()
        said += writer.stdout.read().splitlines()
        writer.wait()
    with Registry(place) as registry:
        assert problems(registry) == []
        entries = {entry.commitment: entry for entry in registry.entries()}
    for line in (line.strip() for line in said):
        if line.startswith("revoked"):
            assert entries[line.split()[1]].revoked_at is not None
        elif len(line) == 64:
            assert line in entries


@pytest.mark.slow
def test_two_writers_and_four_readers_at_once(place, template):
    """Everything that both add is there, and readers never see a half."""
    Registry(place, create=True, logged=append).close()
    writers = [start(place, template, first, 40) for first in (0, 1000)]
    sizes: list[int] = []
    with Registry(place) as one, Registry(place) as two, Registry(place) as three, Registry(place) as four:
        while any(writer.poll() is None for writer in writers):
            for reader in (one, two, three, four):
                sizes.append(len(reader))
                for entry in reader.entries(limit=2):
                    assert reader.record(entry.commitment).commitment == entry.commitment
        assert [writer.wait() for writer in writers] == [0, 0]
        assert sizes == sorted(sizes)
        assert len(one) == 80
        assert problems(one) == []


@pytest.mark.slow
def test_a_registry_on_either_database_takes_and_gives_records(place, template):
    """One schema: what was added comes back, and all is as it was written."""
    record = load_record(template)
    contents = [record.with_key(Key(bytes([k]) * 32)).to_bytes() for k in range(66)]
    with Registry(place, create=True, logged=append) as registry:
        for content in contents[:2]:
            registry.add([content], "resnet8")
        registry.add(contents, "resnet8")
        assert {registry.content(entry.commitment) for entry in registry.entries()} == set(contents)
        registry.revoke(registry.entries(limit=1)[0].commitment, "because")
        assert problems(registry) == []


def test_no_room_is_an_error_that_names_it_and_nothing_is_half_there(tmp_path, template):
    """A database that may not grow."""
    record = load_record(template)
    place = tmp_path / "r.db"
    with Registry(place, create=True, logged=append) as registry:
        registry.add([record.to_bytes()])
        from sqlalchemy import event

        event.listen(registry.database.engine, "checkout", lambda c, *_: c.execute("PRAGMA max_page_count=1"))
        contents = [record.with_key(Key(bytes([k]) * 32)).to_bytes() for k in range(1, 40)]
        with pytest.raises(UnreadableRegistry, match="full"):
            registry.add(contents)
    with Registry(place) as registry:
        assert len(registry) == 1
        assert problems(registry) == []
