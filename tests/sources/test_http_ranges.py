"""Ranges over HTTP: what is read is what is there, every misbehaviour of a server is an error, no secret leaves its server."""

import base64
import contextlib
import itertools
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto

from onnxnnw.enrolment.enrol import fingerprint
from onnxnnw.errors import CannotLook, FileChanged, UnreadableNetwork
from onnxnnw.network_file.file import open_network
from onnxnnw.records.record_file import load_record
from onnxnnw.sources import connections, http_ranges
from onnxnnw.sources.addresses import address_of
from onnxnnw.sources.answers import Refused
from onnxnnw.sources.http_ranges import FIRST, HttpRanges
from onnxnnw.sources.limits import Budget, bytes_of, limited
from onnxnnw.verification.verify import verify
from tests.support.networks import dense, externalise, save
from tests.support.range_server import RangeServer, Reply, Request

CONTENT = np.random.default_rng(0).bytes(3 * 2**20 + 77)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a file of three megabytes."""
    (tmp_path / "m.bin").write_bytes(CONTENT)
    return tmp_path


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses between tries are as short as they can be."""
    monkeypatch.setattr(http_ranges, "_LONGEST_PAUSE", 0.01)
    monkeypatch.setattr(http_ranges, "_PATIENCE_S", 0.02)


def beside(model: ModelProto, folder: Path) -> Path:
    """The network with all of its tensors in one file beside it."""
    return externalise(model, folder, "m.onnx", lambda name: "m.data")


def opened(server: RangeServer, budget: Budget | None = None) -> HttpRanges:
    """The file behind the server."""
    return HttpRanges(address_of(f"{server.url}/m.bin?secret=42"), budget or Budget())


def test_what_is_read_is_what_is_there(folder: Path) -> None:
    """Short ranges, long ones in pieces, overlapping ones; over few connections; and the bytes are counted."""
    ranges = [(5, 6), (0, 1), (2**20 - 3, 2**20 + 3), (100, 3 * 2**20), (len(CONTENT) - 1, len(CONTENT))]
    ranges += [(n * 997, n * 997 + 4) for n in range(200)]
    budget = Budget()
    with RangeServer(folder, 0.001) as server:
        reader = opened(server, budget)
        assert reader.read_many(ranges) == [CONTENT[a:b] for a, b in ranges]
        assert (reader.size, reader.head) == (len(CONTENT), CONTENT[:FIRST])
        reader.close()
        assert server.connections <= connections.CONNECTIONS + 1
        assert (budget.requests, budget.received) == (len(server.requests), server.sent)
        assert all("if-match" in request.headers for request in server.requests[1:])


def test_an_empty_file_is_empty(folder: Path) -> None:
    """No byte can be asked for, and none is missing."""
    (folder / "empty.onnx").write_bytes(b"")
    with RangeServer(folder) as server, pytest.raises(UnreadableNetwork, match="is empty"):
        open_network(f"{server.url}/empty.onnx")


def changed(number: int, **headers: str | None):
    """A server that answers with other headers from one request on; a header of None is not sent."""

    def behave(request: Request, reply: Reply) -> Reply:
        if request.number >= number:
            reply.headers |= {name.replace("_", "-"): value for name, value in headers.items()}  # type: ignore[dict-item]
        return reply

    return behave


def whole(request: Request, reply: Reply) -> Reply:
    """It ignores Range."""
    return Reply(200, {"ETag": '"1"'}, CONTENT)


def other_bytes(request: Request, reply: Reply) -> Reply:
    """It answers with a neighbour's bytes, and says so."""
    if request.number and request.range:
        first, last = request.range
        reply.headers["Content-Range"] = f"bytes {first + 1}-{last + 1}/{len(CONTENT)}"
    return reply


def multipart(request: Request, reply: Reply) -> Reply:
    """It answers in parts."""
    return Reply(206, {"Content-Type": "multipart/byteranges; boundary=x", "ETag": '"1"'}, b"--x\r\n")


def longer(request: Request, reply: Reply) -> Reply:
    """It sends more than it was asked for, without saying how much."""
    return Reply(reply.status, {**reply.headers, "Content-Length": None}, reply.body + b"more", cut=2**30)  # type: ignore[dict-item]


def round_about(request: Request, reply: Reply) -> Reply:
    """It redirects to itself for ever."""
    return Reply(302, {"Location": f"/{request.number}"})


def always(status: int):
    """It answers with one status."""
    return lambda request, reply: Reply(status)


@pytest.mark.parametrize(
    ("behave", "error", "match"),
    [
        (whole, Refused, "ignores Range"),
        (changed(0, Content_Range="bytes 0-9/*"), Refused, "does not say which bytes"),
        (changed(0, Content_Range="pages 1-2/3"), Refused, "does not say which bytes"),
        (changed(0, Content_Range=None), Refused, "does not say which bytes"),
        (changed(0, Content_Range="bytes 7-65542/3145805"), Refused, "other bytes"),
        (changed(0, ETag=None), Refused, "neither ETag nor Last-Modified"),
        (changed(0, Content_Encoding="gzip"), Refused, "compresses"),
        (changed(1, Content_Encoding="gzip"), Refused, "compresses"),
        (changed(1, ETag='"other"'), FileChanged, "changed while"),
        (changed(1, ETag=None), FileChanged, "changed while"),
        (changed(1, **{"x_amz_version_id": "two"}), FileChanged, "changed while"),
        (changed(1, Content_Range="bytes 5-8/99"), FileChanged, "changed while"),
        (changed(1, Content_Length="3", Content_Range=f"bytes 70000-70003/{len(CONTENT)}"), Refused, "contradict"),
        (other_bytes, Refused, "other bytes"),
        (multipart, Refused, "does not say which bytes"),
        (longer, Refused, "more than was asked"),
        (round_about, Refused, "redirects more than"),
        (always(404), Refused, "no such file"),
        (always(401), Refused, "does not allow it"),
        (always(403), Refused, "does not allow it"),
        (always(412), FileChanged, "changed while"),
        (always(429), Refused, "429"),
        (always(503), Refused, "503"),
        (always(418), Refused, "418"),
        (lambda request, reply: Reply(302, {"Location": "ftp://elsewhere/"}), Refused, "no web address"),
        (lambda request, reply: Reply(206, reply.headers, reply.body, cut=0), Refused, "broken off|ended early"),
        (lambda request, reply: Reply(206, reply.headers, reply.body, cut=3), Refused, "broken off|ended early"),
    ],
    ids=itertools.count(),
)
def test_a_server_that_misbehaves_is_an_error(folder: Path, behave, error: type[CannotLook], match: str) -> None:
    """Clear, and without the address's query; bounded in bytes and requests."""
    budget = Budget()
    with RangeServer(folder, behave=behave) as server:
        with pytest.raises(error, match=match) as caught:
            opened(server, budget).read_many([(70000, 70004)])
        assert "secret" not in str(caught.value)
        assert type(caught.value) in (Refused, FileChanged)
        assert budget.requests <= 12
        assert budget.received <= 5 * FIRST


@pytest.mark.parametrize("status", [403, 408, 429, 500, 502, 503, 504])
def test_a_tired_server_is_asked_again(folder: Path, status: int) -> None:
    """Every other answer is a refusal, with and without a time to wait."""
    headers = {"Retry-After": "1"} if status == 429 else {}

    def behave(request: Request, reply: Reply) -> Reply:
        return Reply(status, headers) if request.number % 2 == 0 else reply

    with RangeServer(folder, behave=behave) as server:
        assert opened(server).read_many([(9, 12)]) == [CONTENT[9:12]]


def test_a_broken_answer_is_asked_for_again(folder: Path) -> None:
    """A connection that ends early costs a further request, and its bytes."""

    def behave(request: Request, reply: Reply) -> Reply:
        return Reply(206, reply.headers, reply.body, cut=1) if request.number in (1, 2) else reply

    with RangeServer(folder, behave=behave) as server:
        assert opened(server).read_many([(9, 12)]) == [CONTENT[9:12]]
        assert len(server.requests) == 4


def test_a_slow_server_is_given_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounded time."""
    monkeypatch.setattr(connections, "_READ_S", 0.05)
    start = time.monotonic()
    with (
        RangeServer(folder, behave=lambda request, reply: Reply(206, reply.headers, reply.body, wait=1.0)) as server,
        pytest.raises(Refused, match="too slow"),
    ):
        opened(server)
    assert time.monotonic() - start < 60


def test_credentials_go_to_their_server_only(folder: Path, tmp_path: Path) -> None:
    """Not along a redirect to a store; what is signed is kept, and asked for anew once it has expired."""
    seen: list[str] = []

    def store(request: Request, reply: Reply) -> Reply:
        seen.append(request.target)
        assert "authorization" not in request.headers
        if request.target.endswith("signature=0") and len(seen) > 3:
            return Reply(403)
        return reply

    with RangeServer(folder, behave=store) as behind:
        signed = iter(range(100))

        def hub(request: Request, reply: Reply) -> Reply:
            wanted = "Basic " + base64.b64encode(b"ann:pass word").decode()
            if request.headers.get("authorization") != wanted:
                return Reply(401)
            return Reply(302, {"Location": f"{behind.url}/m.bin?signature={next(signed)}"})

        with RangeServer(folder, behave=hub) as front:
            address = address_of(front.url.replace("://", "://ann:pass%20word@") + "/m.bin")
            reader = HttpRanges(address, Budget())
            for n in range(6):
                assert reader.read_many([(n, n + 2)]) == [CONTENT[n : n + 2]]
            assert len(front.requests) == 2
            assert {target.partition("=")[2] for target in seen} == {"0", "1"}
            assert not [word for word in ("ann", "pass") if word in f"{address} {address!r} {reader.address!r}"]


def test_https_does_not_become_http(folder: Path) -> None:
    """A redirect that would send everything in clear text is not followed."""
    with pytest.raises(Refused, match="from https to http"):
        http_ranges._redirected("https://a/b", "http://a/b", "shown")
    assert http_ranges._redirected("https://a/b", "//u:p@c/d?x=1#f", "shown") == "https://c/d?x=1"


@pytest.mark.parametrize("at", [0, 1, 7])
def test_a_file_that_changes_is_noticed(folder: Path, at: int) -> None:
    """Whenever it does, after the first answer: the server is asked for the version that was pinned."""

    def behave(request: Request, reply: Reply) -> Reply:
        if request.number == at:
            (folder / "m.bin").write_bytes(CONTENT[::-1])
        return reply

    with RangeServer(folder, behave=behave) as server:
        reader = opened(server)
        with pytest.raises(FileChanged, match="changed while it was read"):
            [reader.read_many([(n, n + 2)]) for n in range(9)]


def test_no_more_is_read_than_allowed(folder: Path) -> None:
    """Asked before each request, so nothing is read that is too much."""
    budget = Budget(max_bytes=200_000)
    with RangeServer(folder) as server:
        reader = opened(server, budget)
        with pytest.raises(CannotLook, match="--max-download"):
            reader.read_many([(0, 2**20)])
        assert server.sent <= 200_000
    assert [bytes_of(text) for text in ("7", "2KB", "1 MiB", "3gib")] == [7, 2000, 2**20, 3 * 2**30]


@pytest.mark.parametrize("external", [False, True], ids=["embedded", "external"])
def test_a_remote_network_gets_the_verdict_of_its_copy_here(tmp_path: Path, external: bool) -> None:
    """Word for word, whether weights lie in the file or beside it; and most of the file is never read.

    Only what is explained is less: each anchor there is a request, so fewer are read.
    """
    model = dense(4, 600)
    path = beside(model, tmp_path) if external else save(model, tmp_path / "m.onnx")
    fingerprint(path, tmp_path / "r.record", 64)
    record = load_record(tmp_path / "r.record")
    with RangeServer(tmp_path) as server, limited(Budget()) as budget:
        (there,) = verify(f"{server.url}/m.onnx", [record])
        here = verify(path, [record])[0]
        assert replace(there, explained=here.explained, account=here.account) == here
        assert 0.9 < there.explained < here.explained
        assert there.decision == "traced"
        assert budget.received < 4 * 600 * 600 * 4 / 2


def test_external_data_of_a_remote_network_lies_beside_it(tmp_path: Path) -> None:
    """Never anywhere else, whatever the file says."""
    folder = tmp_path / "deep" / "model"
    folder.mkdir(parents=True)
    beside(dense(1, 64), folder)
    with RangeServer(tmp_path) as server:
        with open_network(f"{server.url}/deep/model/m.onnx") as network:
            network.tensor(network.model.graph.initializer[0])
        assert {Path(request.path).parent for request in server.requests} == {Path("/deep/model")}


def test_writing_takes_a_file_on_this_disk(folder: Path, tmp_path: Path) -> None:
    """An address is only read."""
    save(dense(), folder / "n.onnx")
    with (
        RangeServer(folder) as server,
        open_network(f"{server.url}/n.onnx", for_writing=True) as network,
        pytest.raises(CannotLook, match="download it first"),
    ):
        network.file  # noqa: B018


@pytest.mark.parametrize("seed", range(40))
def test_random_answers_are_errors_or_the_truth(folder: Path, seed: int) -> None:
    """Statuses, headers and bodies drawn at random: what is returned is what is there, and little is read."""
    rng = np.random.default_rng(seed)
    size = len(CONTENT)
    ranges = [
        "bytes 0-65535/{}",
        "bytes 9-11/{}",
        "bytes 9-11/1",
        "bytes 11-9/{}",
        "bytes=9-11/{}",
        "bytes */{}",
        "",
        "\x00",
    ]

    def pick(values: list[str]) -> str:
        return values[int(rng.integers(len(values)))]

    def behave(request: Request, reply: Reply) -> Reply:
        if rng.random() < 0.4:
            return reply
        reply.status = int(rng.choice([200, 204, 206, 206, 206, 301, 304, 400, 416, 503]))
        if rng.random() < 0.5:
            reply.headers["Content-Range"] = pick(ranges).format(size)
        if rng.random() < 0.3:
            reply.headers["ETag"] = pick(['"1"', 'W/"1"', "", "x" * 5000])
        if rng.random() < 0.2:
            reply.headers["Location"] = pick(["/m.bin", "//", "http://[", "https://127.0.0.1:1/", "data:,x"])
        if rng.random() < 0.3:
            reply.cut = int(rng.integers(len(reply.body) + 1))
        if rng.random() < 0.2:
            reply.headers["Content-Length"] = pick(["3", "-1", "99999999999", "x", ""])
            reply.cut = len(reply.body)
        return reply

    budget = Budget()
    with RangeServer(folder, behave=behave) as server, contextlib.suppress(CannotLook):
        found = opened(server, budget).read_many([(9, 12), (100_000, 100_020)])
        assert found == [CONTENT[9:12], CONTENT[100_000:100_020]]
    assert budget.received <= 12 * FIRST
    assert budget.requests <= 60
