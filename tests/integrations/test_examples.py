"""The examples of docs/guide/examples are run: MLflow with a store in a folder, a hub on this machine, a manifest read."""

import hashlib
import importlib.util
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType

import pytest
import typer

import onnxnnw
from onnxnnw.cli.entry import build_app

EXAMPLES = Path(__file__).parents[2] / "docs" / "guide" / "examples"


def example(name: str) -> ModuleType:
    """A script of the examples as a module."""
    found = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_mlflow_registers_what_is_traced_and_keeps_every_verdict(enrolled, tmp_path, monkeypatch):
    """A marked network becomes version 1; another one is logged with its verdict and not registered."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow = pytest.importorskip("mlflow")
    mlflow.set_tracking_uri((tmp_path / "store").as_uri())
    gate = example("mlflow_gate")
    assert gate.register_verified(enrolled.marked, enrolled.record, "net") == "1"
    assert gate.register_verified(enrolled.original, enrolled.record, "net") is None
    client = mlflow.MlflowClient()
    (version,) = client.search_model_versions("name='net'")
    assert version.tags == {"onnxnnw.decision": "traced"}
    (yes,), (no,) = (
        client.search_runs(["0"], f"tags.`onnxnnw.decision` = '{decision}'") for decision in ("traced", "not traced")
    )
    assert version.run_id == yes.info.run_id
    verdicts = [json.loads(path.read_text()) for path in tmp_path.rglob("verdict.json")]
    assert {verdict["decision"] for verdict in verdicts} == {"traced", "not traced"}
    assert no.data.tags["onnxnnw.commitment"] == onnxnnw.load_record(enrolled.record).commitment
    with pytest.raises(onnxnnw.TraceabilityError):
        gate.register_verified(enrolled.record, enrolled.record, "net")
    assert len(client.search_runs(["0"])) == 2


COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub(enrolled) -> Iterator[str]:
    """The address of a hub with two repositories: one of ours, and one in which a network of others lies beside ours."""
    ours, other = enrolled.marked.read_bytes(), enrolled.original.read_bytes()
    repositories = {
        "acme/ours": {"net.onnx": ours, "deep/same.onnx": ours, "weights.bin": b"not wanted"},
        "acme/mixed": {"net.onnx": ours, "other.onnx": other},
        "acme/empty": {"readme.txt": b"nothing"},
    }

    class Hub(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self, content: bytes, **headers: str) -> None:
            self.send_response(200)
            for name, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        def do_GET(self) -> None:
            path = self.path.partition("?")[0].strip("/")
            for name, files in repositories.items():
                if path.startswith(f"api/models/{name}/tree/"):
                    listed = [{"type": "file", "path": p, "size": len(c), "oid": "0" * 40} for p, c in files.items()]
                    return self.answer(json.dumps(listed).encode(), Content_Type="application/json")
                if path.startswith(f"api/models/{name}"):
                    siblings = [{"rfilename": file} for file in files]
                    body = {
                        "id": name,
                        "modelId": name,
                        "sha": COMMIT,
                        "siblings": siblings,
                        "private": False,
                        "tags": [],
                        "downloads": 0,
                    }
                    return self.answer(json.dumps(body).encode(), Content_Type="application/json")
                start = f"{name}/resolve/{COMMIT}/"
                if path.startswith(start) and (content := files.get(path.removeprefix(start))) is not None:
                    tag = hashlib.sha256(content).hexdigest()
                    return self.answer(content, ETag=f'"{tag}"', X_Repo_Commit=COMMIT, Accept_Ranges="bytes")
            self.send_error(404)
            return None

        do_HEAD = do_GET  # noqa: N815 - the name is http.server's

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.mark.slow
def test_networks_of_a_hub_are_kept_where_all_are_ours(hub, enrolled, tmp_path, monkeypatch):
    """Nothing appears where one is not, and nothing that was not asked for is downloaded."""
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_ENDPOINT", hub)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    hub_client = pytest.importorskip("huggingface_hub")
    gate = example("huggingface_gate")
    monkeypatch.setattr(gate, "snapshot_download", lambda *a, **k: hub_client.snapshot_download(*a, **k, endpoint=hub))
    verdicts = gate.fetch_verified("acme/ours", COMMIT, enrolled.record, tmp_path / "ours")
    assert {name: verdict.decision for name, verdict in verdicts.items()} == {
        "net.onnx": "traced",
        "deep/same.onnx": "traced",
    }
    kept = {str(path.relative_to(tmp_path / "ours")) for path in (tmp_path / "ours").rglob("*") if path.is_file()}
    assert kept == {"net.onnx", "deep/same.onnx"}
    verdicts = gate.fetch_verified("acme/mixed", COMMIT, enrolled.record, tmp_path / "mixed")
    assert verdicts["other.onnx"].decision == "not traced"
    assert not (tmp_path / "mixed").exists()
    assert gate.fetch_verified("acme/empty", COMMIT, enrolled.record, tmp_path / "empty") == {}
    with pytest.raises(ValueError, match="whole commit"):
        gate.fetch_verified("acme/ours", "main", enrolled.record, tmp_path / "branch")
    left = {path.name for path in tmp_path.iterdir()} - {"home"}
    assert left == {"ours"}


def test_the_init_container_asks_what_it_should():
    """The manifest is YAML, its arguments are ones that the command takes, and the container may do next to nothing."""
    yaml = pytest.importorskip("yaml")
    pod = yaml.safe_load((EXAMPLES / "kubernetes.yaml").read_text())["spec"]["template"]["spec"]
    (container,) = pod["initContainers"]
    name, *arguments = container["args"]
    command = typer.main.get_command(build_app()).commands[name]
    given = command.make_context(name, arguments).params
    assert (given["require"], given["min_explained"]) == ("traced", 0.95)
    mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
    assert all(mount["readOnly"] for mount in mounts.values())
    assert mounts.keys() == {volume["name"] for volume in pod["volumes"]}
    served = pod["containers"][0]["volumeMounts"]
    assert mounts["network"] in served, "what is served is what was verified"
    rights = container["securityContext"]
    assert (rights["readOnlyRootFilesystem"], rights["allowPrivilegeEscalation"]) == (True, False)
    assert rights["capabilities"] == {"drop": ["ALL"]}
    assert pod["securityContext"]["runAsNonRoot"]
