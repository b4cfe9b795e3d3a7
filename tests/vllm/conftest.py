"""Tests with a real vLLM: KORLHF_TEST_VLLM=1 VLLM=path/to/bin/vllm, as .ci/run_vllm has them. One server at a time."""

import os
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, GPTNeoXConfig, LlamaConfig


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.vllm)
            item.add_marker(pytest.mark.xdist_group("vllm"))
            if os.environ.get("KORLHF_TEST_VLLM") != "1":
                item.add_marker(pytest.mark.skip("needs KORLHF_TEST_VLLM=1 and VLLM=path/to/bin/vllm"))


@pytest.fixture(scope="module")
def models(tmp_path_factory, plain_tokenizer):
    """{architecture: folder} of models with heads as wide as vLLM's kernels want them."""
    shape = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128}
    shape |= {"vocab_size": len(plain_tokenizer), "max_position_embeddings": 128, "initializer_range": 0.1}
    eos = plain_tokenizer.eos_token_id
    shape |= {"eos_token_id": eos, "bos_token_id": eos, "pad_token_id": eos, "tie_word_embeddings": False}
    root = tmp_path_factory.mktemp("models")
    for name, config in {"llama": LlamaConfig(**shape), "gpt_neox": GPTNeoXConfig(**shape)}.items():
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(config).save_pretrained(root / name)
        plain_tokenizer.save_pretrained(root / name)
    return root
