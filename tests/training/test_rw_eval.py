"""rw_eval.py as a user runs it: scores equal transformers' own, figures equal hand counting, errors are one line with
exit code 2.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import warm
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from korlhf.core import program as programs
from korlhf.data.tokenize import Codec
from korlhf.models import reward_model, save
from korlhf.models.tokenizer import load_tokenizer
from samples import tiny_base
from training.step2_reward_model_finetuning import rw_eval as program

words = str.split

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "training" / "step2_reward_model_finetuning" / "rw_eval.py"
LINES = [
    "오늘 날씨가 참 좋네요! 산책하러 갈까요?",
    "네, 좋아요. 같이 가요.",
    "안녕하세요. 반가워요. 저녁에 뭐 먹을까요?",
]
PAIRS = [
    {
        "prompt": f"질문 {i}?",
        "chosen": f"네, 좋아요. 같이 가요. {i}",
        "rejected": f"몰라 {i * 7}",
        "category": "a" if i < 4 else "b",
    }
    for i in range(6)
]
RANKED = {"prompt": "저녁에 뭐 먹을까요?", "answers": ["같이 골라 봐요.", "아무거나요.", "몰라"], "category": "b"}


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A random language model as samples/tiny_base.py makes it."""
    folder = tmp_path_factory.mktemp("rw_eval")
    text = write_jsonl(folder / "text.jsonl", [{"text": t} for t in LINES])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            sys,
            "argv",
            [
                *words("tiny_base.py --output_dir"),
                str(folder / "base"),
                "--text",
                text,
                *words("--vocab_size 400 --hidden_size 32 --layers 1"),
            ],
        )
        tiny_base.main()
    return folder / "base"


@pytest.fixture(scope="module")
def reward(base):
    """A random reward model with head, template and padding, saved as step 2 saves one; large weights, so that scores
    differ.
    """
    folder = base.parent / "reward"
    tokenizer = load_tokenizer(str(base))
    torch.manual_seed(5)
    model = reward_model.load_reward_model(str(base), new_head=True)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p) * 0.2)
    reward_model.set_padding(model, tokenizer, Codec(tokenizer).eos_token_id)
    save.save_model(model, model.state_dict(), tokenizer, folder, str(base))
    return folder


def own_score(folder, prompt, answer):
    """The score by plain transformers: rendered by the folder's chat template, one sequence, no padding."""
    tokenizer, model = (
        AutoTokenizer.from_pretrained(folder),
        AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32),
    )
    start = tokenizer.apply_chat_template(
        [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True
    )
    pieces = [*start.partition(prompt), answer]  # prompt, answer and markup are tokenised on their own
    ids = [i for piece in pieces for i in tokenizer(piece, add_special_tokens=False).input_ids] + [
        tokenizer.eos_token_id
    ]
    with torch.no_grad():
        return float(model(torch.tensor([ids])).logits[0, 0])


def run(*args):
    return subprocess.run(
        [warm.python(), str(PROGRAM), *map(str, args)], env=warm.ENVIRONMENT, capture_output=True, text=True
    )


def fails(monkeypatch, capsys, *args):
    """The program in this process: its one error line; argparse prints its usage first."""
    monkeypatch.setattr(sys, "argv", ["rw_eval.py", *map(str, args)])
    with pytest.raises(SystemExit) as exit_:
        programs.run(program.main)
    err = capsys.readouterr().err
    assert exit_.value.code == 2
    assert "Traceback" not in err
    lines = [line for line in err.splitlines() if "error: " in line]
    assert len(lines) == 1 and err.rstrip().splitlines()[-1] == lines[0]
    return lines[0]


def test_pairs_and_prompt(reward, tmp_path):
    data = write_jsonl(tmp_path / "짝.jsonl", [*PAIRS, RANKED])
    done = run(
        "--model_name_or_path",
        reward,
        "--data_path",
        data,
        *words("--prompt 안녕? --answer 몰라"),
        "네, 안녕하세요!",
        *words("--per_device_eval_batch_size 3 --output"),
        tmp_path / "새 폴더" / "rw.json",
        *words("--dtype fp32"),
    )
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "새 폴더" / "rw.json").read_text(encoding="utf-8"))
    rows = [
        json.loads(line) for line in (tmp_path / "새 폴더" / "rw.pairs.jsonl").read_text(encoding="utf-8").splitlines()
    ]

    # 6 pairs, and 3 ranked answers that make 3 x 2 / 2 = 3 pairs; each score as transformers gives it
    assert len(rows) == 9
    for row in rows:
        better, worse = own_score(reward, row["prompt"], row["better"]), own_score(reward, row["prompt"], row["worse"])
        assert row["score_better"] == pytest.approx(better, abs=1e-4) and row["score_worse"] == pytest.approx(
            worse, abs=1e-4
        )
        assert row["margin"] == pytest.approx(better - worse, abs=2e-4) and row["right"] == (better > worse)
    assert [(r["better"], r["worse"]) for r in rows[6:]] == [
        ("같이 골라 봐요.", "아무거나요."),
        ("같이 골라 봐요.", "몰라"),
        ("아무거나요.", "몰라"),
    ]
    figures = result["figures"]
    assert (figures["n"], figures["prompts"]) == (9, 7)
    assert figures["accuracy"] == pytest.approx(sum(r["right"] for r in rows) / 9)
    assert figures["mean_margin"] == pytest.approx(sum(r["margin"] for r in rows) / 9)
    # category a: prompts 0-3; b: prompts 4, 5 and the ranked one
    assert {c: f["n"] for c, f in figures["by_category"].items()} == {"a": 4, "b": 5}
    assert figures["by_category"]["a"]["accuracy"] == pytest.approx(sum(r["right"] for r in rows[:4]) / 4)

    # 7 prompts: rules are chosen on 4 of them and measured on the other 3; the model is shown on the same ones
    rules = result["trivial_rules"]
    assert "3 of 7" in rules["measured_on"] and "other half" in rules["measured_on"] and rules["model"]["prompts"] == 3
    assert (
        rules["measured_on"] in done.stdout and f"trivial rules on the same {rules['model']['n']} pairs" in done.stdout
    )
    assert "95 % interval" in done.stdout

    # the single prompt: best first
    single = result["single"]["answers"]
    scores = {a: own_score(reward, "안녕?", a) for a in ("몰라", "네, 안녕하세요!")}
    assert [a["answer"] for a in single] == sorted(scores, key=lambda a: -scores[a])
    assert [a["score"] for a in single] == pytest.approx(sorted(scores.values(), reverse=True), abs=1e-4)
    assert done.stdout.index(single[0]["answer"]) < done.stdout.index(single[1]["answer"])


def test_rules_chosen_on_training_pairs(reward, tmp_path, monkeypatch, capsys):
    """Longer is better in training, shorter in the pairs: the rule "longer" is wrong on all of them, and none is
    chosen on them.
    """
    train = write_jsonl(
        tmp_path / "train.jsonl",
        [{"prompt": f"가 {i}", "chosen": "길고 긴 대답", "rejected": "짧다"} for i in range(4)] + [PAIRS[0]],
    )
    data = write_jsonl(
        tmp_path / "pairs.jsonl", [{**p, "chosen": "네", "rejected": "모르겠는데 왜 물어"} for p in PAIRS]
    )
    monkeypatch.setattr(
        sys,
        "argv",
        [
            *words("rw_eval.py --model_name_or_path"),
            str(reward),
            "--data_path",
            data,
            "--train_data_path",
            train,
            "--output",
            str(tmp_path / "out.json"),
        ],
    )
    program.main()
    result = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))["trivial_rules"]
    assert result["rules"]["longer"] == 0.0 and "shorter" not in result["rules"]
    assert result["model"]["n"] == 6
    assert "4 prompts" in result["measured_on"] and "1 that are in --data_path too left out" in result["measured_on"]
    assert "trivial rules on the same 6 pairs" in capsys.readouterr().out


def test_refusals(base, reward, tmp_path, monkeypatch, capsys):
    data = write_jsonl(tmp_path / "pairs.jsonl", PAIRS)
    broken = write_jsonl(tmp_path / "broken.jsonl", [PAIRS[0], {"prompt": "가", "chosen": "나"}])
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("config.json", "model.safetensors"):
        (bare / name).write_bytes((reward / name).read_bytes())
    cases = [
        (["--data_path", tmp_path / "absent.jsonl"], "absent.jsonl: no such file"),
        (["--data_path", broken], "broken.jsonl:2: step 2 needs two or more ranked answers"),
        (["--data_path", data, "--max_seq_len", 3], "raise --max_seq_len"),
        (["--data_path", data, "--train_data_path", data], "--train_data_path"),
        (["--data_path", data, "--output", tmp_path], "is a folder"),
        (["--prompt", "가", "--answer", "나", " "], "answer 2 is empty"),
        (["--prompt", "가", "--answer", "나" * 600], "--answer 1: with the prompt it has"),
        (["--prompt", "가"], "--prompt and --answer belong together"),
        ([], "nothing to score"),
        (["--data_path", data, "--num_padding_at_beginning", 1], "--num_padding_at_beginning was removed"),
    ]
    for args, expected in cases:
        assert expected in fails(monkeypatch, capsys, "--model_name_or_path", reward, *args), args
    assert "no tokenizer" in fails(monkeypatch, capsys, "--model_name_or_path", bare, "--data_path", data)
    assert "not a reward model" in fails(monkeypatch, capsys, "--model_name_or_path", base, "--data_path", data)
    assert "no such folder" in fails(
        monkeypatch, capsys, "--model_name_or_path", tmp_path / "absent", "--data_path", data
    )


def test_margins_of_labels_and_pairs_that_are_too_long(reward, tmp_path, monkeypatch, capsys):
    rows = [
        {
            "prompt": f"질문 {i}?",
            "chosen": f"네, 좋아요. {i}",
            "rejected": "몰라",
            "category": "ab"[i % 2],
            "margin": i / 10,
        }
        for i in range(1, 21)
    ]
    rows[3] |= {"chosen": "네, 좋아요. " * 30}  # 4: of category a
    data, out = write_jsonl(tmp_path / "pairs.jsonl", rows), tmp_path / "out.json"
    flags = ["--model_name_or_path", str(reward), "--data_path", data, "--output", str(out)]
    argv = ["rw_eval.py", *flags, *words("--margin_column margin --max_seq_len 80 --dtype fp32")]
    monkeypatch.setattr(sys, "argv", argv)
    program.main()
    shown, result = capsys.readouterr().out, json.loads(out.read_text(encoding="utf-8"))
    assert "by category: a 1 of 10" in shown and "by the margin of the labels: 0.1-0.6" in shown
    bins = result["figures"]["by_margin"]
    assert [b["n"] for b in bins] == [5, 5, 4, 5] and result["figures"]["ceiling"] is None
    lines = (tmp_path / "out.pairs.jsonl").read_text(encoding="utf-8").splitlines()
    found = [json.loads(line) for line in lines]
    assert [r["label_margin"] for r in found] == [i / 10 for i in range(1, 21) if i != 4]
    assert bins[0]["accuracy"] == pytest.approx(sum(r["right"] for r in found[:5]) / 5)
    rules = result["trivial_rules"]
    assert rules["left_out"] in ({"a": 1}, {})  # {} if its prompt is in the half on which the rules were chosen
    assert (rules["with_left_out"] is None) == (rules["left_out"] == {})
    assert set(rules["rules_by_category"]) == {"a", "b"}
    other = write_jsonl(tmp_path / "train.jsonl", [{**r, "prompt": f"다른 {r['prompt']}"} for r in rows])
    monkeypatch.setattr(sys, "argv", [*argv, "--train_data_path", other])
    program.main()
    rules = json.loads(out.read_text(encoding="utf-8"))["trivial_rules"]
    assert rules["left_out"] == {"a": 1} and rules["rules_by_category"]["a"]["n"] == 9
    # longer is right in all, with the long one and without
    assert rules["rules"]["longer"] == rules["with_left_out"]["longer"] == 1.0
