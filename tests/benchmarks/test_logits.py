"""The two ways that benchmarks/logits.py compares give the same, and both are measured."""

import pytest
import torch

from benchmarks import logits
from korlhf.models import causal_lm

ARGS = logits.LogitsFlags(tokens=10, hidden_size=8, vocab_sizes=[50])


def test_whole_logits_and_chunks_agree(monkeypatch):
    monkeypatch.setattr(causal_lm, "CHUNK_LOGITS", 3 * 50)
    job = logits.head_of(50, ARGS, torch.device("cpu"))
    for whole, chunks in zip(logits.naive(*job, True), logits.chunked(*job, True)):
        assert torch.allclose(whole, chunks, atol=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_memory_and_seconds_are_measured(training):
    used, seconds = logits.measure((ARGS, 50, logits.chunked, training))
    assert used >= 0 and seconds > 0


def test_a_block_that_needs_64_megabytes_is_seen():
    with logits.Peak(torch.device("cpu")) as peak:
        torch.zeros(2**24).add_(1)
    assert 2**26 <= peak.bytes + 2**20 < 2**27
