"""Learning rates are those of transformers' schedules."""

import pytest
import torch
from transformers import get_scheduler

from korlhf.training.flags import SCHEDULES
from korlhf.training.schedule import open_schedule


def rates(schedule_of, name, warmup, total):
    """(step, group): the learning rates of a training of `total` steps, and of the step after it."""
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in (0.5, 2e-5)]
    optimizer = torch.optim.AdamW(groups)
    schedule, found = schedule_of(name, optimizer, warmup, total), []
    for _ in range(total + 1):
        found.append(schedule.get_last_lr())
        optimizer.step()
        schedule.step()
    return found


@pytest.mark.parametrize("warmup, total", [(0, 1), (0, 7), (3, 10), (4, 5)])
@pytest.mark.parametrize("name", SCHEDULES)
def test_learning_rates_are_those_of_transformers(name, warmup, total):
    expected = rates(get_scheduler, name, warmup, total)
    assert rates(open_schedule, name, warmup, total) == [pytest.approx(lrs, rel=1e-12, abs=1e-20) for lrs in expected]
