"""A policy that names files behind addresses: read by range, the server's failures told as such, no digest claimed."""

import hashlib
import json

import pytest

from onnxnnw.cli.entry import main
from onnxnnw.errors import UsageError
from onnxnnw.evidence.sarif import sarif_of
from onnxnnw.gate.addresses import names
from onnxnnw.gate.checking import check
from onnxnnw.gate.jobs import jobs_of
from onnxnnw.sources import http_ranges
from onnxnnw.sources.limits import Budget, limited
from tests.gate.test_check import reasons
from tests.sources.test_object_stores import hub_of
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


@pytest.fixture
def hub(place, monkeypatch):
    """A hub whose repository ``org/name`` holds the networks of the place."""
    folder = place.folder / "repository"
    (folder / "onnx").mkdir(parents=True)
    for name, there in (("own", "model"), ("stranger", "onnx/other")):
        (folder / f"{there}.onnx").write_bytes((place.folder / f"{name}.onnx").read_bytes())
    (folder / "tokenizer.json").write_text('{"a": 1}')
    monkeypatch.setenv("HF_TOKEN", "hf_T0KEN")
    with RangeServer(folder) as store, RangeServer(folder, behave=hub_of(folder, store)) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        yield hub


def answers_of(checked) -> list[tuple[str, str, int]]:
    """Unit, name and code of each answer."""
    return [(answer.unit, answer.name, answer.code) for answer in checked.answers]


def test_a_repository_in_a_policy_is_all_of_its_networks_at_one_commit(place, hub):
    """As verify looks through it; two entries that name it see one commit, for the hub is asked once."""
    text = place.entry('"hf://org/name"') + place.entry('"hf://org/name"').replace('name = "own"', 'name = "too"')
    checked = check(place.policy(text))
    expected = [
        (f"network {entry}", f"hf://org/name@c0ffee/{file}.onnx", code)
        for file, code in (("model", 0), ("onnx/other", 1))
        for entry in ("own", "too")
    ]
    assert answers_of(checked) == expected
    assert sum("/api/models" in request.target for request in hub.requests) == 1


def test_a_repository_that_cannot_be_listed_is_a_question_not_an_error(place, hub, monkeypatch):
    """Exit 3 with the server's failure, and the other entries are answered."""
    monkeypatch.setenv("HF_TOKEN", "wrong")
    text = place.entry() + place.entry('"hf://org/name"').replace('name = "own"', 'name = "hub"')
    checked = check(place.policy(text))
    assert (checked.code, reasons(checked)) == (3, ["AddressUnreachable"])
    assert sorted(code for _, _, code in answers_of(checked)) == [0, 3]
    off = check(place.policy(place.entry('"own.onnx", "hf://org/name"', more='mode = "off"')))
    assert off.code == 0


def test_a_repository_without_networks_is_a_question(place, hub):
    """Nothing to check is not a yes."""
    for path in (place.folder / "repository").rglob("*.onnx"):
        path.unlink()
    checked = check(place.policy(place.entry('"hf://org/name"')))
    assert (checked.code, reasons(checked)) == (3, ["AddressUnreachable"])
    assert "no file that ends in .onnx" in checked.answers[0].sentence


def test_addresses_on_the_command_line_are_held_against_the_entries_that_name_them(place, hub):
    """One by one or a whole repository; what no entry names is refused as a file here is."""
    policy = place.policy(place.entry('"hf://org/name/model.onnx"'))
    checked = check(policy, ["hf://org/name"])
    assert answers_of(checked) == [
        ("network own", "hf://org/name@c0ffee/model.onnx", 0),
        ("no entry", "hf://org/name@c0ffee/onnx/other.onnx", 1),
    ]
    assert reasons(checked) == ["NotInPolicy"]
    assert answers_of(check(policy, ["hf://org/name@main/model.onnx"])) == [
        ("network own", "hf://org/name@main/model.onnx", 0)
    ]
    ignoring = place.policy(place.entry('"hf://org/name/model.onnx"'), 'others = "ignore"')
    assert [code for _, _, code in answers_of(check(ignoring, ["hf://org/name"]))] == [0]


def test_the_command_line_takes_an_address_and_shows_no_secret_of_it(place, capsys):
    """A signed address is the one that the policy names; neither its query nor that of a stranger is shown or written."""
    page = place.folder / "a.html"
    with RangeServer(place.folder) as server:
        place.policy(place.entry(f'"{server.url}/own.onnx"'))
        given = [f"{server.url}/{name}.onnx?token=geheim" for name in ("own", "stranger")]
        with pytest.raises(SystemExit) as ended:
            main(["check", *given, "--policy", str(place.folder / "onnxnnw.toml"), "--html", str(page)])
    assert ended.value.code == 1
    shown = capsys.readouterr()
    assert "1 passed, 1 failed" in shown.out
    assert "no entry of the policy names it" in shown.out
    assert "geheim" not in shown.out + shown.err + page.read_text()


def test_what_is_no_address_of_networks_is_wrong_usage(place):
    """Said before anything is asked."""
    policy = place.policy(place.entry())
    for given in ("ftp://host/a.onnx", "s3://bucket", "https://host/a b"):
        with pytest.raises(UsageError):
            check(policy, [given])


def test_a_bundle_may_lie_behind_addresses(place, hub):
    """One file by an entry, one by digest, which is read whole; another tokenizer shuts the gate."""
    content = (place.folder / "repository" / "tokenizer.json").read_bytes()

    def bundle(sha256: str, model: str = "model") -> str:
        return (
            f'[[bundle]]\nname = "b"\nfiles = [{{ path = "hf://org/name/{model}.onnx", network = "own" }}, '
            f'{{ path = "hf://org/name/tokenizer.json", sha256 = "{sha256}" }}]\n'
        )

    right = hashlib.sha256(content).hexdigest()
    checked = check(place.policy(place.entry() + bundle(right)))
    assert answers_of(checked) == [
        ("network own", str(place.folder / "own.onnx"), 0),
        ("bundle b", "hf://org/name/model.onnx", 0),
        ("bundle b", "hf://org/name/tokenizer.json", 0),
    ]
    assert "read whole" in checked.answers[2].notes[0]
    assert reasons(check(place.policy(place.entry() + bundle("0" * 64)))) == ["OtherContent"]
    assert reasons(check(place.policy(place.entry() + bundle(right, "onnx/other")))) == ["NotTraced"]
    gone = check(place.policy(place.entry() + bundle(right, "gone")))
    assert (gone.code, reasons(gone)) == (3, ["AddressUnreachable"])
    touched = check(place.policy(place.entry() + bundle(right)), ["hf://org/name/tokenizer.json"])
    assert [unit for unit, _, _ in answers_of(touched)] == ["bundle b", "bundle b"]
    assert jobs_of(place.policy(place.entry() + bundle(right)), [place.folder / "own.onnx"])[0][-1].bundle == ""


def test_a_digest_behind_an_address_reads_no_more_than_is_allowed(place, hub):
    """A large file is refused before it is read."""
    (place.folder / "repository" / "tokenizer.json").write_bytes(bytes(10 * 2**20))
    sha256 = hashlib.sha256(bytes(10 * 2**20)).hexdigest()
    text = f'[[bundle]]\nname = "b"\nfiles = [{{ path = "hf://org/name/tokenizer.json", sha256 = "{sha256}" }}]\n'
    assert check(place.policy(text)).code == 0
    with limited(Budget(10**6)):
        checked = check(place.policy(text))
    assert (checked.code, reasons(checked)) == (3, ["AddressUnreachable"])


@pytest.mark.parametrize(
    ("path", "more", "said"),
    [
        ("hf://org/name", "", "a bundle names files"),
        ("https://user:pw@host/a", "", "no place for a password"),
        ("https://host/a", 'signed-by = ["k.pub"]', "SHA-256 of the whole file"),
        ("ftp://host/a", "", "no networks are read from"),
    ],
)
def test_addresses_that_a_bundle_cannot_hold_are_refused(place, path, more, said):
    """With the reason."""
    with pytest.raises(UsageError, match=said):
        place.policy(
            place.entry(more=more) + f'[[bundle]]\nname = "b"\nfiles = [{{ path = "{path}", network = "own" }}]\n'
        )


def test_an_address_without_revision_names_every_revision():
    """One with a revision names that one only."""
    assert names("hf://o/n", "hf://o/n@abc/m.onnx")
    assert names("hf://o/n/m.onnx", "hf://o/n@abc/m.onnx")
    assert names("hf://o/n@abc", "hf://o/n@abc/m.onnx")
    assert not names("hf://o/n@abc", "hf://o/n@def/m.onnx")
    assert not names("hf://o/n@abc", "hf://o/n/m.onnx")
    assert not names("hf://o/n", "hf://o/other/m.onnx")
    assert not names("hf://o/n/m.onnx", "hf://o/n/x.onnx")
    assert not names("hf://o/n", "https://o/n/m.onnx")
    assert names("https://host/a?x=1", "https://host/a?y=2")
