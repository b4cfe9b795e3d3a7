"""`run_serve.sh` for real: transformers serve on a tiny exported model, and everything here that asks servers talks
to it."""

import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from free_port import free_port
from transformers import GenerationConfig

from korlhf.applications.chat.bots import open_bot
from korlhf.applications.chat.conversation import Conversation
from korlhf.data.tokenize import Codec
from korlhf.llm import checkpoint as local
from korlhf.llm import client as llm
from korlhf.llm.cache import Cache
from korlhf.llm.flags import LlmFlags
from korlhf.models import causal_lm as models
from korlhf.models.tokenizer import load_tokenizer
from korlhf.rl import rollout

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[3]
SERVE, CHAT = ROOT / "applications" / "export" / "run_serve.sh", ROOT / "applications" / "chat" / "run_chat.sh"
GREEDY = local.Sampling(temperature=0.0, top_p=1.0, max_new_tokens=8, seed=1)
TYPED = "안녕<|endoftext|>하세요"  # a special token that a client sends


def wait_for(url, process):
    for _ in range(600):
        assert process.poll() is None, "the server has ended"
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise AssertionError(f"{url} never answered")


@pytest.fixture(scope="module")
def served(folders, tmp_path_factory):
    """(folder, address, port) of a model that export.py could have written."""
    root = tmp_path_factory.mktemp("served")
    folder, tokenizer = str(root / "내 모델"), load_tokenizer(folders["gpt_neox"])
    lm = models.load_causal_lm(folders["gpt_neox"], tokenizer)
    lm.generation_config = GenerationConfig(
        eos_token_id=2, pad_token_id=2, do_sample=True, temperature=1.0, top_p=1.0, top_k=0
    )
    lm.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    port = free_port()
    env = {**os.environ, "HF_HOME": str(root / "hf"), "OMP_NUM_THREADS": "1"}
    with open(root / "log", "wb") as log:
        process = subprocess.Popen(
            ["bash", str(SERVE), folder, str(port), "--device", "cpu"],
            env=env,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        wait_for(f"http://127.0.0.1:{port}/health", process)
        yield folder, f"http://127.0.0.1:{port}/v1", port
    finally:
        process.send_signal(signal.SIGINT)  # as Ctrl-C does
        try:
            process.wait(30)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    assert f"talk to it: bash applications/chat/run_chat.sh 'openai:{folder}@" in (root / "log").read_text(
        encoding="utf-8"
    )


@pytest.fixture(scope="module")
def trained(folders):
    """Function: messages -> (prompt tokens, greedy answer) of the model as our own sampler answers."""
    tokenizer = load_tokenizer(folders["gpt_neox"])
    codec, lm = Codec(tokenizer), models.load_causal_lm(folders["gpt_neox"], tokenizer)

    def answer(messages):
        ids = codec.prompt(messages).ids
        return len(ids), codec.decode(rollout.sample(lm, [ids], [0], codec.eos_token_id, rollout.Limits(8, 0))[0])

    return answer


def whole(text):
    """transformers serve never streams the first bytes of a character that the length limit cut."""
    return text.rstrip("\ufffd")


def test_the_client_of_all_programs_gets_the_trained_models_answers(served, trained, tmp_path):
    folder, url, _ = served
    talks = [[{"role": "user", "content": text}] for text in ("안녕", "오늘 뭐 해요?", TYPED)]
    talks.append([*talks[0], {"role": "assistant", "content": "네."}, *talks[1]])
    bodies = [{"model": folder, "messages": talk, "temperature": 0.0, "max_tokens": 8, "seed": 1} for talk in talks]
    with Cache(tmp_path / "cache.sqlite") as cache:
        found = llm.Client(LlmFlags(base_url=url), cache).ask([llm.Request(body) for body in bodies])
    assert [(reply.prompt_tokens, reply.text.strip()) for reply, _ in found] == [
        trained(talk) for talk in talks
    ]  # TYPED stays text there too


def test_the_chat_streams_from_it(served, trained):
    folder, url, _ = served
    with open_bot(f"openai:{folder}@{url}") as bot:
        answer = bot.ask(Conversation().with_user("오늘 뭐 해요?"), GREEDY)
        pieces = list(answer)
        assert "".join(pieces) == whole(trained(Conversation().with_user("오늘 뭐 해요?"))[1]) and len(pieces) > 1
        warm = {
            bot.ask(Conversation().with_user("안녕"), local.Sampling(1.5, 1.0, 8, seed)).wait() for seed in range(4)
        }
        assert len(warm) > 1  # the temperature is heard


def test_the_terminal_chat_talks_to_it(served, trained):
    folder, url, _ = served
    done = subprocess.run(
        ["bash", str(CHAT), f"openai:{folder}@{url}", "--temperature", "0", "--max_new_tokens", "8"],
        input="오늘 뭐 해요?\n",
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0 and done.stdout.strip() == whole(
        trained(Conversation().with_user("오늘 뭐 해요?"))[1]
    ), done.stderr
    done = subprocess.run(
        ["bash", str(CHAT), f"openai:other@{url}"], input="안녕\n", capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1 and "Server is pinned to" in done.stderr and folder in done.stderr


def test_it_lists_its_models_without_an_error(served):
    with urllib.request.urlopen(served[1] + "/models", timeout=30) as answer:
        assert answer.status == 200


@pytest.mark.parametrize(
    "words, says",
    [
        (["{folder}", "{port}"], "PORT={port}: taken"),
        (["./none"], "MODEL=./none: no config.json there"),
        (["{folder}", "x"], "PORT=x: give a port"),
        (["{folder}", "70000"], "PORT=70000"),
        (["{folder}", "80", "more"], "more: one word too many"),
    ],
)
def test_what_cannot_be_served_is_one_line(served, words, says):
    folder, _, port = served
    done = subprocess.run(
        ["bash", str(SERVE), *(w.format(folder=folder, port=port) for w in words)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {says.format(port=port)}")
    assert done.stderr.count("\n") == 1


def test_a_reward_model_is_not_served(tmp_path):
    (tmp_path / "config.json").write_text('{"architectures": ["GPTNeoXForSequenceClassification"]}', encoding="utf-8")
    done = subprocess.run(
        ["bash", str(SERVE), str(tmp_path), str(free_port())], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert (
        done.stderr
        == f"error: MODEL={tmp_path}: a reward model, which writes no answers; give a folder of step 1 or 3\n"
    )
