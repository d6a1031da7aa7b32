"""The cache of the hub's own tools: read where it has what the hub names now, said so, and never followed elsewhere."""

import hashlib
import os
from pathlib import Path

import pytest

from onnxnnw.cli import main
from onnxnnw.enrolment.enrol import fingerprint
from onnxnnw.errors import FileChanged
from onnxnnw.network_file.file import open_network
from onnxnnw.records.record_file import load_record
from onnxnnw.sources.answers import Refused
from onnxnnw.sources.limits import Budget, limited
from onnxnnw.verification.verify import verify
from tests.sources.test_object_stores import hub_of
from tests.support.networks import dense, externalise, save
from tests.support.range_server import RangeServer, Reply, Request

COMMIT, OLDER = "c0ffee", "0ddc0de"


@pytest.fixture(autouse=True)
def no_accounts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The environment says nothing of anybody's hub but where this test's cache is."""
    for name in list(os.environ):
        if name.startswith(("HF_", "HUGGING_", "XDG_CACHE")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_TOKEN", "hf_T0KEN")


def kept(cache: Path, source: Path, name: str, commit: str = COMMIT, links: bool = True) -> Path:
    """A file as the hub's tools keep it: content by its digest, a commit's names as links to it."""
    folder = cache / "models--org--name"
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    place, blob = folder / "snapshots" / commit / name, folder / "blobs" / digest
    for each in (place, blob, folder / "refs" / "main"):
        each.parent.mkdir(parents=True, exist_ok=True)
    (folder / "refs" / "main").write_text(commit)
    if links:
        blob.write_bytes(source.read_bytes())
        place.symlink_to(Path(*[".."] * (len(Path(name).parts) + 1), "blobs", digest))
        return blob
    place.write_bytes(source.read_bytes())
    return place


def looked(address: str, record: Path) -> tuple[str, Budget]:
    with limited(Budget()) as budget:
        (verdict,) = verify(address, [load_record(record)])
    return verdict.decision, budget


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A repository with one network and its record, its store and its hub."""
    folder = tmp_path / "repository"
    (folder / "onnx").mkdir(parents=True)
    save(dense(2, 192), folder / "onnx" / "model.onnx")
    fingerprint(folder / "onnx" / "model.onnx", tmp_path / "r.record", 200)
    with RangeServer(folder) as store, RangeServer(folder, behave=hub_of(folder, store)) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield folder, store, server


ADDRESS = "hf://org/name/onnx/model.onnx"


@pytest.mark.parametrize("links", [True, False], ids=["links", "files"])
@pytest.mark.parametrize("address", [ADDRESS, f"hf://org/name@{COMMIT}/onnx/model.onnx"])
def test_what_the_hub_names_is_read_from_this_disk(address, links, hub, tmp_path):
    """One question to the hub, none to its store; the output says where it was read, and for what."""
    folder, store, server = hub
    place = kept(tmp_path / "cache", folder / "onnx" / "model.onnx", "onnx/model.onnx", links=links)
    decision, budget = looked(address, tmp_path / "r.record")
    assert decision == "traced"
    assert (store.requests, budget.received) == ([], 0)
    assert {request.headers.get("range") for request in server.requests} == {"bytes=0-0"}
    (said,) = budget.said
    assert said.startswith(f"{address} is read from {place}: the hub names this content")
    assert "not hashed anew" in said


def test_another_commit_with_the_same_content_is_as_good(hub, tmp_path):
    """Contents are named by their digest."""
    folder, store, _ = hub
    kept(tmp_path / "cache", folder / "onnx" / "model.onnx", "onnx/model.onnx", commit=OLDER)
    assert looked(ADDRESS, tmp_path / "r.record")[0] == "traced"
    assert store.requests == []


@pytest.mark.parametrize("links", [True, False], ids=["links", "files"])
def test_an_older_version_is_not_read_and_that_is_said(links, hub, tmp_path):
    """The hub's own file is, by range."""
    _, store, _ = hub
    other = save(dense(2, 192, seed=7), tmp_path / "other.onnx")
    kept(tmp_path / "cache", other, "onnx/model.onnx", commit=OLDER, links=links)
    decision, budget = looked(ADDRESS, tmp_path / "r.record")
    assert decision == "traced"
    assert store.requests
    assert "holds another version of it" in budget.said[0]


def test_a_file_that_is_not_in_the_cache_costs_no_question(hub, tmp_path):
    """Another file of the repository is."""
    _, _, server = hub
    other = save(dense(), tmp_path / "other.onnx")
    kept(tmp_path / "cache", other, "other.onnx")
    decision, budget = looked(ADDRESS, tmp_path / "r.record")
    assert (decision, budget.said) == ("traced", [])
    assert all(request.headers.get("range") != "bytes=0-0" for request in server.requests)


def test_a_content_of_another_size_is_not_taken_for_it(hub, tmp_path):
    """Whatever it is called: a download that broke off, for one."""
    folder, store, _ = hub
    blob = kept(tmp_path / "cache", folder / "onnx" / "model.onnx", "onnx/model.onnx")
    blob.write_bytes(blob.read_bytes()[:-1])
    assert looked(ADDRESS, tmp_path / "r.record")[0] == "traced"
    assert store.requests


def test_a_link_out_of_the_repository_is_not_followed(hub, tmp_path):
    """Somebody who writes into a cache shows no other file."""
    folder, store, _ = hub
    blob = kept(tmp_path / "cache", folder / "onnx" / "model.onnx", "onnx/model.onnx")
    blob.unlink()
    blob.symlink_to(folder / "onnx" / "model.onnx")
    looked(ADDRESS, tmp_path / "r.record")
    assert store.requests


def test_external_data_is_taken_from_where_each_file_lies(tmp_path, monkeypatch):
    """The model here and its weights at the store, or both here."""
    folder = tmp_path / "repository"
    folder.mkdir()
    path = externalise(dense(2, 192), folder, "model.onnx", lambda name: "w.bin")
    fingerprint(path, tmp_path / "r.record", 200)
    with RangeServer(folder) as store, RangeServer(folder, behave=hub_of(folder, store)) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        kept(tmp_path / "cache", path, "model.onnx")
        assert looked("hf://org/name/model.onnx", tmp_path / "r.record")[0] == "traced"
        assert {request.path for request in store.requests} == {"/w.bin"}
        count = len(store.requests)
        kept(tmp_path / "cache", folder / "w.bin", "w.bin")
        decision, budget = looked("hf://org/name/model.onnx", tmp_path / "r.record")
        assert (decision, len(store.requests), len(budget.said)) == ("traced", count, 2)


def test_offline_the_cache_is_all_there_is(hub, tmp_path, monkeypatch, capsys):
    """Files and repositories by what the cache takes a revision for; nobody is asked, and that is said."""
    folder, store, server = hub
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    record = tmp_path / "r.record"
    with pytest.raises(Refused, match="does not hold this file"):
        looked(ADDRESS, record)
    kept(tmp_path / "cache", folder / "onnx" / "model.onnx", "onnx/model.onnx")
    for address in (ADDRESS, "hf://org/name", f"hf://org/name@{COMMIT}"):
        with pytest.raises(SystemExit) as end:
            main(["verify", address, "--record", str(record)])
        said = capsys.readouterr()
        assert end.value.code in (0, None), said.err
        assert "the hub was not asked (HF_HUB_OFFLINE)" in said.err
        assert "hf://org/name" in said.out
    with pytest.raises(Refused, match="does not hold"):
        looked("hf://org/name@v2/onnx/model.onnx", record)
    assert store.requests + server.requests == []


def test_a_hub_that_does_not_answer_is_no_answer(tmp_path, monkeypatch):
    """The cache is not taken for what the hub has; how to look at it alone is said."""
    path = save(dense(), tmp_path / "m.onnx")
    kept(tmp_path / "cache", path, "m.onnx")
    with RangeServer(tmp_path, behave=lambda request, reply: Reply(404)) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        with pytest.raises(Refused, match=r"404.*HF_HUB_OFFLINE=1"):
            open_network("hf://org/name/m.onnx")


def test_a_redirect_within_the_hub_is_followed(tmp_path, monkeypatch):
    """Small files, and repositories that were renamed; their content's name comes with the last answer."""
    path = save(dense(), tmp_path / "m.onnx")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()

    def behave(request: Request, reply: Reply) -> Reply:
        if request.path.startswith("/org/name/resolve/"):
            return Reply(307, {"Location": "/cached/m.onnx", "X-Repo-Commit": COMMIT})
        reply = Reply(206, {"ETag": f'W/"{digest}"', "Content-Range": f"bytes 0-0/{path.stat().st_size}"}, b"x")
        return reply if request.path == "/cached/m.onnx" else Reply(404)

    place = kept(tmp_path / "cache", path, "m.onnx")
    with RangeServer(tmp_path, behave=behave) as server, limited(Budget()) as budget:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        open_network("hf://org/name/m.onnx").close()
        assert str(place) in budget.said[0]


def test_a_cached_file_that_changes_is_noticed(hub, tmp_path):
    """As any file on this disk."""
    folder, _, _ = hub
    blob = kept(tmp_path / "cache", folder / "onnx" / "model.onnx", "onnx/model.onnx")
    with open_network(ADDRESS) as network:
        assert not network.sources[0].is_remote
        network.check_unchanged()
        os.utime(blob, ns=(1, 1))
        with pytest.raises(FileChanged):
            network.check_unchanged()


def test_a_cache_that_the_hubs_own_library_wrote_is_read(hub, tmp_path):
    """Downloaded by it from this test's hub."""
    library = pytest.importorskip("huggingface_hub")
    _, store, server = hub
    place = library.hf_hub_download(
        "org/name", "onnx/model.onnx", cache_dir=tmp_path / "cache", endpoint=server.url, token="hf_T0KEN"
    )
    count = len(store.requests)
    decision, budget = looked(ADDRESS, tmp_path / "r.record")
    assert (decision, len(store.requests)) == ("traced", count)
    assert str(Path(place).resolve()) in budget.said[0]
