"""Which process of how many this one is, from the variables that launchers set."""

import os
import re
from collections.abc import Mapping

from korlhf.core.errors import InputError

VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")  # torchrun's and DeepSpeed's
NO_STEP = 0xFFFFFFF0  # SLURM numbers what is no step of srun (a batch script, an interactive shell) from here on
NODES = ("SLURM_STEP_NODELIST", "SLURM_NODELIST", "SLURM_JOB_NODELIST")
PORTS = range(15000, 30000)  # below what systems give to clients


def rank() -> int:
    """This process among all; 0 alone, and where the variables make no sense, which `place` tells."""
    text = os.environ.get("RANK") or (os.environ.get("SLURM_PROCID", "") if _tasks(os.environ) > 1 else "")
    return int(text) if text.isdecimal() else 0


def is_first() -> bool:
    """Whether this process is alone or the first of several: the one that speaks where all would say the same."""
    return rank() == 0


def tell(text: str) -> None:
    """Print what all processes would say, once."""
    if is_first():
        print(text, flush=True)


def several() -> bool:
    """Whether this process is one of several."""
    size = os.environ.get("WORLD_SIZE", "")
    return int(size) > 1 if size.isdecimal() else _tasks(os.environ) > 1


def place(environ: Mapping[str, str]) -> dict[str, str]:
    """VARIABLES as they are or, in a step that srun started, as they follow from SLURM's; {} for a process alone.

    MASTER_ADDR and MASTER_PORT alone make no group: run scripts' users set the port. Raises InputError if one is
    missing or no number.
    """
    if any(environ.get(name) for name in VARIABLES[:3]):
        found = {name: environ.get(name, "") for name in VARIABLES}
        given = next(name for name in VARIABLES if found[name])
        _check(found, f"although {given} is; set all of {', '.join(VARIABLES)}, or none for a process alone")
        return found
    return _of_slurm(environ) if _tasks(environ) > 1 else {}


def _tasks(environ):
    """Of the srun step that this process is in; 0 outside of one."""
    step = environ.get("SLURM_STEP_ID", "")
    if not step.isdecimal() or int(step) >= NO_STEP:
        return 0
    tasks = environ.get("SLURM_STEP_NUM_TASKS") or environ.get("SLURM_NTASKS", "")
    return int(tasks) if tasks.isdecimal() else 0


def _of_slurm(environ):
    """The first task runs on the first machine of the list. (SLURM_LAUNCH_NODE_IPADDR is where srun was called, which
    may be a login node.)
    """
    nodes = next((environ[name] for name in NODES if environ.get(name)), "")
    own = {name: environ.get(name, "") for name in ("SLURM_PROCID", "SLURM_LOCALID", "SLURM_JOB_ID")}
    for name, value in own.items() | {"SLURM_NODELIST": nodes}.items():
        if not value:
            raise InputError(
                f"{name} is not set, although srun started {_tasks(environ)} tasks; pass all of SLURM's variables on, "
                f"or set {', '.join(VARIABLES)}"
            )
    job, step = own["SLURM_JOB_ID"], environ["SLURM_STEP_ID"]
    port = PORTS[(int(job) * 7 + int(step)) % len(PORTS)] if job.isdecimal() else PORTS[0]
    found = {
        "RANK": own["SLURM_PROCID"],
        "WORLD_SIZE": str(_tasks(environ)),
        "LOCAL_RANK": own["SLURM_LOCALID"],
        "MASTER_ADDR": environ.get("MASTER_ADDR") or first_host(nodes),
        "MASTER_PORT": environ.get("MASTER_PORT") or str(port),
    }
    _check(found, "")
    return found


def first_host(nodes: str) -> str:
    """The first of a list as SLURM writes it: `gpu[01-03,07],login1` -> gpu01."""
    return re.sub(r"\[([^],-]+)[^]]*\]", r"\1", nodes).split(",")[0]


def _check(found, why):
    for name, value in found.items():
        if not value:
            raise InputError(f"{name} is not set, {why}")
        if name != "MASTER_ADDR" and not value.isdecimal():
            raise InputError(f"{name}={value}: give a whole number of 0 or above")
    if int(found["RANK"]) >= int(found["WORLD_SIZE"]):
        raise InputError(f"RANK={found['RANK']}: must be below WORLD_SIZE={found['WORLD_SIZE']}; ranks begin at 0")
