"""The batch of a step is lowered to what there is, and stays one that step 3 can divide."""

import pytest
import torch

from korlhf.core.errors import InputError
from korlhf.training.batch import fitting
from korlhf.training.flags import TrainFlags
from korlhf.training.ppo_flags import PpoFlags
from korlhf.training.world import World

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("n", "processes", "given", "expected"),
    [
        (64, 2, (16, 2), (16, 2)),
        (63, 2, (16, 2), (15, 2)),
        (3, 1, (16, 1), (3, 1)),
        (7, 2, (16, 8), (1, 3)),
        (2, 2, (1, 1), (1, 1)),
        (2, 2, (16, 8), (1, 1)),
    ],
)
def test_steps_1_and_2(n, processes, given, expected, capsys):
    flags = TrainFlags(per_device_train_batch_size=given[0], gradient_accumulation_steps=given[1])
    settings = {"seed": 1}
    found = fitting(flags, n, "examples", World(0, processes, CPU), settings)
    assert (found.per_device_train_batch_size, found.gradient_accumulation_steps) == expected
    assert n // processes >= expected[0] * expected[1]
    said = capsys.readouterr().out
    if given == expected:
        assert said == "" and settings == {"seed": 1}
    else:
        assert said.startswith(f"note: {n} examples fill no step") and said.count("\n") == 1
        size = "per_device_train_batch_size"
        assert settings.get(size, given[0]) == expected[0]
        assert (f"--{size} {expected[0]} (not {given[0]})" in said) == (expected[0] != given[0])


@pytest.mark.parametrize(
    ("n", "given", "expected"),
    [
        # generation batch, batches, training batch, accumulation
        (100, (64, 1, 32, 1), (64, 1, 32, 1)),
        (50, (64, 1, 32, 1), (50, 1, 25, 1)),
        (7, (64, 1, 32, 1), (7, 1, 7, 1)),
        (20, (16, 2, 8, 2), (10, 2, 5, 2)),
        (11, (16, 1, 4, 4), (11, 1, 1, 1)),
        (1, (16, 4, 8, 8), (1, 1, 1, 1)),
    ],
)
def test_step_3_keeps_what_an_update_divides(n, given, expected):
    names = ("per_device_generation_batch_size", "generation_batches")
    names += ("per_device_training_batch_size", "gradient_accumulation_steps")
    found = fitting(PpoFlags(**dict(zip(names, given))), n, "prompts", World(0, 1, CPU), {})
    size, rounds, update, passes = (getattr(found, name) for name in names)
    assert (size, rounds, update, passes) == expected and size * rounds % (update * passes) == 0


def test_answers_of_one_prompt_stay_together(capsys):
    flags = PpoFlags(num_generations=4, per_device_generation_batch_size=32, per_device_training_batch_size=16)
    found = fitting(flags, 5, "prompts", World(0, 1, CPU), {})
    assert (found.per_device_generation_batch_size, found.prompts_at_once) == (20, 5)
    assert found.per_device_training_batch_size == 10
    assert fitting(flags, 8, "prompts", World(0, 1, CPU), {}) == flags


def test_without_one_example_for_each_process_it_cannot_be(capsys):
    with pytest.raises(InputError, match="3 examples for 4 processes: each needs one; give more data, or start fewer"):
        fitting(TrainFlags(), 3, "examples", World(1, 4, CPU), {})
    fitting(TrainFlags(), 4, "examples", World(1, 4, CPU), {})
    assert capsys.readouterr().out == ""  # the first process speaks
