"""A policy that names files behind addresses: read by range, the server's failures told as such, no digest claimed."""

import json

import pytest

from onnxnnw.cli.entry import main
from onnxnnw.errors import UsageError
from onnxnnw.evidence.sarif import sarif_of
from onnxnnw.gate.checking import check, jobs_of
from onnxnnw.sources import http_ranges
from onnxnnw.sources.limits import Budget, limited
from tests.gate.test_check import reasons
from tests.support.range_server import RangeServer, Reply


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch) -> None:
    """Pauses between tries are as short as they can be."""
    monkeypatch.setattr(http_ranges, "_LONGEST_PAUSE", 0.01)
    monkeypatch.setattr(http_ranges, "_PATIENCE_S", 0.02)


def test_files_behind_addresses_are_held_against_records(place):
    """Traced, not traced, beside files of this disk, in the policy's order; nothing was read whole and nothing claims so."""
    with RangeServer(place.folder) as server:
        files = f'"{server.url}/own.onnx?token=geheim", "own.onnx", "{server.url}/stranger.onnx"'
        checked = check(place.policy(place.entry(files)))
        assert [(answer.name, answer.code) for answer in checked.answers] == [
            (str(place.folder / "own.onnx"), 0),
            (f"{server.url}/own.onnx", 0),
            (f"{server.url}/stranger.onnx", 1),
        ]
        assert all(request.range is not None for request in server.requests)
    file = checked.to_json()["units"][0]["files"][1]
    assert file["sha256"] is None
    assert "no SHA-256" in file["notes"][0]
    assert "geheim" not in json.dumps(checked.to_json())
    run = sarif_of(checked.answers, "0", place.folder)["runs"][0]
    found = [artifact["location"]["uri"] for artifact in run["artifacts"]]
    assert found == ["own.onnx", f"{server.url}/own.onnx", f"{server.url}/stranger.onnx"]


@pytest.mark.parametrize(
    ("behave", "said"),
    [
        (lambda request, reply: Reply(403), "does not allow it"),
        (lambda request, reply: Reply(404), "no such file on the server"),
        (lambda request, reply: Reply(500), "status 500"),
        (lambda request, reply: Reply(200, {"ETag": '"x"'}, b"all of it"), "ignores Range"),
    ],
)
def test_a_server_that_fails_has_a_sentence_of_its_own(behave, said, place):
    """Exit 3, whatever else was found."""
    with RangeServer(place.folder, behave=behave) as server:
        checked = check(place.policy(place.entry(f'"own.onnx", "{server.url}/own.onnx"')))
    assert (checked.code, reasons(checked)) == (3, ["AddressUnreachable"])
    assert said in checked.answers[1].sentence


def test_nobody_there_is_no_missing_file(place):
    """A connection that is refused is the server's failure too."""
    checked = check(place.policy(place.entry('"http://127.0.0.1:9/own.onnx"')))
    assert (checked.code, reasons(checked)) == (3, ["AddressUnreachable"])


def test_what_a_server_holds_may_be_no_network(place):
    """That is the file's fault, and said as of a file here."""
    with RangeServer(place.folder) as server:
        checked = check(place.policy(place.entry(f'"{server.url}/notes.txt"')))
    assert (checked.code, reasons(checked)) == (3, ["UnreadableNetwork"])


def test_no_more_is_read_than_is_allowed(place):
    """The limit of the command holds for all files together."""
    with RangeServer(place.folder) as server, limited(Budget(1000)):
        checked = check(place.policy(place.entry(f'"{server.url}/own.onnx"')))
    assert (checked.code, reasons(checked)) == (3, ["AddressUnreachable"])
    assert "--max-download" in checked.answers[0].sentence


def test_an_address_alone_is_enough_and_is_always_looked_at(place, tmp_path):
    """No file of this disk is named; git cannot say that it is as it was."""
    policy = place.policy(place.entry('"https://x.invalid/a.onnx"'))
    jobs, left = jobs_of(policy, [], "HEAD")
    assert ([job.path for job in jobs], left) == (["https://x.invalid/a.onnx"], 0)
    assert jobs_of(policy, [place.folder / "own.onnx"])[0][0].network == ""


def test_statements_are_written_of_what_was_read_whole(place, capsys):
    """The attestation has the file here, not the one behind the address; the words say so."""
    with RangeServer(place.folder) as server:
        place.policy(place.entry(f'"own.onnx", "{server.url}/own.onnx"'))
        out = place.folder / "a.jsonl"
        arguments = ["check", "--policy", str(place.folder / "onnxnnw.toml"), "--attestation", str(out)]
        arguments += ["--html", str(place.folder / "a.html"), "--sbom", str(place.folder / "a.json")]
        arguments += ["--junit", str(place.folder / "a.xml"), "--log", str(place.folder / "a.log")]
        with pytest.raises(SystemExit) as ended:
            main(arguments)
    assert ended.value.code == 0
    subjects = [json.loads(line)["subject"] for line in out.read_text().splitlines()]
    assert [subject[0]["name"] for subject in subjects] == ["own.onnx", "own.onnx"]
    shown = capsys.readouterr()
    assert "no SHA-256" in shown.out
    assert "bytes in" in shown.err
    assert "no SHA-256" in (place.folder / "a.html").read_text()
    assert "no SHA-256" in (place.folder / "a.xml").read_text()


def test_an_address_with_a_registry(place):
    """Both at once: records from a registry, the file by range."""
    from onnxnnw.registry.log.kept import append
    from onnxnnw.registry.store import Registry

    with Registry(place.folder / "r.db", create=True, logged=append) as registry:
        registry.add([(place.folder / "own.record").read_bytes()])
    with RangeServer(place.folder) as server:
        text = f'[[network]]\nname = "n"\nfiles = ["{server.url}/own.onnx"]\nregistry = "r.db"\nrequire = "traced"\n'
        assert check(place.policy(text)).code == 0


def test_verify_searches_a_registry_for_what_lies_behind_an_address(place, capsys):
    """As the policy does, and without showing the address's secrets."""
    from onnxnnw.registry.store import Registry

    with Registry(place.folder / "r.db", create=True) as registry:
        registry.add([(place.folder / "own.record").read_bytes()])
    with RangeServer(place.folder) as server, pytest.raises(SystemExit) as ended:
        main(["verify", f"{server.url}/own.onnx?token=geheim", "--registry", str(place.folder / "r.db")])
    assert ended.value.code == 0
    shown = capsys.readouterr()
    assert f"traced  {server.url}/own.onnx against" in shown.out
    assert "geheim" not in shown.out + shown.err
    assert "bytes in" in shown.err


def test_an_address_that_the_environment_does_not_complete_is_wrong_usage(place, monkeypatch):
    """Said before anything is examined."""
    for name in ("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UsageError, match="AZURE_STORAGE_ACCOUNT_NAME"):
        place.policy(place.entry('"az://c/b.onnx"'))
