"""`run_serve.sh` for real: transformers serve on a tiny exported model, and what here asks servers talks to it."""

import os
import signal
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from app_server import wait_for
from free_port import free_port
from transformers import GenerationConfig

from korlhf.applications.chat.bots import open_bot
from korlhf.applications.chat.conversation import Conversation
from korlhf.data.tokenize import Codec
from korlhf.llm.cache import Cache
from korlhf.llm.checkpoint import Sampling
from korlhf.llm.client import Client, Request
from korlhf.llm.flags import LlmFlags
from korlhf.models import causal_lm
from korlhf.models.tokenizer import load_tokenizer
from korlhf.rl import rollout

pytestmark = pytest.mark.slow
SERVE = Path(__file__).resolve().parents[3] / "applications" / "export" / "run_serve.sh"
TYPED = "안녕<|endoftext|>하세요"  # a special token that a client sends


def answers(url):
    try:
        with urllib.request.urlopen(url, timeout=30) as reply:
            return reply.status == 200
    except (urllib.error.URLError, OSError):
        return False


@pytest.fixture(scope="module")
def served(folders, tmp_path_factory):
    """(folder, address, port) of a model that export.py could have written."""
    root, port = tmp_path_factory.mktemp("served"), free_port()
    folder, tokenizer = str(root / "내 모델"), load_tokenizer(folders["gpt_neox"])
    lm = causal_lm.load_causal_lm(folders["gpt_neox"], tokenizer)
    sampled = {"do_sample": True, "temperature": 1.0, "top_p": 1.0, "top_k": 0}
    lm.generation_config = GenerationConfig(eos_token_id=2, pad_token_id=2, **sampled)
    lm.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    env = {**os.environ, "HF_HOME": str(root / "hf"), "OMP_NUM_THREADS": "1"}
    with open(root / "log", "wb") as log:
        command = ["bash", str(SERVE), folder, str(port), "--device", "cpu"]
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_for(lambda: process.poll() is not None or answers(f"http://127.0.0.1:{port}/health"), 120)
        yield folder, f"http://127.0.0.1:{port}/v1", port
    finally:
        process.send_signal(signal.SIGINT)  # as Ctrl-C does
        try:
            process.wait(30)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    assert f"run_chat.sh 'openai:{folder}@" in (root / "log").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def trained(folders):
    """Function: messages -> (prompt tokens, greedy answer) of the model as our own sampler answers."""
    tokenizer = load_tokenizer(folders["gpt_neox"])
    codec, lm = Codec(tokenizer), causal_lm.load_causal_lm(folders["gpt_neox"], tokenizer)

    def answer(messages):
        ids = codec.prompt(messages).ids
        return len(ids), codec.decode(rollout.sample(lm, [ids], [0], codec.eos_token_id, rollout.Limits(8, 0))[0])

    return answer


def test_the_client_of_all_programs_gets_the_trained_models_answers(served, trained, tmp_path):
    folder, url, _ = served
    talks = [[{"role": "user", "content": text}] for text in ("안녕", "오늘 뭐 해요?", TYPED)]
    talks.append([*talks[0], {"role": "assistant", "content": "네."}, *talks[1]])
    bodies = [{"model": folder, "messages": talk, "temperature": 0.0, "max_tokens": 8, "seed": 1} for talk in talks]
    with Cache(tmp_path / "cache.sqlite") as cache:
        found = Client(LlmFlags(base_url=url), cache).ask([Request(body) for body in bodies])
    told = [(reply.prompt_tokens, reply.text.strip()) for reply, _ in found]
    assert told == [trained(talk) for talk in talks]  # TYPED stays text there too
    assert answers(f"{url}/models")


def test_the_chat_streams_from_it(served, trained):
    folder, url, _ = served
    with open_bot(f"openai:{folder}@{url}") as bot:
        talk = Conversation().with_user("오늘 뭐 해요?")
        pieces = list(bot.ask(talk, Sampling(0.0, 1.0, 8, 1)))
        # the first bytes of a character that the length limit cut are never streamed
        assert "".join(pieces) == trained(talk)[1].rstrip("\ufffd") and len(pieces) > 1
        warm = {bot.ask(talk, Sampling(1.5, 1.0, 8, seed)).wait() for seed in range(4)}
        assert len(warm) > 1  # the temperature is heard


@pytest.mark.parametrize(
    "words, says",
    [
        (["{folder}", "{port}"], "PORT={port}: taken"),
        (["./none"], "MODEL=./none: no config.json there"),
        (["{folder}", "70000"], "PORT=70000: give a port"),
        (["{reward}"], "MODEL={reward}: a reward model, which writes no answers"),
    ],
)
def test_what_cannot_be_served_is_one_line(served, tmp_path, words, says):
    config = '{"architectures": ["GPTNeoXForSequenceClassification"]}'
    (tmp_path / "config.json").write_text(config, encoding="utf-8")
    values = {"folder": served[0], "port": served[2], "reward": tmp_path}
    command = ["bash", str(SERVE), *(w.format(**values) for w in words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"error: {says.format(**values)}")
