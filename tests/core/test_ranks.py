"""Which process of how many this one is, by torchrun's and SLURM's variables."""

import pytest

from korlhf.core import ranks
from korlhf.core.errors import InputError

TORCHRUN = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "MASTER_ADDR": "a", "MASTER_PORT": "29500"}
SRUN = {
    "SLURM_PROCID": "3",
    "SLURM_NTASKS": "4",
    "SLURM_LOCALID": "1",
    "SLURM_NODELIST": "gpu[07-08]",
    "SLURM_JOB_ID": "100",
    "SLURM_STEP_ID": "2",
}


@pytest.fixture(autouse=True)
def no_variables(monkeypatch):
    for name in [*TORCHRUN, *SRUN, "SLURM_STEP_NUM_TASKS"]:
        monkeypatch.delenv(name, raising=False)


def set_all(monkeypatch, env):
    for name, value in env.items():
        monkeypatch.setenv(name, value)


def test_torchruns_variables_stay(monkeypatch):
    assert ranks.place(SRUN | TORCHRUN) == TORCHRUN
    set_all(monkeypatch, TORCHRUN)
    assert ranks.rank() == 3 and ranks.several() and not ranks.is_first()


def test_sruns_variables_are_mapped(monkeypatch):
    port = str(15000 + 100 * 7 + 2)
    expected = TORCHRUN | {"MASTER_ADDR": "gpu07", "MASTER_PORT": port}
    assert ranks.place(SRUN) == expected
    assert ranks.place(SRUN | {"MASTER_ADDR": "b", "MASTER_PORT": "1"}) == expected | {
        "MASTER_ADDR": "b",
        "MASTER_PORT": "1",
    }
    set_all(monkeypatch, SRUN)
    assert ranks.rank() == 3 and ranks.several()


def test_the_step_is_heeded_before_the_job():
    step = SRUN | {"SLURM_STEP_NUM_TASKS": "8", "SLURM_STEP_NODELIST": "gpu08"}
    assert {"WORLD_SIZE": "8", "MASTER_ADDR": "gpu08"}.items() <= ranks.place(step).items()


@pytest.mark.parametrize(
    "env",
    [
        {},
        {"MASTER_PORT": "12345"},
        {k: v for k, v in SRUN.items() if k != "SLURM_STEP_ID"},
        SRUN | {"SLURM_STEP_ID": "4294967291"},
        SRUN | {"SLURM_NTASKS": "1"},
    ],
)
def test_a_process_alone(env, monkeypatch):
    assert ranks.place(env) == {}
    set_all(monkeypatch, env)
    assert ranks.is_first() and not ranks.several()


@pytest.mark.parametrize("name", TORCHRUN)
def test_a_missing_variable_is_named(name):
    with pytest.raises(InputError, match=f"^{name} is not set, although .* is; set all of RANK, "):
        ranks.place({k: v for k, v in TORCHRUN.items() if k != name})


@pytest.mark.parametrize("name", ["SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODELIST", "SLURM_JOB_ID"])
def test_a_missing_variable_of_slurm_is_named(name):
    with pytest.raises(InputError, match=f"^{name} is not set, although srun started 4 tasks"):
        ranks.place({k: v for k, v in SRUN.items() if k != name})


def test_wrong_values_are_named():
    with pytest.raises(InputError, match="^RANK=4: must be below WORLD_SIZE=4"):
        ranks.place(TORCHRUN | {"RANK": "4"})
    with pytest.raises(InputError, match="^MASTER_PORT=x: give a whole number"):
        ranks.place(TORCHRUN | {"MASTER_PORT": "x"})


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("gpu07", "gpu07"),
        ("gpu07,gpu08", "gpu07"),
        ("a[1-3,5]", "a1"),
        ("gpu[01-03,07],login1", "gpu01"),
        ("login1,gpu[01-03]", "login1"),
        ("rack[2-3]node[10,12].local,x", "rack2node10.local"),
    ],
)
def test_the_first_host_of_slurms_lists(nodes, first):
    assert ranks.first_host(nodes) == first


def test_what_all_would_say_is_said_once(capsys, monkeypatch):
    ranks.tell("하나")
    monkeypatch.setenv("RANK", "1")
    ranks.tell("둘")
    assert capsys.readouterr().out == "하나\n"
