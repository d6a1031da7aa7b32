"""embed --recipients --registry: no copy without its record in the registry, whatever happens, on SQLite and PostgreSQL."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from onnxnnw.cli.entry import main
from onnxnnw.enrolment.recipients.embedding import embed_for_recipients
from onnxnnw.enrolment.recipients.recipient_list import recipients_of
from onnxnnw.errors import UnreadableRegistry
from onnxnnw.records.record import Record
from onnxnnw.records.record_file import load_record
from onnxnnw.registry.check import problems
from onnxnnw.registry.log.kept import append
from onnxnnw.registry.store import Registry
from tests.enrolment.test_recipients import command, network
from tests.registry.test_faults import place  # noqa: F401 - a fixture: an empty place on either database

THREE = ["acme", "Globex Corp.", "Initech"]


def run(folder: Path, *more: str) -> int:
    """The command in this process."""
    with pytest.raises(SystemExit) as ended:
        main([*command(folder)[3:], *more])
    return int(ended.value.code or 0)


def in_registry(place: str) -> set[str]:  # noqa: F811
    """Commitments."""
    with Registry(place, logged=append) as registry:
        return {entry.commitment for entry in registry.entries()}


def commitments(folder: Path) -> set[str]:
    """Of the records whose copies are there."""
    copies = (folder / "copies").glob("*.onnx")
    return {load_record(folder / "records" / f"{copy.stem}.record").commitment for copy in copies}


def test_each_record_comes_into_the_registry_and_a_second_run_adds_what_is_missing(tmp_path, capsys):
    """Also of copies that were made without one; nothing is added twice, and a search names the recipient."""
    network(tmp_path / "in")
    (tmp_path / "list.csv").write_text("\n".join(THREE[:2]))
    place = str(tmp_path / "r.db")  # noqa: F811
    assert run(tmp_path) == 0
    assert run(tmp_path, "--registry", place) == 0
    assert "added 2 records" in capsys.readouterr().err
    (tmp_path / "list.csv").write_text("\n".join(THREE))
    assert run(tmp_path, "--registry", place) == 0
    assert "added 1 records" in capsys.readouterr().err
    assert in_registry(place) == commitments(tmp_path)
    with Registry(place) as registry:
        assert [entry.destination_id for entry in registry.entries()] == THREE
        assert problems(registry) == []
    own = next(p for p in (tmp_path / "records").glob("*.record") if load_record(p).destination_id == "Initech")
    copy = tmp_path / "copies" / f"{own.stem}.onnx"
    with pytest.raises(SystemExit) as ended:
        main(["verify", str(copy), "--registry", place])
    assert ended.value.code == 0
    assert "Initech" in capsys.readouterr().out


def test_a_record_that_the_registry_does_not_take_makes_no_copy(tmp_path):
    """It is an error, and what was made before is whole."""
    path = network(tmp_path / "in")
    taken: list[str] = []

    def keep(record: Record) -> None:
        if len(taken) == 2:
            raise UnreadableRegistry("no room")
        assert len(list((tmp_path / "copies").glob("*.onnx"))) == len(taken)  # the record comes first
        taken.append(record.commitment)

    with pytest.raises(UnreadableRegistry, match="no room"):
        embed_for_recipients(path, recipients_of(THREE), tmp_path / "copies", tmp_path / "records", kept=keep)
    assert commitments(tmp_path) == set(taken)
    assert not any(p.name.endswith(".partial") for p in (tmp_path / "copies").iterdir())
    taken.clear()
    embed_for_recipients(
        path,
        recipients_of(THREE),
        tmp_path / "copies",
        tmp_path / "records",
        kept=lambda record: taken.append(record.commitment),
    )
    assert commitments(tmp_path) == set(taken)


@pytest.mark.slow
def test_a_kill_at_any_moment_leaves_no_copy_without_its_record_in_the_registry(tmp_path, place):  # noqa: F811
    """Twenty-five kills; after each the registry is whole, its log consistent, and it holds the record of every copy."""
    network(tmp_path / "in")
    ids = [f"r{k}" for k in range(200)]
    (tmp_path / "list.csv").write_text("\n".join(ids))
    Registry(place, create=True, logged=append).close()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    arguments = [sys.executable, *command(tmp_path)[1:], "--registry", place]
    rng, kills, seen = random.Random(0), 0, set[str]()
    for _ in range(25):
        there = len(list((tmp_path / "copies").glob("*.onnx"))) if (tmp_path / "copies").exists() else 0
        with subprocess.Popen(arguments, stdout=-3, stderr=-3, env=environment) as process:
            while process.poll() is None and not (tmp_path / "copies").exists():
                time.sleep(0.01)
            while process.poll() is None and len(list((tmp_path / "copies").glob("*.onnx"))) <= there:
                time.sleep(0.01)
            time.sleep(rng.uniform(0, 0.15))
            process.kill()
        kills += process.returncode < 0
        with Registry(place, logged=append) as registry:
            assert problems(registry) == []
        known = in_registry(place)
        assert commitments(tmp_path) <= known
        assert seen <= known
        seen = known
    assert kills >= 15
    done = subprocess.run(arguments, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    with Registry(place, logged=append) as registry:
        assert problems(registry) == []
        assert sorted(entry.destination_id for entry in registry.entries()) == sorted(ids)
    assert in_registry(place) == commitments(tmp_path)
