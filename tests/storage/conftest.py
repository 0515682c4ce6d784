"""Fixtures of the storage tests: a folder in which each odd clip is built once, and the real footage."""

from pathlib import Path

import pytest

from tests.footage import bigbuckbunny, bikes, footage

__all__ = ["bigbuckbunny", "bikes", "clips", "footage"]


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder to give to `make_clip` and `make_bad_input`."""
    return tmp_path_factory.mktemp("clips")
