"""A stand-in for `vllm serve` on loopback: the endpoints that step 3 uses, with transformers and this project's sampler
behind them, and every way to fail.

with Server(folder, faults={"generate": "hang"}) as server: ... server.url ...

faults: endpoint (its last word) -> "hang", "drop", a status, or "stale" of collective_rpc (says that it has loaded, and
has not), "cut" of generate (answers without their end), "restarted" of generate (weights of another version), or a
function (number of this endpoint's calls so far) -> one of them or None.

By CUDA IPC and NCCL, which need GPUs, come here tensors themselves: pickled in place of handles, or through `wire`.
"""

import base64
import contextlib
import json
import pickle
import queue
import tempfile
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import torch
from loopback import Loopback
from peft import PeftModel
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

from korlhf.rl.rollout import Limits, sample

LOADING = threading.Lock()  # two threads that load leave transformers unable to tie weights


TAGS = "weights", "kv_cache"


class Listening(ThreadingHTTPServer):
    daemon_threads, request_queue_size = True, 512


class Server(Loopback):
    def __init__(self, folder, faults=None, logprobs_mode="raw_logprobs", noise=0.0):
        """noise: nats by which it scores prompts otherwise, other ones for other weights."""
        self.noise, self.loads = noise, 0
        self.faults, self.calls, self.seen = faults or {}, Counter(), []
        self.lock, self.stopping = threading.Lock(), threading.Event()
        self.logprobs_mode, self.version, self.pushed = logprobs_mode, "default", []
        self.can_sleep = True
        self.awake, self.paused, self.workers = set(TAGS), False, 1
        self.adapter, self.wire, self.updating = None, queue.Queue(), []
        self.load(folder)
        self.http = Listening(("127.0.0.1", 0), Handler)
        self.http.owner = self
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"

    def load(self, folder):
        with LOADING:
            self.loads += 1
            how = {"dtype": torch.float32, "output_loading_info": True}
            self.lm, found = AutoModelForCausalLM.from_pretrained(folder, **how)
            assert not found["missing_keys"] and not found["unexpected_keys"]

    @property
    def asleep(self):
        return self.awake != set(TAGS)

    @torch.no_grad()
    def sleep(self, level):
        """At level 2 the weights are lost."""
        self.awake = set()
        for p in self.lm.parameters() if level == "2" else ():
            p.fill_(torch.nan)

    def load_adapter(self, body):
        assert not self.adapter and "weights" in self.awake
        lm = self.lm.get_base_model() if isinstance(self.lm, PeftModel) else self.lm
        if isinstance(self.lm, PeftModel):
            lm = self.lm.unload()
        self.lm, self.adapter = PeftModel.from_pretrained(lm, body["lora_path"]).eval(), body["lora_name"]

    def update(self, info):
        """As a weight-transfer engine: each weight by its name, in the order that it was told."""
        if "ipc_handles_pickled" in info:
            tensors = [handle["this GPU"] for handle in pickle.loads(base64.b64decode(info["ipc_handles_pickled"]))]
        else:
            tensors = [self.wire.get(timeout=20) for _ in info["names"]]
        told = zip(info["dtype_names"], info["shapes"], strict=True)
        assert [(f"torch.{dtype}", shape) for dtype, shape in told] == [(str(t.dtype), list(t.shape)) for t in tensors]
        with tempfile.TemporaryDirectory() as folder:  # names are those of checkpoints
            self.lm.config.save_pretrained(folder)
            save_file(dict(zip(info["names"], tensors, strict=True)), f"{folder}/model.safetensors", {"format": "pt"})
            self.load(folder)

    def fault(self, name):
        number, fault = self.calls[name], self.faults.get(name)
        self.calls[name] += 1
        return fault(number) if callable(fault) else fault

    @torch.no_grad()
    def logps(self, ids, temperature=1.0):
        """Of each token but the first."""
        scores = (self.lm(input_ids=torch.tensor([ids])).logits[0, :-1] / temperature).log_softmax(-1)
        return scores.gather(1, torch.tensor(ids[1:]).unsqueeze(1)).flatten().tolist()

    def generate(self, body, fault):
        ids, how = body["token_ids"], body["sampling_params"]
        assert body.get("model") == self.adapter
        answer = {"choices": [{"token_ids": [0], "weight_versions": [{"version": self.version}], "logprobs": None}]}
        choice = answer["choices"][0]
        if how.get("prompt_logprobs") is not None:
            rounding = self.noise * torch.randn(len(ids) - 1, generator=torch.Generator().manual_seed(self.loads))
            scored = zip(ids[1:], (torch.tensor(self.logps(ids)) + rounding).tolist())
            return answer | {"prompt_logprobs": [None, *({str(i): {"logprob": logp}} for i, logp in scored)]}
        self.seen.append(body)
        temperature = how["temperature"]
        limits = Limits(how["max_tokens"], temperature, how["top_p"])
        (out,) = sample(self.lm, [ids], [how["seed"]], how["stop_token_ids"][0], limits)
        out = out[:1] if fault == "cut" else out
        raw = self.logprobs_mode == "raw_logprobs" or not temperature
        logps = self.logps(ids + out, 1.0 if raw else temperature)[len(ids) - 1 :]
        rows = [{"token_id": i, "logprob": logp, "top_logprobs": []} for i, logp in zip(out, logps)]
        choice |= {"token_ids": out, "logprobs": {"content": rows}}
        if fault == "restarted":
            choice["weight_versions"] = [{"version": "default"}]
        return answer

    def answer(self, name, query, body, fault):
        if name == "sleep":
            self.sleep(query["level"][0])
        if name == "wake_up":
            self.awake |= set(query.get("tags", TAGS))
        if name in ("pause", "resume"):
            self.paused = name == "pause"
        if name == "generate":
            assert not self.asleep and not self.paused
            return self.generate(body, fault)
        if name in ("start_weight_update", "finish_weight_update"):
            self.updating.append(name.split("_")[0])
        if name == "init_weight_transfer_engine":
            self.updating.append(body["init_info"])
        if name == "update_weights":
            assert self.paused and "weights" in self.awake and self.updating[-1] == "start"
            self.update(body["update_info"])
        if name == "get_world_size":
            return {"world_size": self.workers}
        if name == "unload_lora_adapter":
            assert self.adapter == body["lora_name"]
            self.adapter = None
            return "Success: unloaded"
        if name == "load_lora_adapter":
            self.load_adapter(body)
            return "Success: loaded"
        if name == "collective_rpc":
            assert body["method"] == "reload_weights" and self.paused and "weights" in self.awake
            self.pushed.append(body["kwargs"]["weights_path"])
            if fault != "stale":
                self.load(body["kwargs"]["weights_path"])
        if name == "update_weight_version":
            self.version = body["new_version"]
        if name == "server_info":
            config = {"logprobs_mode": self.logprobs_mode, "enable_sleep_mode": self.can_sleep}
            return {"vllm_config": {"model_config": config}}
        return {"success": True}


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        owner = self.server.owner
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        path = urlsplit(self.path)
        name, query = path.path.split("/")[-1], parse_qs(path.query)
        with owner.lock:
            fault = owner.fault(name)
        if fault == "hang":
            owner.stopping.wait()
        if fault in ("hang", "drop"):
            self.close_connection = True
            return
        with owner.lock:
            answer = "no such file" if isinstance(fault, int) else owner.answer(name, query, body, fault)
        self.send_response(fault if isinstance(fault, int) else 200)
        if not isinstance(answer, str):  # as vLLM, which names no type of plain text
            self.send_header("Content-Type", "application/json")
        answer = (answer if isinstance(answer, str) else json.dumps(answer)).encode()
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        with contextlib.suppress(BrokenPipeError):  # nobody waits any more
            self.wfile.write(answer)

    do_GET = do_POST

    def log_message(self, *_):
        pass
