"""Step 3 as a program, in this process, with every kind of --reward; and stopped by one, resumed."""

import gc
import json

import bad_input
import pytest
from openai_server import Server as JudgeServer
from reward_server import Server
from rigged_judge import form_of
from safetensors.torch import load_file

from korlhf.models import reward_model, save
from korlhf.models.tokenizer import load_tokenizer
from korlhf.rl import http_reward

PPO = "--data_split 0,0,1 --data_path prompts.jsonl --eval_data_path prompts2.jsonl "
PPO += "--max_prompt_seq_len 64 --max_answer_seq_len 12 "
PPO += "--per_device_generation_batch_size 2 --per_device_training_batch_size 2 --num_train_epochs 2 --dtype fp32 "
PPO += "--actor_learning_rate 1e-3 --actor_model_name_or_path neox "
CODE = "def score(prompts, answers, level):\n"
CODE += "    return [len(answer) % 7 + at for answer, at in zip(answers, level)]\n"


@pytest.fixture
def here(folders, tmp_path, monkeypatch):
    """A folder with data, a language model `neox`, and two reward models."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(http_reward, "FIRST_DELAY", 0.01)
    (tmp_path / "neox").symlink_to(folders["gpt_neox"])
    tokenizer = load_tokenizer(folders["gpt_neox"])
    for name in ("a", "b"):
        scorer = reward_model.load_reward_model(folders["gpt_neox"], new_head=True)
        reward_model.set_padding(scorer, tokenizer, tokenizer.eos_token_id)
        save.save_model(scorer, scorer.state_dict(), tokenizer, tmp_path / name)
    for name, start in (("prompts", 0), ("prompts2", 10)):
        rows = [{"prompt": f"{i}번째 질문이에요.", "category": "everyday", "level": i} for i in range(start, start + 4)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    (tmp_path / "mine.py").write_text(CODE, encoding="utf-8")
    return tmp_path


def run(monkeypatch, out, more):
    gc.collect()  # a run that was stopped gives the lock of its folder back
    return bad_input.run("ppo", f"{PPO} --output_dir {out} {more}".split(), monkeypatch)


def metrics(folder):
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [{k: v for k, v in row.items() if "second" not in k} for row in rows]


@pytest.mark.slow
def test_every_kind_at_once_and_no_critic_is_asked_for(here, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "key")
    with (
        Server(lambda answer: None if len(answer) % 2 else 1.5) as server,
        JudgeServer(form_of(lambda answer, place: 4)) as judge,
    ):
        judged = f"judge:everyday:openai:test-model@{judge.url}"
        specs = f"0.5*a,b 0.2*mine.py:score {server.url} {judged} -0.1*rules:repetition"
        more = f"--reward {specs} --veto rules:sense --ensemble_penalty 0.3 --advantage_estimator rloo"
        more += " --num_generations 2 --judge_samples 1 --eval_interval 2"
        code, lines = run(monkeypatch, "out", more)
        assert code == 0, lines
        assert server.bodies[0]["columns"]["level"] and judge.requests
    rows, names = metrics(here / "out"), ("a", "b", "mine.py:score", judged, "rules:repetition", "rules:sense")
    for row in rows:
        start = "" if "policy_loss" in row else "heldout_"
        assert {f"{start}score/{name}" for name in names} | {f"{start}vetoed"} <= row.keys()
    assert any(f"unscored/{server.url}" in row for row in rows)
    assert rows[1][f"score/{judged}"] == 4
    assert not (here / "out/critic").exists()
    settings = json.loads((here / "out/settings.json").read_text(encoding="utf-8"))
    assert {"reward a", "reward b", "reward mine.py:score", f"reward {judged}"} <= settings["inputs"].keys()


@pytest.mark.slow
def test_a_server_that_stays_away_ends_the_training_as_a_preemption_does(here, monkeypatch):
    """Requests: reference, held-out, steps 1 and 2, held-out, steps 3 and 4, held-out. First in the evaluation after
    step 2, then in step 3."""
    more = "--critic_model_name_or_path neox --eval_interval 2 --reward_wait 0.3 --concurrency 1 --print_answers"
    with Server() as server:
        specs = f"--reward {server.url} mine.py:score 2*a"
        assert run(monkeypatch, "whole", f"{more} {specs}")[0] == 0 and len(server.bodies) == 8
        told = f"the reward {server.url} gave no scores for 0.3 s (--reward_wait): status 503; stopped; start the same"
        for good in (4, 1):  # requests that are answered before it stays away
            count = len(server.bodies)
            server.faults = lambda number, last=count + good: 503 if number >= last else None
            code, lines = run(monkeypatch, "told", f"{more} {specs}")
            assert code == 75 and lines[-1].startswith(told), lines
            assert lines[-1].endswith(" command again to resume after step 2")
        server.faults = lambda number: None
        code, lines = run(monkeypatch, "told", f"{more} {specs}")
        assert code == 0, lines
    assert metrics(here / "whole") == metrics(here / "told")
    one, two = (load_file(here / name / "model.safetensors") for name in ("whole", "told"))
    assert all((one[key] == two[key]).all() for key in one)


@pytest.mark.slow
def test_a_changed_file_is_noticed_and_a_broken_one_leaves_the_training(here, monkeypatch):
    more = "--advantage_estimator reinforce --reward mine.py:score --max_steps"
    broken = (
        CODE
        + "calls = []\n\n\ndef second(prompts, answers):\n    calls.append(1)\n    return 0 if len(calls) > 3 else "
    )
    (here / "mine.py").write_text(broken + "[1.0] * len(answers)\n", encoding="utf-8")
    code, lines = run(monkeypatch, "broken", f"{more.replace('score', 'second')} 4")
    assert code == 2 and "the reward mine.py:second gave '0'; it must give a list of numbers; stopped" in lines[-1]
    assert (here / "broken/checkpoints/step_000001/state.json").exists()  # of 4 calls two are evaluations
    assert run(monkeypatch, "out", f"{more} 2 --save_steps 1")[0] == 0
    (here / "mine.py").write_text(CODE + "\n", encoding="utf-8")
    code, lines = run(monkeypatch, "out", f"{more} 4 --save_steps 1")
    assert code == 2 and "changed since its run began: --reward mine.py:score; give another" in lines[0]
