"""--rollout vllm of the programs that let finished checkpoints answer: the answers of --rollout local, one server at a
time, and nothing left of it however a run ends.
"""

import json
import os
import shutil
import signal
import sqlite3
import time
from pathlib import Path

import bad_input
import eval_harness
import huggingface_hub
import pytest
import torch
import warm
from prep_harness import run, start, write
from vllm_server import Server

from data_prep import respond
from korlhf.core.errors import InputError
from korlhf.data import record as records
from korlhf.llm import responders, scripted
from korlhf.llm.checkpoint import Checkpoint, Sampling, answers
from korlhf.llm.flags import LlmFlags, SamplerFlags
from korlhf.llm.responders import Responder, Setup
from korlhf.models import lora, save
from korlhf.models.tokenizer import load_tokenizer
from korlhf.rl import served
from korlhf.training.flags import ModelFlags

PLAIN = Path(__file__).resolve().parents[1] / "harness/plain_server.py"
GREEDY = "--temperature 0 --dtype fp32 --max_new_tokens 5 --num_answers 1"
pytestmark = pytest.mark.usefixtures("no_collection")


class Stand:
    """In place of a server's process the stand-in, in this one."""

    started: list["Stand"] = []

    def __init__(self, flags, folder, words, log):
        assert not any(one.runs for one in Stand.started)
        self.folder, self.words, self.log, self.runs = folder, " ".join(words), log, True
        self.linked = (folder / "model.safetensors").is_symlink()
        self.server = Server(folder).__enter__()
        self.url = self.server.url
        Stand.started.append(self)

    def close(self, wait=True):
        self.runs = False
        self.server.__exit__()
        shutil.rmtree(self.folder)


@pytest.fixture
def started(monkeypatch, tmp_path):
    """The servers, as they are started."""
    Stand.started = []
    monkeypatch.setenv("VLLM", "/bin/true")
    monkeypatch.setattr(served, "Server", Stand)
    (tmp_path / "memory").mkdir()
    monkeypatch.setattr(served, "MEMORY", str(tmp_path / "memory"))
    yield Stand.started
    assert not any(one.runs for one in Stand.started) and not list((tmp_path / "memory").iterdir())


@pytest.fixture(scope="module")
def adapter(folders, tmp_path_factory):
    """A LoRA folder on the GPT-NeoX, that says something else."""
    path, base = tmp_path_factory.mktemp("lora"), folders["gpt_neox"]
    tokenizer = load_tokenizer(base)
    lm = lora.add_lora(Checkpoint(base, "--x").load(), ModelFlags(model_name_or_path="x", lora_dim=2), "CAUSAL_LM")
    torch.manual_seed(0)
    for name, p in lm.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(p, std=0.3)
    save.save_model(lm, {n: p.detach() for n, p in lm.named_parameters()}, tokenizer, path, base)
    return path / "adapter"


def prompts(n):
    return [records.make(f"{i}번째 주말에는 뭐 할까요?", "everyday", f"test/{i}") for i in range(n)]


def said(ran):
    assert (ran.code, ran.failed) == (0, [])
    return [[(c["text"], c["model"], c["finish_reason"]) for c in record["candidates"]] for record in ran.out]


def test_respond_by_two_checkpoints(folders, adapter, tmp_path, started):
    """Answers of one way are not taken for those of the other, though they are the same; more arguments of the server
    are another way.
    """
    files = sorted(Path(folders["gpt_neox"]).iterdir())
    who = f"--responder neox={folders['gpt_neox']} lora={adapter}"
    by = {}
    for name, more, servers in (
        ("local", "", 0),
        ("vllm", "--rollout vllm", 2),
        ("again", "--rollout vllm --vllm_timeout 60", 2),
        ("eight", "--rollout vllm --vllm_args=--quantization=fp8", 4),
    ):
        by[name] = said(run(respond, tmp_path, prompts(5), who, GREEDY, *more.split(), out=f"{name}.jsonl"))
        assert len(started) == servers, name
    assert by["vllm"] == by["again"] == by["eight"] == by["local"]
    assert all(of_neox[0] != of_lora[0] for of_neox, of_lora in by["local"])
    of_neox, of_lora = started[:2]
    assert (of_neox.linked, of_lora.linked) == (True, False)
    assert "--dtype float32" in of_neox.words and "processed_logprobs" not in of_neox.words
    assert of_neox.log == tmp_path / "llm_cache.vllm.log"
    assert sorted(Path(folders["gpt_neox"]).iterdir()) == files  # what is removed with a server is not the model


def test_prompts_and_seeds_are_those_of_local_ones_all_at_once(folders, cache, started):
    talks = [records.messages(r) for r in prompts(3)]
    warm, how = Sampling(1.0, 0.9, 5, 7), ("--responder", "auto", "fp32", False)
    local = answers(Checkpoint(folders["gpt_neox"], *how), talks, cache, warm, 2, 1)
    by_vllm = Checkpoint(folders["gpt_neox"], *how, rollout=SamplerFlags(rollout="vllm"))
    assert answers(by_vllm, talks, cache, warm, 2, 1) == local  # the stand-in has the same sampler
    assert started[0].server.calls["generate"] == 6
    assert answers(by_vllm, talks, cache, warm, 3, 1)[0][:2] == local[0]
    assert started[1].server.calls["generate"] == 3


def test_one_server_answers_all_turns(folders, cache, started):
    scripts = [["안녕?", "뭐 해?"], ["오늘 어때요?"]]
    who = [Responder("neox", folders["gpt_neox"], "checkpoint"), Responder("llama", folders["llama"], "checkpoint")]
    found = {}
    for rollout in ("local", "vllm"):
        flags = SamplerFlags(dtype="fp32", rollout=rollout)
        setup = Setup(Sampling(0.0, 1.0, 5, 3), 1, flags, LlmFlags(), cache)
        found[rollout], _ = scripted.answers(who, scripts, setup)
    assert found["vllm"] == found["local"] and len(started) == 2
    assert [one.server.calls["generate"] for one in started] == [3, 3]


def test_a_server_that_is_too_small_gives_way_to_a_larger_one(folders, cache, started):
    flags = SamplerFlags(dtype="fp32", rollout="vllm")
    opened = responders.open_checkpoints([Responder("neox", folders["gpt_neox"], "checkpoint")], flags)["neox"]
    sizes = []
    talk, limits = [{"role": "user", "content": "가"}], (3, 2, 9, 8)
    for room in (1, 2):
        with opened.served(cache, room):
            for tokens in limits:
                answers(opened, [talk], cache, Sampling(0.0, 1.0, tokens, room))
                sizes.append(int(started[-1].words.split("--max-model-len ")[1].split()[0]))
    need = len(opened.codec.prompt(talk).ids)
    assert sizes == [need + 3, need + 3, need + 9, need + 9, *[min(2 * (need + 3), 128)] * 4] and len(started) == 3


def test_prompt_eval(folders, adapter, tmp_path, started, monkeypatch):
    found = {}
    for name, more in (("local", ""), ("vllm", "--rollout vllm")):
        flags = f"--model_name_or_path {folders['gpt_neox']} {adapter} --max_new_tokens 5 --temperature 1 --dtype fp32"
        words = f"{flags} --num_return_sequences 2 --prompt 안녕 --output {tmp_path}/{name}.md {more}".split()
        code, lines = bad_input.run("prompt_eval", [*words, "--prompt", "안녕", "뭐 해요?"], monkeypatch)
        assert code == 0, lines
        found[name] = json.loads((tmp_path / f"{name}.json").read_text(encoding="utf-8"))["prompts"]
    assert found["vllm"] == found["local"] and len(found["local"]) == 2
    assert len(started) == 2 and started[0].log == tmp_path / "vllm.vllm.log"


def test_an_evaluation(folders, tmp_path, started):
    flags = f"--data_path sample/safety --max_prompts 4 --responder neox={folders['gpt_neox']} {GREEDY}".split()
    rows = {}
    for name in ("local", "vllm"):
        code, found, rows[name] = eval_harness.run("harmlessness", tmp_path / name, *flags, "--rollout", name)
        assert code == 0 and found["settings"]["rollout"] == name
    assert rows["vllm"] == rows["local"] and len(started) == 1 and started[0].log == tmp_path / "vllm/cache.vllm.log"


def test_no_room_for_what_is_merged(adapter, cache, monkeypatch):
    opened = Checkpoint(str(adapter), "--responder", rollout=SamplerFlags(rollout="vllm"))
    talk, how = [records.messages(r) for r in prompts(1)], Sampling(0.0, 1.0, 5, 3)
    monkeypatch.setattr(served, "MEMORY", "/proc")
    with pytest.raises(InputError, match="--responder .*adapter: --rollout vllm needs room in /proc: No such file"):
        answers(opened, talk, cache, how)
    monkeypatch.undo()
    before = list(Path(served.MEMORY).glob("korlhf-*"))
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(0, 0, 0))
    with pytest.raises(
        InputError, match="the weights take .* MiB, and 0 are free there; merge it with applications/export"
    ):
        answers(opened, talk, cache, how)
    assert list(Path(served.MEMORY).glob("korlhf-*")) == before


def test_a_model_of_the_hub_is_served_from_its_cache(folders, codec, tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    cached = tmp_path / "models--me--tiny"
    shutil.copytree(folders["gpt_neox"], cached / "snapshots" / ("0" * 40))
    (cached / "refs").mkdir()
    (cached / "refs/main").write_text("0" * 40)
    with served._folder(served.Finished("me/tiny", "--responder", codec, "fp32", 128)) as folder:
        weights = (folder / "model.safetensors").resolve()
        assert weights.is_relative_to(cached) and (folder / "config.json").exists()
        shutil.rmtree(folder)  # as the server's end does
    assert weights.exists()
    with (
        pytest.raises(InputError, match="--responder me/none: cannot be downloaded"),
        served._folder(served.Finished("me/none", "--responder", codec, "fp32", 128)),
    ):
        pass


@pytest.fixture
def of_plain(tmp_path, folders, monkeypatch):
    """Words of respond.py by plain_server.py, whose answers are an end, for ten records; `more` are its own."""
    monkeypatch.setenv("VLLM", str(PLAIN))
    monkeypatch.setitem(warm.ENVIRONMENT, "VLLM", str(PLAIN))
    found = write(tmp_path / "in.jsonl", prompts(10))
    files = f"--input {found} --output {tmp_path}/out.jsonl --responder neox={folders['gpt_neox']}"
    sampling = "--num_answers 1 --temperature 1 --max_new_tokens 5 --max_failed 1 --rollout vllm --vllm_args"

    def words(more):
        return [*f"{files} {sampling}".split(), f" --child_file {tmp_path}/child {more}"]

    return words


def kept(tmp_path):
    path = tmp_path / "llm_cache.sqlite"
    if not path.exists():
        return 0
    with sqlite3.connect(path) as db:
        made = db.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0]
        return made and db.execute("SELECT COUNT(*) FROM answers").fetchone()[0]


def happens(what, seconds=60.0):
    limit = time.monotonic() + seconds
    while not what() and time.monotonic() < limit:
        time.sleep(0.02)
    return what()


def ended(tmp_path):
    """Whether what the server had started has ended, and its folder has gone."""
    pid = int((tmp_path / "child").read_text())
    log = (tmp_path / "llm_cache.vllm.log").read_text(encoding="utf-8")
    folders = [word for word in log.split() if word.startswith(f"{served.MEMORY}/korlhf-")]
    return folders and not Path(f"/proc/{pid}").exists() and not any(map(os.path.exists, folders))


def test_a_server_that_dies_is_one_line_and_what_it_said_is_kept(of_plain, tmp_path, monkeypatch):
    code, lines = bad_input.run("respond", of_plain("--dies_after 3"), monkeypatch)
    assert code == 2 and kept(tmp_path) == 3, lines
    assert lines[-1].startswith("error: vLLM http://127.0.0.1:") and "is away: " in lines[-1]
    assert lines[-1].endswith("llm_cache.vllm.log); its answers are in the cache: start the same command again")
    assert happens(lambda: ended(tmp_path))


@pytest.mark.slow
def test_ctrl_c_ends_the_server(of_plain, tmp_path):
    process = start("respond", *of_plain("--hangs_after 3"))
    assert happens(lambda: kept(tmp_path) == 3 or process.poll() is not None)
    assert process.poll() is None, process.communicate()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "the same command resumes" in err
    assert happens(lambda: ended(tmp_path)) and kept(tmp_path) == 3
