"""S3 and its kin, Azure, Google: addresses, signatures, and a real S3 server; credentials are never shown."""

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from onnxnnw.cli import main
from onnxnnw.enrolment.enrol import fingerprint
from onnxnnw.errors import FileChanged, UsageError
from onnxnnw.network_file.file import open_network
from onnxnnw.records.record_file import load_record
from onnxnnw.sources.addresses import address_of, is_address
from onnxnnw.sources.answers import Refused
from onnxnnw.sources.signing import AwsCredentials, signed_headers
from onnxnnw.verification.verify import verify
from tests.support.networks import dense, save
from tests.support.range_server import RangeServer, Reply, Request

SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"


@pytest.fixture(autouse=True)
def no_accounts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The environment says nothing of anybody's accounts."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "AZURE_", "GOOGLE_", "CLOUDSDK_", "HF_", "STORAGE_", "HUGGING_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))


def test_a_signature_is_that_of_the_published_example() -> None:
    """The GET of an object with a range in the service's own documentation, without the range among what is signed."""
    keys = AwsCredentials("AKIAIOSFODNN7EXAMPLE", SECRET)
    when = datetime(2013, 5, 24, tzinfo=UTC)
    found = signed_headers("https://examplebucket.s3.amazonaws.com/?lifecycle", keys, "us-east-1", now=when)
    expected = "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"
    assert found["Authorization"].endswith("Signature=" + expected)
    assert found["x-amz-date"] == "20130524T000000Z"


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("s3://bucket/a b/ü.onnx", None),
        ("s3://bucket/a%20b/%C3%BC.onnx", "https://bucket.s3.us-east-1.amazonaws.com/a%20b/%C3%BC.onnx"),
        ("s3://my.bucket/m.onnx", "https://s3.us-east-1.amazonaws.com/my.bucket/m.onnx"),
        ("gs://bucket/m.onnx", "https://storage.googleapis.com/bucket/m.onnx"),
        ("az://box/deep/m.onnx", "https://acc.blob.core.windows.net/box/deep/m.onnx?sv=1&sig=hidden"),
        ("hf://org/name/onnx/m.onnx", "https://huggingface.co/org/name/resolve/main/onnx/m.onnx"),
        ("hf://org/name@v1/m.onnx", "https://huggingface.co/org/name/resolve/v1/m.onnx"),
        ("https://ann:word@host:99/m.onnx?sig=hidden#x", "https://host:99/m.onnx?sig=hidden"),
    ],
)
def test_an_address_becomes_a_request(text: str, url: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what is shown of it has neither query nor credentials."""
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "acc")
    monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", "?sv=1&sig=hidden")
    if url is None:
        with pytest.raises(UsageError, match="no spaces"):
            address_of(text)
        return
    found = address_of(text)
    assert found.url == url
    assert not [word for word in ("hidden", "word", "ann", "?") if word in f"{found} {found!r}"]
    assert found.headers("https://elsewhere/") == {}


@pytest.mark.parametrize(
    "text", ["ftp://a/b", "s3://bucket", "s3:///key", "https:///m", "hf://org", "hf://org/name/../x", "s3://b/k?acl"]
)
def test_other_addresses_are_refused(text: str) -> None:
    """Wrong usage, with the form that was wanted."""
    with pytest.raises(UsageError, match=r"wanted|there are|no host|no query|repository"):
        address_of(text)


def test_a_file_named_like_an_address_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is on this disk is never looked for elsewhere."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s3:").mkdir()
    save(dense(), tmp_path / "s3:" / "m.onnx")
    assert not is_address("s3://m.onnx")
    open_network("s3://m.onnx").close()


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, object]]:
    """A server that speaks S3, in a process of its own, and a client of it."""
    boto3 = pytest.importorskip("boto3")
    code = (
        "import sys\nfrom moto.server import ThreadedMotoServer\ns = ThreadedMotoServer(port=0, verbose=False)\n"
        "s.start()\nprint(s.get_host_and_port()[1], flush=True)\nsys.stdin.read()\ns.stop()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        url = f"http://127.0.0.1:{process.stdout.readline().strip()}"
        keys = {"aws_access_key_id": "key", "aws_secret_access_key": SECRET, "region_name": "us-east-1"}
        yield url, boto3.client("s3", endpoint_url=url, **keys)
        process.stdin.close()


def test_s3_serves_what_was_put_there(s3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """Verified from the bucket, with keys that nobody sees; a version that was replaced can still be named."""
    url, client = s3
    path = save(dense(2, 128), tmp_path / "m.onnx")
    fingerprint(path, tmp_path / "r.record", 400)
    client.create_bucket(Bucket="nets")
    client.put_bucket_versioning(Bucket="nets", VersioningConfiguration={"Status": "Enabled"})
    version = client.put_object(Bucket="nets", Key="a b/m.onnx", Body=path.read_bytes())["VersionId"]
    client.put_object(Bucket="nets", Key="a b/m.onnx", Body=b"another")
    for name, value in (("AWS_ENDPOINT_URL", url), ("AWS_ACCESS_KEY_ID", "key"), ("AWS_SECRET_ACCESS_KEY", SECRET)):
        monkeypatch.setenv(name, value)
    address = f"s3://nets/a%20b/m.onnx?versionId={version}"
    assert verify(address, [load_record(tmp_path / "r.record")])[0].decision == "traced"
    with pytest.raises(SystemExit) as end:
        main(["verify", address, "--record", str(tmp_path / "r.record"), "--json"])
    said = capsys.readouterr()
    assert end.value.code == 0
    assert "requests" in said.err
    assert not [word for word in (SECRET, "Signature", "versionId") if word in said.out + said.err]
    with pytest.raises(Refused, match="no such file"):
        open_network("s3://nets/none.onnx")


def test_tokens_are_sent_where_they_belong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Google's and Azure's, from the environment; their servers are stood in for by one that looks at headers."""
    save(dense(), tmp_path / "m.onnx")
    (tmp_path / "box").mkdir()
    save(dense(), tmp_path / "box" / "m.onnx")

    def behave(request: Request, reply: Reply) -> Reply:
        return reply if request.headers.get("authorization") == "Bearer T0KEN" else Reply(401)

    with RangeServer(tmp_path, behave=behave) as server:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
        monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", server.url)
        for address, name in (
            ("gs://box/m.onnx", "GOOGLE_OAUTH_ACCESS_TOKEN"),
            ("az://box/m.onnx", "AZURE_STORAGE_TOKEN"),
        ):
            with pytest.raises(Refused, match="credentials are missing"):
                open_network(address)
            monkeypatch.setenv(name, "T0KEN")
            open_network(address).close()
        assert server.requests[-1].headers["x-ms-version"]


def hub_of(folder: Path, store: RangeServer, moved: bool = False):
    """A hub that lists a repository, names its commit, and redirects to a signed address of a store."""
    import hashlib
    import json

    def behave(request: Request, reply: Reply) -> Reply:
        if request.headers.get("authorization") != "Bearer hf_T0KEN":
            return Reply(401)
        if request.path.startswith("/api/models/org/name/revision/"):
            files = [{"rfilename": str(path.relative_to(folder))} for path in sorted(folder.rglob("*.*"))]
            return Reply(200, {}, json.dumps({"sha": "c0ffee", "siblings": files}).encode())
        if not request.path.startswith(("/org/name/resolve/c0ffee/", "/org/name/resolve/main/")):
            return Reply(404)
        name = request.path.split("/", 5)[5]
        if not (folder / name).is_file():
            return Reply(404)
        content = (folder / name).read_bytes()
        linked = {"X-Linked-Etag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": "c0ffee"}
        size = len(content) + moved
        return Reply(302, {"Location": f"{store.url}/{name}?sig=secret", "X-Linked-Size": str(size), **linked})

    return behave


def test_a_repository_of_the_hub_is_looked_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """All of its ONNX files or the one that is chosen, at one commit; the token goes to the hub and not to the store."""
    folder = tmp_path / "repository"
    (folder / "onnx").mkdir(parents=True)
    path = save(dense(2, 128), folder / "model.onnx")
    save(dense(2, 128, seed=5), folder / "onnx" / "other.onnx")
    fingerprint(path, tmp_path / "r.record", 200)
    monkeypatch.setenv("HF_TOKEN", "hf_T0KEN")

    def anonymous(request: Request, reply: Reply) -> Reply:
        return Reply(500) if "authorization" in request.headers else reply

    def look(*arguments: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as end:
            main(["verify", *arguments, "--record", str(tmp_path / "r.record")])
        said = capsys.readouterr()
        assert "T0KEN" not in said.out + said.err
        assert "secret" not in said.out + said.err
        return int(end.value.code or 0), said.out + said.err

    with RangeServer(folder, behave=anonymous) as store, RangeServer(folder, behave=hub_of(folder, store)) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        code, text = look("hf://org/name")
        assert code == 1
        assert "traced  hf://org/name@c0ffee/model.onnx" in text
        assert "not traced  hf://org/name@c0ffee/onnx/other.onnx" in text
        assert look("hf://org/name", "--file", "model.onnx")[0] == 0
        assert look("hf://org/name/model.onnx")[0] == 0
        assert look("hf://org/name", "--file", "no.onnx") == (2, look("hf://org/name", "--file", "no.onnx")[1])
        assert look("hf://org/name/no.onnx")[0] == 3
        monkeypatch.setenv("HF_TOKEN", "wrong")
        assert look("hf://org/name/model.onnx")[0] == 3


def test_what_the_hub_announces_is_what_the_store_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another size is another file, before anything is read of it."""
    save(dense(), tmp_path / "m.onnx")
    monkeypatch.setenv("HF_TOKEN", "hf_T0KEN")
    with RangeServer(tmp_path) as store, RangeServer(tmp_path, behave=hub_of(tmp_path, store, moved=True)) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        with pytest.raises(FileChanged, match="announces"):
            open_network("hf://org/name/m.onnx")
