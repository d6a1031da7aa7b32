"""Repositories of a model hub: which networks lie there, and a commit that does not move while they are looked at."""

import json
import os
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote

from onnxnnw.errors import UsageError
from onnxnnw.sources.addresses import Address, hub_parts, hub_token
from onnxnnw.sources.answers import Refused
from onnxnnw.sources.http_ranges import ask_json
from onnxnnw.sources.hub_cache import cached_commit, is_offline, repository_folder
from onnxnnw.sources.limits import Budget, budget

__all__ = ["ENDINGS", "networks_of"]

ENDINGS = (".onnx", ".ort", ".safetensors", ".gguf")
"""Of these, in this order, the first kind that a repository has is looked at."""
_MAX_FILES = 10_000


@dataclass(frozen=True)
class _Repository:
    """Where a repository's interface answers."""

    base: str
    owner: str
    name: str

    def ask(self, path: str, allowed: Budget) -> Any:
        url = f"{self.base}/api/models/{quote(self.owner, safe='')}/{quote(self.name, safe='')}/{path}"
        try:
            return json.loads(ask_json(Address(f"hf://{self.owner}/{self.name}", url, hub_token), allowed))
        except (ValueError, RecursionError):
            raise Refused(f"hf://{self.owner}/{self.name}: the hub's answer is no JSON") from None


def networks_of(text: str, chosen: str = "") -> list[str]:
    """Addresses of the networks in a repository, all at one commit.

    Args:
        text: ``hf://owner/name[@revision]``.
        chosen: The one file that is meant.

    Raises:
        UsageError: There is no such file; the message lists those there are.
        CannotLook: The hub does not answer, or not as a hub does.
    """
    owner, name, revision, _ = hub_parts(text)
    commit, files = _offline(owner, name, revision) if is_offline() else _online(owner, name, revision)
    files = sorted(file for file in files if ".." not in file.split("/"))
    kinds = ([file for file in files if file.endswith(ending)] for ending in ENDINGS)
    found = next((kind for kind in kinds if kind), [])
    if chosen:
        if chosen not in files:
            raise UsageError(
                f"hf://{owner}/{name} has no file {chosen[:200]!r}; there are {', '.join(found[:20]) or 'none'}"
            )
        found = [chosen]
    if not found:
        raise UsageError(f"hf://{owner}/{name} has no file that ends in {', '.join(ENDINGS)}")
    return [f"hf://{owner}/{name}@{commit}/{file}" for file in found]


def _offline(owner: str, name: str, revision: str) -> tuple[str, list[str]]:
    """A commit that the hub's cache has, and the files of it that are there."""
    folder = repository_folder(owner, name)
    commit = cached_commit(folder, revision or "main")
    if not commit:
        raise Refused(f"hf://{owner}/{name}: HF_HUB_OFFLINE is set, and the cache in {folder} does not hold it")
    snapshot = folder / "snapshots" / commit
    found = (Path(place) / file for place, _, files in os.walk(snapshot) for file in files)
    return commit, [path.relative_to(snapshot).as_posix() for path in islice(found, _MAX_FILES)]


def _online(owner: str, name: str, revision: str) -> tuple[str, list[str]]:
    """The commit that a revision is now, and its files."""
    base = (os.environ.get("HF_ENDPOINT", "").strip() or "https://huggingface.co").rstrip("/")
    repository, allowed = _Repository(base, owner, name), budget()
    described = repository.ask(f"revision/{quote(revision or 'main', safe='')}", allowed)
    try:
        commit = described["sha"]
        files = [one["rfilename"] for one in described["siblings"][:_MAX_FILES]]
        if not (isinstance(commit, str) and commit.isalnum() and all(isinstance(file, str) for file in files)):
            raise TypeError
    except (KeyError, TypeError):
        raise Refused(f"hf://{owner}/{name}: the hub's answer names no commit and no files") from None
    return commit, files
