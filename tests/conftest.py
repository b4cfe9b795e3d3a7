"""How the tests are spread over processes, and what every process of them needs."""

import gc
import logging
import signal
from pathlib import Path

import pytest

if (
    signal.getsignal(signal.SIGINT) == signal.SIG_IGN
):  # started by `... &` in a script: the programs that tests interrupt would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)
TESTS = Path(__file__).parent
gc.disable()  # until all is imported


def pytest_configure(config):
    """The fixtures of tiny_models.py, which imports torch: not for the process that only hands the tests out."""
    if hasattr(config, "workerinput") or config.getoption("dist", "no") == "no":
        config.pluginmanager.import_plugin("tiny_models")


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items):
    """Long runs first: with two processes neither waits for the other at the end.

    A file's tests share a process, and so do all that need the models of the quickstart: they are trained once.
    """
    for item in items:
        if "smoke" in item.path.relative_to(TESTS).parts or item.get_closest_marker("long"):
            item.add_marker(pytest.mark.slow)
        shared = "three_steps" if "three_steps" in item.fixturenames else str(item.path)
        item.add_marker(pytest.mark.xdist_group(shared))
    items.sort(key=lambda item: "smoke" not in item.path.relative_to(TESTS).parts)  # stable: the order within stays


def pytest_collection_finish():
    """No garbage is looked for among the modules and the tests; one look takes .6 s else."""
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True)
def logging_as_it_was():
    """Programs that are called in the tests' process may turn warnings off for all that comes after."""
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture
def no_collection(monkeypatch):
    """A collection takes .6 s in a process as large as pytest's."""
    monkeypatch.setattr(gc, "collect", lambda: 0)
