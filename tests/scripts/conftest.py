"""Copies of the project's scripts, and a harness that runs them."""

import pytest
from script_harness import Harness, copy_of_scripts


@pytest.fixture(scope="session")
def plain(tmp_path_factory):
    return copy_of_scripts(tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="session")
def korean(tmp_path_factory):
    """In a folder whose name has a space and Hangul."""
    return copy_of_scripts(tmp_path_factory.mktemp("korean") / "한글 폴더")


@pytest.fixture
def harness(tmp_path):
    return Harness(tmp_path)
