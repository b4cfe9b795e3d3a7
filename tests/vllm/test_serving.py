"""`SERVER=vllm run_serve.sh` for real, on the CPU: what here asks servers talks to it, and a reward model gives the
folder's own scores.
"""

import contextlib
import os
import signal
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import torch
from app_server import wait_for
from free_port import free_port
from toy_policy import ALONE
from transformers import AutoModelForCausalLM, GPTNeoXConfig

from korlhf.applications.chat.bots import open_bot
from korlhf.core.errors import InputError
from korlhf.data import packing
from korlhf.data.tokenize import Codec
from korlhf.judges import choice, geval
from korlhf.judges import rubric as rubrics
from korlhf.judges.form import Item
from korlhf.llm.cache import Cache
from korlhf.llm.checkpoint import Sampling
from korlhf.llm.client import Client, Request
from korlhf.llm.flags import LlmFlags
from korlhf.llm.protocol import plain
from korlhf.models import causal_lm, reward_model, save
from korlhf.models.tokenizer import load_tokenizer
from korlhf.rl import rollout
from korlhf.rl.http_reward import open_http
from korlhf.rl.rewards import Prompt

SERVE = Path(__file__).resolve().parents[2] / "applications" / "export" / "run_serve.sh"
USER = [{"role": "user", "content": "오늘 뭐 해요?"}]
TALKS = [USER, [*USER, {"role": "assistant", "content": "네."}, {"role": "user", "content": "안녕"}]]
ROOM = 16384  # tokens: the tiny tokenizer makes many of a rubric


def there(url):
    try:
        with urllib.request.urlopen(url, timeout=30) as reply:
            return reply.status == 200
    except (urllib.error.URLError, OSError):
        return False


@contextlib.contextmanager
def served(folder, *flags):
    """The address of run_serve.sh with vLLM and a folder."""
    port = free_port()
    env = os.environ | {"SERVER": "vllm", "VLLM_CPU_KVCACHE_SPACE": "1", "OMP_NUM_THREADS": "1"}
    with open(f"{folder}.log", "wb") as log:
        command = ["bash", str(SERVE), str(folder), str(port), *flags]
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_for(lambda: process.poll() is not None or there(f"http://127.0.0.1:{port}/health"), 400)
        assert process.poll() is None, Path(f"{folder}.log").read_text(encoding="utf-8")[-500:]
        yield f"http://127.0.0.1:{port}"
        assert process.poll() is None  # nothing that was asked has ended it
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGINT)  # as Ctrl-C does
            process.wait(60)
            os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def folder(plain_tokenizer, tmp_path_factory):
    """A random language model with room for a judge's rubric."""
    torch.manual_seed(0)
    shape = {
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
    }  # heads of 32
    ends = {"bos_token_id": plain_tokenizer.eos_token_id, "eos_token_id": plain_tokenizer.eos_token_id}
    config = GPTNeoXConfig(
        **shape, **ends, vocab_size=len(plain_tokenizer), max_position_embeddings=ROOM, initializer_range=0.2
    )
    made = tmp_path_factory.mktemp("served") / "내 모델"
    AutoModelForCausalLM.from_config(config).save_pretrained(made)
    plain_tokenizer.save_pretrained(made)
    load_tokenizer(str(made)).save_pretrained(made)  # again, with the template, which a server needs
    return made


@pytest.fixture(scope="module")
def url(folder):
    # Without the second flag a model that knows no JSON fills it with blanks for ever.
    no_blanks = '{"backend": "xgrammar", "disable_any_whitespace": true}'
    with served(folder, "--structured-outputs-config", no_blanks) as address:
        yield f"{address}/v1"


@pytest.fixture
def client(url, tmp_path):
    with Cache(tmp_path / "cache.sqlite") as cache:
        yield Client(LlmFlags(base_url=url), cache)


def test_the_client_gets_the_models_own_answers_to_the_same_tokens(client, folder):
    tokenizer = load_tokenizer(str(folder))
    codec, lm = Codec(tokenizer), causal_lm.load_causal_lm(str(folder), tokenizer)
    ids = [codec.prompt(talk).ids for talk in TALKS]
    own = [codec.decode(a) for a in rollout.sample(lm, ids, [0, 0], codec.eos_token_id, rollout.Limits(8, 0))]
    bodies = [{"model": str(folder), "messages": t, "temperature": 0.0, "max_tokens": 8, "seed": 1} for t in TALKS]
    replies = [reply for reply, _ in client.ask([Request(body) for body in bodies])]
    assert [reply.prompt_tokens for reply in replies] == list(map(len, ids))
    # The server keeps back the first bytes of a character that the limit cut.
    assert [r.text.strip().rstrip("\ufffd") for r in replies] == [plain(text).rstrip("\ufffd") for text in own]


def test_the_chat_streams_and_forgets_what_is_too_long(url, folder):
    with open_bot(f"openai:{folder}@{url}") as bot:
        talk = TALKS[1][-1:]
        answers = {bot.ask(talk, Sampling(1.5, 1.0, 8, seed)).wait() for seed in range(4)}
        assert len(answers) > 1  # temperature and seed are heard
        assert bot.ask(talk, Sampling(1.5, 1.0, 8, 0)).wait() in answers
        long = [{"role": "user", "content": "가나다라 " * ROOM}, *TALKS[1][1:]]
        answer = bot.ask(long, Sampling(0.0, 1.0, 8, 1))
        assert answer.wait() == bot.ask(talk, Sampling(0.0, 1.0, 8, 1)).wait() and answer.left_out == 1


def test_it_judges_by_schema_and_token_probabilities(client, folder):
    rubric = rubrics.load_rubric(rubrics.FOLDER / "everyday.yaml")
    able = geval.abilities(client, rubric, str(folder), "auto", 1.0)
    assert able == (True, True)
    items = [Item(rubric, USER, ("산책해요.", "몰라."))]
    [judged] = geval.judge_answers(client, geval.Judge(str(folder), *able, samples=1, temperature=1.0), items)
    assert [score.method for score in judged.results] == [geval.PROBABILITIES] * 2
    assert all(1 <= value <= 5 for score in judged.results for value in score.scores.values())
    question = choice.Question("심판", "어느 쪽이 좋은가요?", ("앞", "뒤"))
    [picked] = choice.ask(client, str(folder), able, [question], "questions")
    assert picked.method == choice.PROBABILITIES and sum(picked.probabilities) == pytest.approx(1)


def test_what_it_refuses_anyway_is_no_missing_ability(client, folder):
    body = {"model": str(folder), "messages": USER, "max_tokens": ROOM + 1, "logprobs": True}
    with pytest.raises(InputError, match="without logprobs too .400: max_tokens="):
        client.supports(body, ["logprobs"])


def test_a_reward_model_gives_the_folders_own_scores(folder, tmp_path):
    tokenizer = load_tokenizer(str(folder))
    scorer = reward_model.load_reward_model(str(folder), new_head=True)
    reward_model.set_padding(scorer, tokenizer, tokenizer.eos_token_id)
    save.save_model(scorer, scorer.state_dict(), tokenizer, tmp_path / "reward")
    prompts = [Prompt([1], tuple(talk), "everyday") for talk in TALKS] * 8
    texts = [f"{i}번째 답이에요. {'<|endoftext|>' * (i % 2)}" for i in range(len(prompts))]
    codec = Codec(load_tokenizer(str(tmp_path / "reward")))
    packed = packing.pack([codec.with_answer(p.messages, t).ids for p, t in zip(prompts, texts)]).to(ALONE.device)
    with torch.no_grad():
        own = reward_model.TokenValues(scorer.eval())(packed)[packed.last].tolist()
    with served(tmp_path / "reward") as address:
        how = {"seconds": 60.0, "concurrency": 4, "wait": 60.0}
        scores = open_http(f"{address}/classify", "--reward", **how)(prompts, texts)
    assert scores == pytest.approx(own, abs=1e-4) and len(set(own)) > 8
