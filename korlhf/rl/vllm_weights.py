"""The ways of the actor's weights to vLLM servers (--vllm_weights), a dictionary entry each.

Every way is vLLM's own on the server's side; the package vllm is not imported on this one, where its trainer classes
would do the same requests. Names are those of checkpoints, as vLLM's loaders want them.
"""

import base64
import contextlib
import pickle
import shutil
import threading
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch.cuda import nccl
from torch.multiprocessing.reductions import reduce_tensor
from transformers.core_model_loading import revert_weight_conversion

from korlhf.core.errors import InputError, told
from korlhf.models.lora import is_adapted, without_adapter
from korlhf.models.merged import base_weights, merged_weights
from korlhf.models.save import share_weights
from korlhf.rl.mixed import agreed
from korlhf.rl.vllm_client import Servers
from korlhf.training.engine import Engine
from korlhf.training.world import World


class Files:
    """Through files in a folder in memory, LoRA merged: the same for CPUs and GPUs, on one machine or on several that
    share the folder.

    arguments, environment: of a server for it; sleep_level: 2 = a server that sleeps forgets its weights, 1 = it keeps
    them outside of the GPU.
    """

    arguments: tuple[str, ...] = ()
    environment: dict[str, str] = {}
    sleep_level = 2

    def __init__(self, servers: Servers, folder: Path, world: World):
        """folder: that the servers see, too, and one that is started starts from."""
        self.servers, self.folder, self.world = servers, folder, world

    def write(self, actor: Engine) -> None:
        """Write the language model's weights into the folder. All processes call it; raises InputError if they cannot
        be written.
        """
        model, weights = _model(actor), actor.state_dict()
        self._by_first(lambda: self._write(model, self._whole(model, weights, actor.dtype)))

    def _whole(self, model, weights, dtype):
        return merged_weights(model, weights, dtype) if is_adapted(model) else weights

    def _write(self, model, weights):
        self._clear()  # a server may still have the old files open
        with self._writing(weights):
            without_adapter(model).save_pretrained(self.folder, state_dict=weights)
            share_weights(self.folder)

    def _writing(self, weights):
        what = f"--vllm_weights_dir {self.folder.parent}: cannot be written"
        return writing(weights.values(), self.folder, what, "give another, or make room")

    def push(self, actor: Engine) -> None:
        """The servers, which answer nothing meanwhile, have the weights of `actor` when this returns. All processes
        call it.
        """
        self.write(actor)
        load = {"method": "reload_weights", "kwargs": {"weights_path": str(self.folder)}}
        self._by_first(lambda: self.servers.tell("/collective_rpc", load))
        self._by_first(self._clear)

    def _clear(self):
        """Free the memory of what was sent, or of what a server started from."""
        for path in self.folder.glob("*.safetensors"):
            path.unlink()

    def leave(self) -> None:
        """Free what servers that go on hold for this training alone."""

    def _by_first(self, call: Callable[[], Any]) -> None:
        agreed(lambda: call() if self.world.first else None, self.world)


class Adapter(Files):
    """The adapter alone, through the folder; its base stays as the servers have it. Little to send, but every token
    costs more (docs/rollouts.md).
    """

    arguments = ("--enable-lora", "--max-loras", "1")
    environment = {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True"}
    sleep_level = 1  # its base would be lost

    def _whole(self, model, weights, dtype):
        return {name: w.to(dtype) for name, w in base_weights(weights).items()}

    def push(self, actor: Engine) -> None:
        name = f"{self.folder.name}-{actor.version}"  # a new one: vLLM would read an old one's files for each request
        model, weights = _model(actor), actor.state_dict(adapter_only=True)
        self._by_first(lambda: self._push(model, weights, name))
        self.servers.model = name

    def _push(self, model, weights, name):
        folder = self.folder / name
        self._clear()
        with self._writing(weights):
            # "auto" would ask the hub for the base's configuration
            model.save_pretrained(str(folder), state_dict=weights, save_embedding_layers=False)
            share_weights(folder)
        if self.servers.model:
            self.servers.tell("/v1/unload_lora_adapter", {"lora_name": self.servers.model})
        self.servers.tell("/v1/load_lora_adapter", {"lora_name": name, "lora_path": str(folder)})
        shutil.rmtree(folder)

    def leave(self) -> None:
        if self.servers.model:
            self.servers.try_to_tell("/v1/unload_lora_adapter", {"lora_name": self.servers.model})


class Ipc(Files):
    """By handles of GPU memory (CUDA IPC) that the servers, on the training's own GPUs, read it by. LoRA is merged
    into a second copy of the weights there.
    """

    arguments = ("--weight-transfer-config", '{"backend": "ipc"}')
    environment = {"VLLM_ALLOW_INSECURE_SERIALIZATION": "1"}  # handles are pickled
    opened = False

    def push(self, actor: Engine) -> None:
        with _on_device(actor) as weights:
            weights = {name: w.contiguous() for name, w in weights.items()}
            handles = self.world.gather(self.handles(weights))  # of the memory of each process's GPU
            self._by_first(lambda: self._push(weights, handles))
        self._by_first(self._clear)

    def handles(self, weights: dict[str, torch.Tensor]) -> list[dict[str, tuple]]:
        """For each weight {the GPU's UUID: what torch rebuilds a tensor on its memory from}."""
        gpu = str(torch.cuda.get_device_properties(torch.cuda.current_device()).uuid)
        return [{gpu: reduce_tensor(w)[1]} for w in weights.values()]

    def _push(self, weights, handles):
        if not self.opened:
            self.servers.tell("/init_weight_transfer_engine", {"init_info": {"packed": False}})
            self.opened = True
        merged = [{gpu: args for of_one in of_weight for gpu, args in of_one.items()} for of_weight in zip(*handles)]
        pickled = base64.b64encode(pickle.dumps(merged)).decode()
        self.servers.tell("/start_weight_update")
        self.servers.tell("/update_weights", {"update_info": _described(weights) | {"ipc_handles_pickled": pickled}})
        self.servers.tell("/finish_weight_update")


class Nccl(Files):
    """By a broadcast of NCCL from the training's first GPU to the servers' own GPUs, on this machine or others. LoRA
    is merged into a second copy of the weights.
    """

    arguments = ("--weight-transfer-config", '{"backend": "nccl"}')
    group: Any = None

    def push(self, actor: Engine) -> None:
        with _on_device(actor) as weights:
            self._by_first(lambda: self._push(weights))
        self._by_first(self._clear)

    def _push(self, weights):
        if not self.group:
            self._open()
        self.servers.tell("/start_weight_update")
        update = {"update_info": _described(weights)}
        meanwhile(lambda: self.group.send(weights.values()), lambda: self.servers.tell("/update_weights", update))
        self.servers.tell("/finish_weight_update")

    def leave(self) -> None:
        if self.group:
            self.servers.try_to_tell("/shutdown_weight_transfer_engine")

    def _open(self):
        """The group of this process, as rank 0, and all workers of all servers."""
        sizes = [answer["world_size"] for answer in self.servers.tell("/get_world_size", method="GET")]
        group = NcclGroup(1 + sum(sizes))
        same = {"world_size": group.size, "nccl_unique_id_b64": base64.b64encode(group.key).decode(), "packed": False}
        offsets = [1 + sum(sizes[:i]) for i in range(len(sizes))]
        infos = [{"init_info": {"rank_offset": offset, **same}} for offset in offsets]
        meanwhile(group.open, lambda: self.servers.tell("/init_weight_transfer_engine", infos))
        self.group = group


class NcclGroup:
    """Rank 0 of an NCCL group of `size` ranks on the current GPU, which sends to all others. It works on a stream of
    its own: a broadcast that nobody takes any more never ends, and whatever came after it would wait.
    """

    def __init__(self, size: int):
        self.size, self.key, self.device = size, nccl.unique_id(), torch.cuda.current_device()
        self.stream = torch.cuda.Stream()

    def open(self) -> None:
        """Wait for all others; then the sum over one element that vLLM's side begins with."""
        torch.cuda.set_device(self.device)  # of this thread
        self.communicator = nccl.init_rank(self.size, self.key, 0)
        one = torch.zeros(1, device=self.device)
        self._run(lambda how: nccl.all_reduce([one], **how))

    def send(self, weights) -> None:
        torch.cuda.set_device(self.device)
        weights = [weight.contiguous() for weight in weights]
        self._run(lambda how: [nccl.broadcast([weight], **how) for weight in weights])

    def _run(self, call):
        self.stream.wait_stream(torch.cuda.current_stream())
        call({"streams": [self.stream], "comms": [self.communicator]})
        self.stream.synchronize()


TRANSFERS: dict[str, type[Files]] = {"files": Files, "adapter": Adapter, "ipc": Ipc, "nccl": Nccl}


@contextlib.contextmanager
def writing(weights: Iterable[torch.Tensor], folder: Path, what: str, remedy: str) -> Generator[None]:
    """Inside, `weights` are written into `folder`: want of room, which is looked for first, and whatever else fails is
    one line; what, remedy: as of errors.told.
    """
    need, free = sum(w.nbytes for w in weights), shutil.disk_usage(folder).free
    with told(what, remedy, (OSError, SafetensorError)):
        if need > free:
            raise OSError(f"the weights take {need / 2**20:,.0f} MiB, and {free / 2**20:,.0f} are free there")
        yield


def meanwhile(here: Callable[[], Any], there: Callable[[], Any]) -> None:
    """Both at once: `here` waits for what `there` asks of servers, which has a time limit. A thread that waits for a
    server that has gone is left behind: NCCL has no time limit of its own.
    """
    failed = []

    def run():
        try:
            here()
        except Exception as error:
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        there()
    except InputError as error:  # a server that goes away makes NCCL fail, too
        raise error from (failed or [None])[0]
    thread.join()
    if failed:
        raise failed[0]


@contextlib.contextmanager
def _on_device(actor: Engine) -> Generator[dict[str, torch.Tensor]]:
    """The whole weights of the language model where they are, LoRA merged, by the names of checkpoints. All processes
    enter it.
    """
    with torch.no_grad(), actor.gathered_weights():
        model = _model(actor)
        weights = {name.split(".", 1)[1]: p.detach() for name, p in actor.module.named_parameters()}
        if is_adapted(model):
            weights = merged_weights(model, weights, actor.dtype)
        yield revert_weight_conversion(without_adapter(model), weights)


def _model(actor):
    return next(actor.module.children())  # inside TokenLogps


def _described(weights):
    return {
        "names": list(weights),
        "dtype_names": [str(w.dtype).removeprefix("torch.") for w in weights.values()],
        "shapes": [list(w.shape) for w in weights.values()],
    }
