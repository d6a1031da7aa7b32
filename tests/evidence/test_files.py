"""The files of evidence from the command line: refused before any work, written whole, and read again."""

import hashlib
import json

import pytest

from onnxnnw.cli.entry import main
from tests.support.keys import key_pair


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    assert isinstance(left.value.code, int)
    return left.value.code


def test_one_verification_leaves_all_kinds(enrolled, tmp_path, monkeypatch, capsys):
    """Of several candidates in one go; the statement refers to the file, and the BOM to the statement."""
    monkeypatch.chdir(tmp_path)
    pair = key_pair(tmp_path)
    wanted = ["--sarif", "s.sarif", "--junit", "j.xml", "--sbom", "b.json", "--html", "p.html", "--log", "l.jsonl"]
    wanted += ["--attestation", "a.intoto.jsonl", "--sign", pair.private]
    code = run("verify", enrolled.marked, enrolled.original, "nowhere.onnx", "--record", enrolled.record, *wanted)
    assert code == 3
    assert "1 passed, 1 failed, 1 could not be told: exit code 3, because of nowhere.onnx" in capsys.readouterr().out
    assert run("attest", "verify", "a.intoto.jsonl", "--file", enrolled.marked, "--key", pair.public) == 0
    assert run("attest", "verify", "a.intoto.jsonl", "--file", enrolled.original, "--key", pair.public) == 1
    assert run("attest", "verify", "nowhere.jsonl", "--key", pair.public) == 3
    assert run("attest", "verify", "a.intoto.jsonl") == 2
    (reference,) = json.loads((tmp_path / "b.json").read_text())["components"][0]["externalReferences"]
    content = (tmp_path / "a.intoto.jsonl").read_bytes()
    assert reference["hashes"][0]["content"] == hashlib.sha256(content).hexdigest()
    assert run("verify", enrolled.marked, "--record", enrolled.record, "--sbom", "c.json", "--merge", "b.json") == 0
    assert json.loads((tmp_path / "c.json").read_text())["version"] == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ["s.sarif", "j.xml", "b.json", "p.html", "l.jsonl", "a.intoto.jsonl", "c.json", "p256.pem", "p256.pub"]
    )


def test_what_cannot_be_written_is_refused_before_the_work(enrolled, tmp_path, monkeypatch):
    """Wrong usage, and nothing is left: a missing folder, a record, two kinds in one file, a key without attestation."""
    monkeypatch.chdir(tmp_path)
    for wanted in (
        ["--sarif", "no/such/s"],
        ["--html", enrolled.record],
        ["--sarif", "x", "--html", "./x"],
        ["--sign", "k.pem"],
        ["--merge", "b.json"],
        ["--sbom", enrolled.marked],
        ["--log", "."],
        ["--parent", enrolled.original],
    ):
        assert run("verify", enrolled.marked, "--record", enrolled.record, *wanted) == 2
        assert list(tmp_path.iterdir()) == []


def test_the_log_grows_by_lines_that_hang_together(enrolled, tmp_path):
    """Each has the hash of the line before; what stands there is never touched, and a file that is no log is refused."""
    log = tmp_path / "log.jsonl"
    for network in (enrolled.marked, enrolled.original):
        before = log.read_bytes() if log.exists() else b""
        run("verify", network, "--record", enrolled.record, "--log", log)
        assert log.read_bytes().startswith(before)
    lines = log.read_bytes().splitlines()
    first, second = (json.loads(line) for line in lines)
    assert (first["format"], first["answer"], second["answer"]) == ("onnxnnw/log/1", "yes", "no")
    assert second["previous"] == hashlib.sha256(lines[0]).hexdigest()
    assert first["sha256"]["marked.onnx"] == hashlib.sha256(enrolled.marked.read_bytes()).hexdigest()
    assert len(first["tool"]["sha256"]) == len(first["tables"]["sha256"]) == 64
    for content in (b"a text\n", lines[0]):
        log.write_bytes(content)
        assert run("verify", enrolled.marked, "--record", enrolled.record, "--log", log) == 2
        assert log.read_bytes() == content


def test_json_has_one_shape(enrolled, tmp_path, capsys):
    """Of one candidate and one record, of several, and of candidates of which one cannot be read."""
    shapes = set()
    for candidates, records in (
        ([enrolled.marked], [enrolled.record]),
        ([enrolled.marked], [enrolled.record, enrolled.fingerprint]),
        ([enrolled.marked, enrolled.original, tmp_path / "nowhere.onnx"], [enrolled.record]),
    ):
        run("verify", *candidates, *(part for record in records for part in ("--record", record)), "--json")
        found = json.loads(capsys.readouterr().out)
        shapes.add(tuple(found))
        assert len(found["candidates"]) == len(candidates)
        assert len(found["records"]) == len(records) * sum(path.exists() for path in candidates)
    assert len(shapes) == 1
    assert [one["answer"] for one in found["candidates"]] == ["yes", "no", "unsure"]
    assert (found["answer"], found["exit_code"]) == ("unsure", 3)
    assert found["candidates"][2]["problems"][0]["rule"] == "NNW004"


def test_a_parent_that_was_signed_is_told(enrolled, tmp_path, capsys):
    """From the candidate over the record to the signed network; another network, or nobody's signature, is a no."""
    pair = key_pair(tmp_path)
    parent = tmp_path / "parent.onnx"
    parent.write_bytes(enrolled.original.read_bytes())
    asked = ["--record", enrolled.fingerprint, "--parent", parent, "--parent-key", pair.public]
    assert run("verify", enrolled.marked, *asked) == 1
    assert run("sign", parent, "--key", pair.private) == 0
    capsys.readouterr()
    assert run("verify", enrolled.marked, *asked, "--sbom", tmp_path / "b.json") == 0
    assert "the record was made of parent.onnx, signed by the key" in capsys.readouterr().out
    (variant,) = json.loads((tmp_path / "b.json").read_text())["components"][0]["pedigree"]["variants"]
    assert variant["hashes"][0]["content"] == hashlib.sha256(parent.read_bytes()).hexdigest()
    assert run("verify", enrolled.marked, "--record", enrolled.record, *asked[2:]) == 1
