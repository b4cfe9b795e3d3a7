"""Concatenated sequences, targets and the order of an epoch."""

import pytest
import torch

from korlhf.core.errors import InputError
from korlhf.data import packing
from korlhf.training.world import World


def test_pack_concatenates_and_restarts_positions():
    packed = packing.pack([[11, 12], [21, 22, 23, 24], [31]])
    assert packed.ids.tolist() == [11, 12, 21, 22, 23, 24, 31]
    assert packed.position_ids.tolist() == [0, 1, 0, 1, 2, 3, 0]
    assert (packed.bounds, packed.prompts, packed.shared) == ([0, 2, 6, 7], [-1, -1, -1], False)
    assert packed.last.tolist() == [1, 5, 6]


def shared():
    """Three answers to 11 12 13, one to 21 22 between them, and a sequence that is no longer than its prompt."""
    sequences = [[11, 12, 13, 1], [11, 12, 13, 2, 3], [21, 22, 4], [11, 12, 13, 5], [11, 12, 13]]
    return sequences, packing.pack(sequences, [3, 3, 2, 3, 3])


def test_a_prompt_that_answers_share_is_there_once():
    sequences, packed = shared()
    assert packed.ids.tolist() == [11, 12, 13, 1, 2, 3, 21, 22, 4, 5, 11, 12, 13]
    assert packed.position_ids.tolist() == [0, 1, 2, 3, 3, 4, 0, 1, 2, 3, 0, 1, 2]
    assert (packed.bounds, packed.prompts) == ([0, 3, 4, 6, 9, 10, 13], [-1, 0, 0, -1, 0, -1])
    assert packed.last.tolist() == [3, 5, 8, 9, 12] and packed.shared
    assert [packed.ids[[i for r in rs for i in r]].tolist() for rs in packed.sequences()] == sequences


def test_targets_behind_a_shared_prompt():
    _, packed = shared()
    masks = [[0, 0, 0, 1], [0, 0, 1, 1, 1], [0, 0, 1], [0, 0, 0, 1], [0, 0, 0]]
    before, tokens = packing.targets(packed, masks)
    assert before.tolist() == [2, 1, 2, 4, 7, 2] and tokens.tolist() == [1, 13, 2, 3, 4, 5]


def test_nothing_shared_again():
    sequences, packed = shared()
    whole, at = packed.apart()
    assert whole.ids.tolist() == sum(sequences, []) and not whole.shared
    assert torch.equal(whole.ids[at], packed.ids) and torch.equal(whole.position_ids[at], packed.position_ids)


@pytest.mark.parametrize("bad", [[], [[1], []]])
def test_pack_refuses_nothing(bad):
    with pytest.raises(ValueError):
        packing.pack(bad)


def test_targets_by_hand():
    packed = packing.pack([[11, 12, 13], [21, 22]])
    before, tokens = packing.targets(packed, [[1, 0, 1], [1, 1]])  # a first token is never predicted
    assert before.tolist() == [1, 3] and tokens.tolist() == [13, 22]


def test_ranks_are_disjoint_and_together_the_chunk():
    per_rank = [list(packing.batches(50, 3, rank, 2, 2, seed=7, epoch=0)) for rank in range(2)]
    assert len(per_rank[0]) == len(per_rank[1]) == 50 // 12
    seen = []
    for (mine0, chunk0), (mine1, chunk1) in zip(*per_rank):
        assert chunk0 == chunk1
        assert [len(b) for b in mine0 + mine1] == [3] * 4
        parts = sum(mine0 + mine1, [])
        assert sorted(parts) == sorted(chunk0) and len(set(parts)) == 12
        seen += chunk0
    assert len(set(seen)) == 48


def test_every_epoch_and_seed_has_its_own_order():
    def order(seed, epoch):
        return [i for _, chunk in packing.batches(40, 4, 0, 1, 1, seed, epoch) for i in chunk]

    assert order(1, 0) == order(1, 0) and sorted(order(1, 0)) == list(range(40))
    assert len({tuple(order(s, e)) for s in (1, 2) for e in (0, 1)}) == 4
    left_out = [set(range(10)) - {i for _, c in packing.batches(10, 4, 0, 1, 1, 1, e) for i in c} for e in range(6)]
    assert all(len(s) == 2 for s in left_out) and len(set(map(frozenset, left_out))) > 1


def test_steps_go_on_where_a_run_stopped():
    world = World(0, 1, torch.device("cpu"))
    whole = list(packing.steps(10, 3, world, 1, seed=5, start=0, total=8))
    assert [s for s, _ in whole] == list(range(1, 9))
    assert list(packing.steps(10, 3, world, 1, seed=5, start=4, total=8)) == whole[4:]
    assert whole[0][1] != whole[3][1]  # step 4 begins the second epoch


def test_steps_per_epoch():
    assert packing.steps_per_epoch(25, 3, 2, 2) == 2
    with pytest.raises(
        InputError, match="--per_device_train_batch_size 3 x 2 processes x 2 .* more than the 11 examples"
    ):
        packing.steps_per_epoch(11, 3, 2, 2)
