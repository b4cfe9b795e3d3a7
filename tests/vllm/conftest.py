"""Tests with a real vLLM: KORLHF_TEST_VLLM=1 VLLM=path/to/bin/vllm, as .ci/run_vllm has them. One server at a time."""

import os
from pathlib import Path

import pytest


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.vllm)
            item.add_marker(pytest.mark.xdist_group("vllm"))
            if os.environ.get("KORLHF_TEST_VLLM") != "1":
                item.add_marker(pytest.mark.skip("needs KORLHF_TEST_VLLM=1 and VLLM=path/to/bin/vllm"))
