"""Step 3 by a real vLLM on the CPU: the very answers of the weights in training, the same training, and nothing left
when something is killed.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from korlhf.data.tokenize import Codec
from korlhf.models.causal_lm import TokenLogps, load_causal_lm
from korlhf.models.lora import add_lora
from korlhf.models.tokenizer import load_tokenizer
from korlhf.rl import rollout
from korlhf.rl.vllm import Vllm
from korlhf.rl.vllm_client import Servers
from korlhf.rl.vllm_server import Server, arguments
from korlhf.rl.vllm_weights import TRANSFERS
from korlhf.training.flags import ModelFlags
from korlhf.training.rollout_flags import RolloutFlags
from korlhf.training.world import World

ROOT = Path(__file__).resolve().parents[2]
MAIN = ROOT / "training/step3_rlhf_finetuning/main.py"
RLOO = "--data_split 0,0,1 --data_path prompts.jsonl --eval_data_path held.jsonl --reward mine.py:score --dtype fp32 "
RLOO += "--max_prompt_seq_len 64 --max_answer_seq_len 16 --advantage_estimator rloo --num_generations 4 --max_steps 20 "
RLOO += "--per_device_generation_batch_size 64 --per_device_training_batch_size 64 --num_train_epochs 9 --kl_coef 0.01 "
RLOO += "--actor_learning_rate 3e-3 --actor_model_name_or_path llama --save_steps 5 --missing_eos_penalty 0 "
VLLM = "--rollout vllm --rollout_correction token --vllm_weights_dir ."
ON_GPU = "--gpu-memory-utilization 0.2" if torch.cuda.is_available() else ""
# The score: the share of an answer's letters that are Hangul. Held out it rose from .20 to .76, .84 and .85 in local
# runs of seeds 1 to 3, to .86, .87 and .63 by vLLM: that is the noise.
CODE = "def score(prompts, answers):\n"
CODE += '    return [sum("가" <= c <= "힣" for c in a) / (len(a) + 1) for a in answers]\n'


class Actor:
    """What a Sampler asks of an engine."""

    dtype, version = torch.float32, 0

    def __init__(self, lm):
        self.module = TokenLogps(lm)

    def __call__(self, *args):
        return self.module(*args)

    def gathered_weights(self):
        return contextlib.nullcontext()

    def state_dict(self, adapter_only=False):
        every = self.module.lm.named_parameters(remove_duplicate=False)
        return {n: p.detach().cpu().clone() for n, p in every if "lora_" in n or not adapter_only}


def gpus(at_least):
    return pytest.mark.skipif(torch.cuda.device_count() < at_least, reason=f"needs {at_least} CUDA GPUs")


WAYS = [
    ("llama", "files"),
    ("gpt_neox", "files"),
    ("llama", "adapter"),
    pytest.param("llama", "ipc", marks=gpus(1)),
    pytest.param("gpt_neox", "ipc", marks=gpus(1)),
    pytest.param("llama", "nccl", marks=gpus(2)),
]


@pytest.mark.parametrize("architecture, way", WAYS)
def test_its_answers_are_those_of_the_weights_that_it_was_sent(models, tmp_path, architecture, way):
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    codec = Codec(load_tokenizer(models / architecture))
    lm = load_causal_lm(str(models / architecture), codec.tokenizer).to(device)
    if way == "adapter":
        lm = add_lora(lm, ModelFlags(model_name_or_path="x", lora_dim=4), "CAUSAL_LM").to(device)
    actor = Actor(lm.eval())
    prompts = [
        codec.prompt([{"role": "user", "content": f"{i}번째 {'정말 ' * (i % 7)}질문이에요."}]).ids for i in range(50)
    ]
    folder = tmp_path / "weights"
    folder.mkdir()
    servers = Servers(codec.eos_token_id, 120.0)
    transfer = TRANSFERS[way](servers, folder, World(0, 1, device))
    sampler = Vllm(servers, prompts[:8], transfer, transfer.world)
    transfer.write(actor)
    codec.tokenizer.save_pretrained(folder)
    environment = transfer.environment | ({"CUDA_VISIBLE_DEVICES": "1"} if way == "nccl" else {})
    flags = RolloutFlags(rollout="vllm", vllm_args=f"--max-num-seqs 16 {ON_GPU}")
    greedy, free = rollout.Limits(24, 0.0), rollout.Limits(24)
    words = [*arguments("fp32", 128, 1.0, device.type == "cpu"), *transfer.arguments]
    with Server(flags, folder, words, tmp_path / "log", environment) as server:
        servers.urls = [server.url]
        answers = []
        for _ in range(2):
            sampler.sync(actor)
            assert sampler.figures["canary_difference"] < 1e-4
            found = sampler.sample(prompts, range(50), greedy).answers
            assert found == rollout.sample(actor.module.lm, prompts, range(50), codec.eos_token_id, greedy)
            answers.append(found)
            torch.manual_seed(1)
            for p in actor.module.parameters():
                if p.requires_grad:
                    p.data += 0.1 * torch.randn_like(p)
            actor.version += 1
        assert answers[0] != answers[1]
        together, alone = sampler.sample(prompts, range(50), free), sampler.sample(prompts[:1], [0], free)
        assert together.answers[0] == alone.answers[0] and len({tuple(a) for a in together.answers}) > 40
        assert sampler.sample(prompts, range(50), free).answers == together.answers


@pytest.fixture
def here(models, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "llama").symlink_to(models / "llama")
    (tmp_path / "mine.py").write_text(CODE, encoding="utf-8")
    for name, start, n in (("prompts", 0, 40), ("held", 100, 32)):
        rows = [{"prompt": f"{i}번째 질문이에요.", "category": "everyday"} for i in range(start, start + n)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    return tmp_path


def start(out, more):
    command = [sys.executable, "-u", str(MAIN), *f"{RLOO} --output_dir {out} {more}".split()]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def run(out, more, code=0):
    with start(out, more) as process:
        said, _ = process.communicate(timeout=400)
    assert process.returncode == code, said
    return said


def metrics(folder):
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [{k: v for k, v in row.items() if not any(t in k for t in ("second", "canary", "mismatch"))} for row in rows]


def after_step(process, folder, step):
    """Wait until a run has written that step."""
    limit = time.monotonic() + 300
    while process.poll() is None and time.monotonic() < limit:
        if (folder / "metrics.jsonl").exists() and len(metrics(folder)) > step:
            return
        time.sleep(0.02)
    raise AssertionError(process.communicate()[0])


def processes(folder):
    """{process id: its words} of the training by vLLM in `folder` and all that it started: they run there."""
    out = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            words = (path / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
            cwd = os.readlink(path / "cwd")
        except OSError:
            continue
        if cwd == str(folder) and int(path.name) != os.getpid():
            out[int(path.name)] = words
    return out


def none_left(folder):
    limit = time.monotonic() + 60
    while time.monotonic() < limit and processes(folder):
        time.sleep(0.1)
    return not processes(folder) and not list(folder.glob("korlhf-*"))


def test_the_same_training_also_after_kills(here):
    said = {"local": run("local", ""), "vllm": run("vllm", VLLM)}
    assert "vLLM is being started" in said["vllm"] and "vLLM" not in said["local"] and none_left(here)
    scores = {name: [row["heldout_score"] for row in metrics(here / name) if "heldout_score" in row] for name in said}
    print(f"held-out score before and after: {scores}")
    (_, local), (_, by_vllm) = scores.values()
    assert min(local, by_vllm) > 0.5 and abs(local - by_vllm) < 0.25

    with start("told", VLLM) as process:  # the server is killed
        after_step(process, here / "told", 8)
        (server,) = [pid for pid, words in processes(here).items() if " serve " in words and "watched" not in words]
        os.kill(server, signal.SIGKILL)
        said, _ = process.communicate(timeout=120)
    assert process.returncode == 75 and "is away: " in said and "vllm.log); stopped; start the same command" in said
    assert none_left(here)
    with start("told", VLLM) as process:  # the training is killed
        after_step(process, here / "told", 13)
        assert len(processes(here)) > 2
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert none_left(here)
    assert "resuming" in run("told", VLLM) and none_left(here)
    same = [a == pytest.approx(b, rel=1e-4, abs=1e-5) for a, b in zip(metrics(here / "vllm"), metrics(here / "told"))]
    assert all(same), same
