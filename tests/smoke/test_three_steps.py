"""The scripts of tiny/ one after another, and what they leave behind."""

import json
import re
import subprocess

import torch
import warm
from tiny_scripts import FEW_STEPS, ROOT, environment, finished, metrics, run, run_all
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from korlhf.data import tokenize
from korlhf.models.tokenizer import load_tokenizer

words = str.split


def test_every_stage_leaves_a_model_a_log_and_pictures(three_steps):
    for stage in ("base", "sft", "reward", "ppo"):
        folder = three_steps / stage
        for name in (
            "model.safetensors",
            "tokenizer.json",
            "chat_template.jinja",
            "README.md",
            "curves.png",
            "metrics.jsonl",
            "training.log",
            "finished.json",
        ):
            assert (folder / name).stat().st_size, f"{stage}/{name}"
        kept = [p.name for p in folder.glob("checkpoints/*")]  # by runs that --max_steps ended
        assert kept in ([], [f"step_{finished(folder)['steps']:06d}"])
    assert list((three_steps / "sft" / "tensorboard").iterdir())
    for part in ("best", "critic", "actor_ema"):
        assert (three_steps / "ppo" / part / "model.safetensors").exists()


OURS = re.compile(
    r"""
    |==\ \d{4}-\d\d-\d\d\ .*                              # a command
    |\d+\ of\ \d+\ [\w\ ]+\ \(.*are\ left\ out;.*|\ \ by\ category:\ .*
    |(note|warning|resuming)\b.*
    |(SFT|PPO|reward\ model):\ step\ \d+/\d+,\ .*\ left
    |(before|after):\ held-out\ .*
    |\ \ [a-z]+\ +loss\ .*
    |held-out\ pairs|\ \ category\ +accuracy\ .*|\ \ [a-z]+\ +\d\.\d{3}\ .*\ -\ \d\.\d{3}\ .*
    |\ \ (trivial\ rules\ on|in\ brackets:|WARNING:\ the\ (interval|model))\ .*
    |\ \ \[\d+\]\ .*|\ {6}->\ .*\(score\ -?\d.*\)        # --print_answers
    |.*\ is\ finished\ already;.*
    """,
    re.VERBOSE,
)


def test_every_line_of_the_logs_is_one_of_ours(three_steps):
    """Off a terminal: no bars, and nothing of what transformers, DeepSpeed and torch like to say."""
    for stage in ("base", "sft", "reward", "ppo"):
        text = (three_steps / "logs" / f"{stage}.log").read_bytes().decode()
        assert "\r" not in text and "held-out" in text
        assert [line for line in text.split("\n") if not OURS.fullmatch(line)] == []


def test_cards_show_answers_figures_and_no_path(three_steps):
    for stage, samples, base in (
        ("base", 0, "base_init"),
        ("sft", 3, "base"),
        ("reward", 6, "sft"),
        ("ppo", 6, "sft"),
    ):
        text = (three_steps / stage / "README.md").read_text(encoding="utf-8")
        shown = [line for line in text.splitlines() if line.startswith(("- 답변", "- 더", "- 학습"))]
        assert len(shown) == samples and ("AI가 쓴 것" in text) == (samples > 0 and stage != "reward")
        assert f"from `{base}`" in text and ("reward model: `reward`" in text) == (stage == "ppo")
        assert "출력" not in text and "/models" not in text
        assert re.search(r"^\| (loss|accuracy|score) \|.* \[.*, .*\]", text, re.M), text


def test_training_did_something(three_steps):
    sft = finished(three_steps / "sft")
    assert sft["heldout_after"]["loss"] < sft["heldout_before"]["loss"]
    assert sft["heldout_after"]["n"] == 40
    reward = finished(three_steps / "reward")["heldout_after"]
    assert reward["n"] == 180 and 0 <= reward["ci95"][0] <= reward["accuracy"] <= reward["ci95"][1] <= 1
    assert finished(three_steps / "reward")["trivial_rules"]
    steps = [m for m in metrics(three_steps / "ppo") if "policy_loss" in m]
    assert [m["step"] for m in steps] == [1, 2, 3]
    # One minibatch more than one: the first is on-policy, the second already off it.
    assert steps[0]["ratio_max"] > 1 and abs(steps[0]["kl"]) < 1e-3 and steps[0]["ptx_loss"] > 0


def test_one_template_from_training_to_answers(three_steps):
    templates = {
        (three_steps / s / "chat_template.jinja").read_text(encoding="utf-8")
        for s in ("base", "sft", "reward", "ppo", "ppo/best", "ppo/critic")
    }
    assert len(templates) == 1
    tokenizer = AutoTokenizer.from_pretrained(three_steps / "ppo")
    plain = tokenizer.apply_chat_template(
        [{"role": "user", "content": "안녕하세요?"}], tokenize=False, add_generation_prompt=True
    )
    codec = tokenize.Codec(load_tokenizer(str(three_steps / "ppo")))
    assert (
        tokenizer(plain, add_special_tokens=False).input_ids
        == codec.prompt([{"role": "user", "content": "안녕하세요?"}]).ids
    )


def test_models_load_in_plain_transformers(three_steps):
    lm = AutoModelForCausalLM.from_pretrained(three_steps / "ppo")
    tokenizer = AutoTokenizer.from_pretrained(three_steps / "ppo")
    ids = tokenizer.apply_chat_template(
        [{"role": "user", "content": "점심 뭐 먹지?"}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    out = lm.generate(**ids, max_new_tokens=5, do_sample=False)
    assert out.size(1) > ids["input_ids"].size(1)
    assert lm.generation_config.eos_token_id == tokenizer.eos_token_id


def test_rw_eval_and_transformers_give_the_same_score(three_steps, tmp_path):
    answers = ["고생 많으셨어요. 푹 쉬세요.", "알아서 하세요."]
    out = tmp_path / "scores.json"
    program = ROOT / "training/step2_reward_model_finetuning/rw_eval.py"
    subprocess.run(
        [
            warm.python(),
            str(program),
            "--model_name_or_path",
            str(three_steps / "reward"),
            "--prompt",
            "오늘 너무 힘들었어",
            "--answer",
            *answers,
            "--output",
            str(out),
        ],
        check=True,
        env=environment(),
        capture_output=True,
    )
    found = json.loads(out.read_text(encoding="utf-8"))
    tokenizer = AutoTokenizer.from_pretrained(three_steps / "reward")
    model = AutoModelForSequenceClassification.from_pretrained(three_steps / "reward")
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
    texts = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": "오늘 너무 힘들었어"}, {"role": "assistant", "content": a}], tokenize=False
        )
        for a in answers
    ]
    with torch.no_grad():
        scores = (
            model(**tokenizer(texts, padding=True, return_tensors="pt", add_special_tokens=False))
            .logits.squeeze(1)
            .tolist()
        )
    ours = {row["answer"]: row["score"] for row in found["single"]["answers"]}
    for answer, score in zip(answers, scores):
        assert abs(ours[answer] - score) < 1e-4


def test_a_finished_run_is_not_trained_again(three_steps):
    before = (three_steps / "sft" / "model.safetensors").stat().st_mtime_ns
    done = run(
        "sft",
        three_steps / "sft",
        *words("0 --model_name_or_path"),
        three_steps / "base",
        *words("--max_steps 8 --max_eval_examples 40 --enable_tensorboard"),
    )
    assert "finished already" in done.stdout
    assert (three_steps / "sft" / "model.safetensors").stat().st_mtime_ns == before


def test_without_a_critic_and_without_a_reference(three_steps, tmp_path):
    flags = words(
        "--advantage_estimator rloo --num_generations 4 --kl_coef 0 --kl_target 0 --max_steps 2 --max_eval_examples 4 "
        "--max_answer_seq_len 12 --per_device_generation_batch_size 8 --per_device_training_batch_size 8 --save_steps 0"
    )
    run("ppo", three_steps / "sft", three_steps / "reward", 0, 0, tmp_path / "rloo", *flags)
    steps = [m for m in metrics(tmp_path / "rloo") if "policy_loss" in m]
    assert [m["answers"] for m in steps] == [8, 8]
    assert all(not {"kl", "value_loss"} & m.keys() and 0 <= m["equal_groups"] <= 1 for m in steps)
    assert not (tmp_path / "rloo" / "critic").exists() and (tmp_path / "rloo" / "model.safetensors").exists()
    assert "kl" not in finished(tmp_path / "rloo")["heldout_after"]
    assert "RLOO-tuned model (step 3)" in (tmp_path / "rloo" / "README.md").read_text(encoding="utf-8")


def test_other_settings_in_the_same_folder_are_refused(three_steps):
    done = run(
        "sft", three_steps / "sft", 0, "--model_name_or_path", three_steps / "base", "--max_steps", 9, check=False
    )
    assert done.returncode == 2
    assert "max_eval_examples" in done.stdout and "Traceback" not in done.stdout


def test_the_quickstart_leaves_its_table_picture_and_dialogues(three_steps):
    shown = run_all(
        three_steps, "--from", "dialogues", "--to", "summary", RECIPE="quickstart", DIALOGUES_FLAGS="--max_prompts 2"
    )
    assert "reward: held-out accuracy" in shown
    summary = json.loads((three_steps / "summary.json").read_text(encoding="utf-8"))
    assert summary["seconds"]["total"] > 0 and summary["ppo"]["steps"] == 3 and summary["sft"]["peak_memory_mb"] > 10
    assert (three_steps / "curves.png").stat().st_size
    dialogues = (three_steps / "dialogues.md").read_text(encoding="utf-8")
    assert dialogues.count("\n| base | sft | ppo |\n") == 2


def test_the_sample_of_data_prep_takes_or_trains_the_quickstarts_models(three_steps):
    """Found where it would train them, they are finished; it goes on, to a folder of corpora that is not there."""
    settings = {"OUT": str(three_steps.parent), "MODELS": "none", "RAW": "no corpora"}
    done = subprocess.run(
        ["bash", str(ROOT / "data_prep/run_sample.sh")],
        env={**environment(), **FEW_STEPS, **settings},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and "the server of replies does not start" in done.stderr
    for stage in ("base", "sft", "reward"):
        assert any(stage in line and "finished" in line for line in done.stdout.splitlines()), done.stdout
