"""prompt_eval.py as a user runs it: greedy answers equal transformers' own, the files hold them side by side, errors
are one line.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import warm
from transformers import AutoModelForCausalLM, AutoTokenizer

from korlhf.core import program as programs
from korlhf.core.ai_mark import MARK, NOTICE
from korlhf.data.tokenize import Codec
from korlhf.models import reward_model, save
from korlhf.models.tokenizer import load_tokenizer
from korlhf.rl import prompt_eval
from samples import tiny_base
from training.step1_supervised_finetuning import prompt_eval as program

words = str.split

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "training" / "step1_supervised_finetuning" / "prompt_eval.py"
LINES = [
    "오늘 날씨가 참 좋네요! 산책하러 갈까요?",
    "네, 좋아요. 같이 가요.",
    "안녕하세요. 반가워요. 저녁에 뭐 먹을까요?",
]
PROMPTS = ["오늘 뭐 해|요?", "안녕하세요"]


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two random language models of the same shape, the second with the human_assistant template in its folder."""
    root = tmp_path_factory.mktemp("prompt_eval")
    text = write_jsonl(root / "text.jsonl", [{"text": t} for t in LINES])
    for name, seed in (("base", 1), ("sft", 2)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                sys,
                "argv",
                [
                    *words("tiny_base.py --output_dir"),
                    str(root / name),
                    "--text",
                    text,
                    *words("--vocab_size 400 --hidden_size 32 --layers 1 --seed"),
                    str(seed),
                ],
            )
            tiny_base.main()
    model = AutoModelForCausalLM.from_pretrained(root / "base")
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(20)  # clear favourites: rounding cannot change a greedy answer
    model.save_pretrained(root / "base")
    load_tokenizer(str(root / "sft"), "human_assistant").save_pretrained(root / "sft")
    return root


def run_here(monkeypatch, *args):
    monkeypatch.setattr(sys, "argv", ["prompt_eval.py", *map(str, args)])
    program.main()


def fails(monkeypatch, capsys, *args):
    """The program in this process: its one error line; argparse prints its usage first."""
    with pytest.raises(SystemExit) as exit_:
        programs.run(lambda: run_here(monkeypatch, *args))
    err = capsys.readouterr().err
    assert exit_.value.code == 2
    assert "Traceback" not in err
    lines = [line for line in err.splitlines() if "error: " in line]
    assert len(lines) == 1 and err.rstrip().splitlines()[-1] == lines[0]
    return lines[0]


def test_side_by_side(folders, tmp_path):
    done = subprocess.run(
        [
            warm.python(),
            str(PROGRAM),
            "--model_name_or_path_baseline",
            str(folders / "base"),
            "--model_name_or_path_finetune",
            str(folders / "sft"),
            "--prompt",
            *PROMPTS,
            *words("--max_new_tokens 7 --dtype fp32 --output"),
            str(tmp_path / "새 폴더" / "answers.md"),
        ],
        capture_output=True,
        text=True,
        env=warm.ENVIRONMENT,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "새 폴더" / "answers.json").read_text(encoding="utf-8"))
    text = (tmp_path / "새 폴더" / "answers.md").read_text(encoding="utf-8")
    assert result.items() >= MARK.items() and result["time"].startswith("20")
    assert f"\n> {NOTICE['ko']} {NOTICE['en']}\n" in text
    assert [m["name"] for m in result["models"]] == ["baseline", "finetune"]
    assert [r["messages"][-1]["content"] for r in result["prompts"]] == PROMPTS

    # each model is written to with its own template
    assert "### 명령어:\n{prompt}" in result["models"][0]["template"]
    assert result["models"][1]["template"] == "Human: {prompt}\n\nAssistant:\n"

    # greedy answers as transformers generates them, prompt by prompt
    tokenizer, model = (
        AutoTokenizer.from_pretrained(folders / "base"),
        AutoModelForCausalLM.from_pretrained(folders / "base", dtype=torch.float32),
    )
    for row in result["prompts"]:
        prompt = row["messages"][-1]["content"]
        pieces = result["models"][0]["template"].replace("{prompt}", f"\0{prompt}\0").split("\0")
        ids = [i for piece in pieces for i in tokenizer(piece, add_special_tokens=False).input_ids]
        made = model.generate(
            torch.tensor([ids]),
            attention_mask=torch.ones(1, len(ids), dtype=torch.long),
            max_new_tokens=7,
            do_sample=False,
        )[0, len(ids) :]
        answer = row["answers"]["baseline"][0]
        ended = int(made[-1]) == tokenizer.eos_token_id
        assert answer["text"] == tokenizer.decode(made, skip_special_tokens=True).strip()
        assert (answer["tokens"], answer["ended"]) == (len(made), ended)
    for m in result["models"]:
        found = [a for row in result["prompts"] for a in row["answers"][m["name"]]]
        assert m["means"]["n"] == 2 and m["means"]["tokens"] == sum(a["tokens"] for a in found) / 2

    # Markdown: a column a model, and a bar in a prompt starts no column
    assert "| baseline | finetune |" in text and "오늘 뭐 해\\|요?" in text
    assert PROMPTS[0] in done.stdout and "baseline:" in done.stdout and "seed 1234" in done.stdout


def test_cell_stays_one_cell():
    assert prompt_eval.cell("a|b\n<i>*c*") == "a\\|b<br>&lt;i>\\*c\\*"


def test_draw_of_prompts_and_several_answers(folders, tmp_path, monkeypatch):
    """3 of 10 prompts, 2 answers each; the same seed draws and answers the same again, and two answers to a prompt
    differ.
    """
    data = write_jsonl(tmp_path / "prompts.jsonl", [{"prompt": f"질문 {i}", "category": f"c{i}"} for i in range(10)])
    common = [
        "--model_name_or_path",
        folders / "base",
        folders / "sft",
        "--data_path",
        data,
        *words("--max_prompts 3 --max_new_tokens 6 --temperature 1.0 --num_return_sequences 2"),
    ]
    results = []
    for name, more in (("a", []), ("b", ["--per_device_eval_batch_size", 1]), ("c", ["--seed", 7])):
        run_here(monkeypatch, *common, *more, "--output", tmp_path / name)
        results.append(json.loads((tmp_path / f"{name}.json").read_text(encoding="utf-8")))
    first, again, other = results
    prompts = [r["messages"][-1]["content"] for r in first["prompts"]]
    assert (
        len(set(prompts)) == 3
        and prompts == sorted(prompts)
        and all(r["category"] == "c" + r["messages"][-1]["content"][-1] for r in first["prompts"])
    )
    assert first["prompts"] == again["prompts"]  # batches change nothing
    assert first["prompts"] != other["prompts"]
    assert all(len(r["answers"]["base"]) == len(r["answers"]["sft"]) == 2 for r in first["prompts"])
    assert all(a["text"] != b["text"] for r in first["prompts"] for a, b in [r["answers"]["sft"]])


def test_long_prompts_are_left_out_for_all_models(folders, tmp_path, monkeypatch, capsys):
    """The two templates make the same prompt differently long: what one model cannot read, the other is not asked
    either.
    """
    long = "가나다라" * 8
    lengths = [
        len(Codec(load_tokenizer(str(folders / n))).prompt([{"role": "user", "content": long}]))
        for n in ("base", "sft")
    ]
    assert min(lengths) < max(lengths)
    run_here(
        monkeypatch,
        "--model_name_or_path",
        folders / "base",
        folders / "sft",
        *words("--prompt 가"),
        long,
        "--max_prompt_seq_len",
        max(lengths) - 1,
        *words("--max_new_tokens 3 --output"),
        tmp_path / "out",
    )
    result = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert [r["messages"][-1]["content"] for r in result["prompts"]] == ["가"]
    assert "1 of 2 prompts" in capsys.readouterr().out


def test_refusals(folders, tmp_path, monkeypatch, capsys):
    torch.manual_seed(0)
    tokenizer = load_tokenizer(str(folders / "base"))
    scorer = reward_model.load_reward_model(str(folders / "base"), new_head=True)
    save.save_model(scorer, scorer.state_dict(), tokenizer, tmp_path / "reward", str(folders / "base"))
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("config.json", "model.safetensors"):
        (bare / name).write_bytes((folders / "base" / name).read_bytes())
    base = ["--model_name_or_path", folders / "base"]
    cases = [
        ([*base, "--data_path", tmp_path / "absent.jsonl"], "absent.jsonl: no such file"),
        ([*base, "--prompt", " "], "--prompt: the prompt is empty"),
        (base, "no prompts"),
        (["--prompt", "가"], "no model"),
        ([*base, folders / "base", "--prompt", "가"], "the same model twice"),
        ([*base, "--prompt", "가", "--num_return_sequences", 2], "set --temperature"),
        ([*base, "--prompt", "가", "--temperature", -1], "--temperature -1.0"),
        ([*base, "--prompt", "가", "--max_new_tokens", 0], "--max_new_tokens 0"),
        ([*base, "--prompt", "가", "--max_new_tokens", 510], "more than the 512 positions"),
        ([*base, "--prompt", "가나다", "--max_prompt_seq_len", 2], "raise --max_prompt_seq_len"),
        ([*base, "--prompt", "가", "--num_beams", 5], "--num_beams was removed"),
        ([*base, "--prompt", "가", "--output", tmp_path], "is a folder"),
        (
            ["--model_name_or_path_baseline", bare, "--prompt", "가"],
            "--model_name_or_path_baseline " + str(bare) + ": no tokenizer",
        ),
        (
            ["--model_name_or_path_finetune", tmp_path / "reward", "--prompt", "가"],
            "a reward model, which writes no answers",
        ),
        (["--model_name_or_path_finetune", tmp_path / "absent", "--prompt", "가"], "no such folder"),
    ]
    for args, expected in cases:
        assert expected in fails(monkeypatch, capsys, *args), args
