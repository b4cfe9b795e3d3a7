"""A stand-in for `vllm serve` on loopback: the endpoints that step 3 uses, with transformers and this project's sampler
behind them, and every way to fail.

with Server(folder, faults={"generate": "hang"}) as server: ... server.url ...

faults: endpoint (its last word) -> "hang", "drop", a status, or "stale" of collective_rpc (says that it has loaded, and
has not), "cut" of generate (answers without their end), "restarted" of generate (weights of another version), or a
function (number of this endpoint's calls so far) -> one of them or None.
"""

import contextlib
import json
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import torch
from loopback import Loopback
from transformers import AutoModelForCausalLM

from korlhf.rl.rollout import Limits, sample

LOADING = threading.Lock()  # two threads that load leave transformers unable to tie weights


class Listening(ThreadingHTTPServer):
    daemon_threads, request_queue_size = True, 512


class Server(Loopback):
    def __init__(self, folder, faults=None, logprobs_mode="raw_logprobs", noise=0.0):
        """noise: nats by which it scores prompts otherwise, other ones for other weights."""
        self.noise, self.loads = noise, 0
        self.faults, self.calls, self.seen = faults or {}, Counter(), []
        self.lock, self.stopping = threading.Lock(), threading.Event()
        self.logprobs_mode, self.version, self.pushed = logprobs_mode, "default", []
        self.asleep = False
        self.load(folder)
        self.http = Listening(("127.0.0.1", 0), Handler)
        self.http.owner = self
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"

    def load(self, folder):
        with LOADING:
            self.loads += 1
            self.lm = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

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

    def answer(self, name, body, fault):
        if name in ("sleep", "wake_up"):
            self.asleep = name == "sleep"
        if name == "generate":
            assert not self.asleep
            return self.generate(body, fault)
        if name == "collective_rpc":
            assert body["method"] == "reload_weights"
            self.pushed.append(body["kwargs"]["weights_path"])
            if fault != "stale":
                self.load(body["kwargs"]["weights_path"])
        if name == "update_weight_version":
            self.version = body["new_version"]
        if name == "server_info":
            return {"vllm_config": {"model_config": {"logprobs_mode": self.logprobs_mode}}}
        return {"success": True}


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        owner = self.server.owner
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        name = self.path.split("?")[0].split("/")[-1]
        with owner.lock:
            fault = owner.fault(name)
        if fault == "hang":
            owner.stopping.wait()
        if fault in ("hang", "drop"):
            self.close_connection = True
            return
        with owner.lock:
            answer = b"no such file" if isinstance(fault, int) else json.dumps(owner.answer(name, body, fault)).encode()
        self.send_response(fault if isinstance(fault, int) else 200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        with contextlib.suppress(BrokenPipeError):  # nobody waits any more
            self.wfile.write(answer)

    do_GET = do_POST

    def log_message(self, *_):
        pass
