"""Networks as the pipeline benchmark ships them, each made once."""

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.pipeline import Enrolled, enrolled
from benchmarks.pipeline_networks import NETWORKS


@pytest.fixture(scope="session")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Enrolled, Path]]:
    """Name -> the enrolled network and the folder of its tools' files."""
    made: dict[str, tuple[Enrolled, Path]] = {}

    def of(name: str) -> tuple[Enrolled, Path]:
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            made[name] = enrolled(NETWORKS[name], folder), folder
        return made[name]

    return of
