"""What all tests share: a small real network, and marked and fingerprinted copies of it."""

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pytest
from hypothesis import settings

from onnxnnw.enrolment.enrol import embed, fingerprint
from onnxnnw.records.key import Key

ROOT = Path(__file__).parent.parent

settings.register_profile("patient", deadline=None)  # a busy machine is no bug
settings.load_profile("patient")

DRAWS = os.environ.get("ONNXNNW_TEST_DRAWS", "1")
"""Another text draws other keys and orders."""


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """New keys and the order of an endpoint's questions are drawn from the test's name, so that a failure comes again."""
    draws = random.Random(f"{DRAWS} {item.nodeid}")
    keys = SimpleNamespace(token_bytes=draws.randbytes)
    orders = SimpleNamespace(SystemRandom=lambda: draws)
    with (
        mock.patch("onnxnnw.records.key.secrets", keys),
        mock.patch("onnxnnw.verification.endpoint.secrets", orders),
    ):
        return (yield)


@dataclass(frozen=True)
class Enrolled:
    """A network with its marked copy and both records."""

    original: Path
    marked: Path
    record: Path
    fingerprint: Path


@pytest.fixture(scope="session")
def resnet8() -> Path:
    """The trained ResNet8 that ships with the package."""
    return ROOT / "models" / "resnet8.onnx"


@pytest.fixture(scope="session")
def enrolled(resnet8: Path, tmp_path_factory: pytest.TempPathFactory) -> Enrolled:
    """The shipped ResNet8, marked and fingerprinted under fixed keys."""
    folder = tmp_path_factory.mktemp("enrolled")
    paths = Enrolled(resnet8, folder / "marked.onnx", folder / "mark.record", folder / "fingerprint.record")
    embed(resnet8, paths.marked, paths.record, key=Key(b"m" * 32))
    fingerprint(resnet8, paths.fingerprint, key=Key(b"f" * 32))
    return paths
