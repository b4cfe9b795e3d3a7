"""eval/benchmark.py: the harness's own numbers when it is called directly, LoRA folders, killed runs, copies of the
hub's sets, what is refused."""

import json
import shutil
import sqlite3
from pathlib import Path

import datasets
import eval_harness
import evaluate as hf_evaluate
import lm_eval
import pytest
import torch
from eval_harness import ROOT
from lm_eval import evaluator
from lm_eval.tasks import TaskManager
from peft import LoraConfig, get_peft_model
from sklearn.metrics import f1_score
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, GPTNeoXConfig

from korlhf.core import program, stats, tables
from korlhf.eval import kobest_files as data
from korlhf.eval import lm_tasks
from korlhf.models.tokenizer import load_tokenizer

SAMPLES = ROOT / "samples" / "kobest"
SETS_OF = ("kobest", "kmmlu/default", "click", "haerae", "hrm8k/default")
SHORT = [f"--data_dir={SAMPLES}", "--limit", "12"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory, plain_tokenizer):
    """Random models with room for few-shot prompts: base, other, adapter (LoRA on base), merged (the two in one),
    reward."""
    root = tmp_path_factory.mktemp("kobest")
    config = GPTNeoXConfig(
        vocab_size=len(plain_tokenizer),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=2048,
        initializer_range=0.4,
        tie_word_embeddings=False,
        bos_token_id=2,
        eos_token_id=2,
    )
    for seed, name in enumerate(("base", "other")):
        torch.manual_seed(seed)
        AutoModelForCausalLM.from_config(config).save_pretrained(root / name)
        plain_tokenizer.save_pretrained(root / name)
        tokenizer = load_tokenizer(str(root / name))
        tokenizer.save_pretrained(root / name)  # with the KULLM template, as a finished training saves it
    torch.manual_seed(7)
    base = AutoModelForCausalLM.from_pretrained(root / "base")
    lora = get_peft_model(
        base,
        LoraConfig(
            r=4, lora_alpha=32, target_modules=["query_key_value"], task_type="CAUSAL_LM", init_lora_weights=False
        ),
    )
    lora.save_pretrained(root / "adapter")
    lora.merge_and_unload().save_pretrained(root / "merged")
    tokenizer.save_pretrained(root / "merged")
    config.num_labels = 1
    AutoModelForSequenceClassification.from_config(config).save_pretrained(root / "reward")
    tokenizer.save_pretrained(root / "reward")
    return {p.name: str(p) for p in root.iterdir()}


@pytest.fixture(autouse=True)
def few_tasks(monkeypatch):
    """The harness's index of a few folders, which is read at once; that of all its tasks takes seconds."""
    folders = [Path(lm_eval.__file__).parent / "tasks" / name for name in SETS_OF]
    monkeypatch.setattr(lm_tasks, "TaskManager", lambda **_: TaskManager(include_defaults=False, include_path=folders))


@pytest.fixture
def run(tmp_path):
    """Function: flags -> (the result, its rows, {(task, model): figures})."""

    def run(*words, output="out"):
        code, found, rows = eval_harness.run("benchmark", tmp_path / output, *words)
        assert code == 0
        return found, rows, {(r["task"], r["model"]): r for r in found["figures"]["rows"]}

    return run


@pytest.fixture
def direct(tmp_path):
    """Function: (model_args, tasks, flags of simple_evaluate) -> what the harness says of its own YAML with only the
    data swapped."""

    def direct(model_args, names, **flags):
        for name in names:
            with_norm = (
                "  - {metric: acc_norm, aggregation: mean, higher_is_better: true}\n" if name == "hellaswag" else ""
            )
            files = ", ".join(f"{split}: '{SAMPLES / name / split}.jsonl'" for split in data.SPLITS)
            (tmp_path / f"{name}.yaml").write_text(
                f"include: {Path(lm_eval.__file__).parent}/tasks/kobest/kobest_{name}.yaml\n"
                "dataset_path: json\ndataset_name: null\ndataset_kwargs:\n"
                f"  data_files: {{{files}}}\n  cache_dir: {tmp_path}/datasets\n"
                f"metric_list:\n  - {{metric: acc, aggregation: mean, higher_is_better: true}}\n{with_norm}"
                "  - metric: f1\n    aggregation: !function lm_eval.tasks.kobest.utils.macro_f1_score\n"
                "    higher_is_better: true\n",
                encoding="utf-8",
            )
        return evaluator.simple_evaluate(
            "hf",
            {"dtype": "float32", **model_args},
            [f"{tmp_path}/{name}.yaml" for name in names],
            device="cpu",
            batch_size=16,
            task_manager=TaskManager(include_defaults=False),
            random_seed=1234,
            numpy_random_seed=1234,
            torch_random_seed=1234,
            fewshot_random_seed=1234,
            **flags,
        )

    return direct


def same(of_harness, figures, model):
    """Every number of the harness is ours, to the bit."""
    compared = 0
    for task, numbers in of_harness["results"].items():
        for ours, theirs in (("acc", "acc,none"), ("acc_norm", "acc_norm,none"), ("macro_f1", "f1,none")):
            if theirs in numbers:
                figure = figures[task, model]["metrics"][ours]
                assert figure["value"] == numbers[theirs], (task, ours)
                error = numbers[theirs.replace(",", "_stderr,")]
                if error not in ("N/A", 0.0):
                    assert figure["high"] == pytest.approx(min(1, numbers[theirs] + stats.Z * error), abs=1e-12)
                compared += 1
    return compared


def test_the_harness_called_directly_gives_the_same_numbers_on_all_five_tasks(run, direct, folders):
    of_harness = direct({"pretrained": folders["base"]}, list(data.TEXTS), num_fewshot=0)
    found, rows, figures = run("--model_name_or_path", folders["base"], "--tasks", *data.TEXTS, f"--data_dir={SAMPLES}")
    assert same(of_harness, figures, "base") == 11 and len(rows) == 140
    for row in rows:  # the choices too
        sample = of_harness["samples"][row["category"]][int(row["id"].split("/")[1])]
        assert (row["right"], row["choice"]["base"]) == tuple(sample["f1"])
        assert row["question"] in sample["arguments"][0][0]
    for name in data.TEXTS:
        of_task = [row for row in rows if row["category"] == f"kobest_{name}"]
        rights, chosen = [r["right"] for r in of_task], [r["choice"]["base"] for r in of_task]
        assert figures[f"kobest_{name}", "base"]["metrics"]["macro_f1"]["value"] == f1_score(
            rights, chosen, average="macro"
        )
        assert figures[f"kobest_{name}", "base"]["n"] == len(of_task)
        assert (
            figures[f"kobest_{name}", "base"]["majority"]
            == figures[f"kobest_{name}", "base"]["chance"]
            == 1 / data.LABELS[name]
        )
    assert found["protocol"]["harness"] == "lm-evaluation-harness 0.4.13" and found["protocol"]["shots"] == 0
    assert found["protocol"]["chat template"]["en"] == "not applied" and found["protocol"]["seed"] == 1234
    assert len(found["inputs"]) == 16 and found["inputs"][1]["sha256"]


def test_shots_and_chat_template_too(run, direct, folders, tmp_path):
    names = ["copa", "hellaswag"]
    of_harness = direct({"pretrained": folders["other"]}, names, num_fewshot=3, limit=12, apply_chat_template=True)
    words = ["--model_name_or_path", folders["other"], "--num_fewshot", 3, *SHORT, "--apply_chat_template"]
    found, rows, figures = run(*words)
    assert same(of_harness, figures, "other") == 5
    for name, samples in of_harness["samples"].items():  # the same examples in the same words, hence the same choices
        assert samples[0]["arguments"][0][0] == prompts(tmp_path / "out" / "cache.sqlite")[name]
        assert [s["f1"][1] for s in samples] == [row["choice"]["other"] for row in rows if row["category"] == name]
    assert found["protocol"]["shots"] == 3 and "### 명령어:" in found["protocol"]["first prompt of kobest_copa"]
    assert 'applied: "아래는' in found["protocol"]["chat template"]["en"]


def prompts(cache):
    """{task: the first prompt, whole}"""
    with sqlite3.connect(cache) as db:
        kept = [json.loads(value) for (value,) in db.execute("SELECT reply FROM answers")]
    return {value["results"]["name"]: value["prompt"] for value in kept}


def test_a_lora_folder_is_the_model_it_makes_of_its_base(run, direct, folders):
    three = [folders[name] for name in ("base", "adapter", "merged")]
    _, rows, figures = run("--model_name_or_path", *three, "--tasks", "hellaswag", *SHORT)
    assert all(row["choice"]["adapter"] == row["choice"]["merged"] for row in rows)
    assert sum(row["choice"]["adapter"] != row["choice"]["base"] for row in rows) > 2
    of_harness = direct(
        {"pretrained": folders["base"], "peft": folders["adapter"]}, ["hellaswag"], num_fewshot=0, limit=12
    )
    assert same(of_harness, figures, "adapter") == 3


def test_models_are_compared_on_the_same_items(run, folders):
    found, rows, _ = run(
        "--model_name_or_path",
        f"처음={folders['base']}",
        f"나중={folders['other']}",
        "--tasks",
        "copa",
        f"--data_dir={SAMPLES}",
    )
    (gap,) = found["figures"]["differences"]
    right = {model: [row["choice"][model] == row["right"] for row in rows] for model in ("처음", "나중")}
    assert (gap["model"], gap["other"], gap["n"]) == ("나중", "처음", 40)
    assert gap["only_model"] == sum(b and not a for a, b in zip(right["처음"], right["나중"]))
    assert gap["mean"] == pytest.approx((sum(right["나중"]) - sum(right["처음"])) / 40)
    texts = [w["en"] for w in found["warnings"]]
    assert any("fewer than 100 items" in t and "kobest_copa 40" in t for t in texts)
    assert any(t.startswith("처음 is not significantly better than guessing") for t in texts)
    for table in found["tables"]:
        assert tables.plain(table, "ko") and "정확도" in tables.plain(table, "ko")


def test_the_group_is_the_harnesss_own_mean_and_nothing_is_fetched(run, folders, monkeypatch):
    fetched = []
    monkeypatch.setattr(hf_evaluate, "load", lambda *words, **_: fetched.append(words))
    _, _, figures = run("--model_name_or_path", folders["base"], "--tasks", "kobest", *SHORT)
    of_tasks = [figures[f"kobest_{name}", "base"] for name in data.TEXTS]
    whole = figures["kobest", "base"]
    assert whole["n"] == 60 and "acc_norm" not in whole["metrics"] and not fetched
    assert whole["metrics"]["acc"]["value"] == pytest.approx(sum(t["metrics"]["acc"]["value"] for t in of_tasks) / 5)
    assert whole["metrics"]["acc"]["low"] < whole["metrics"]["acc"]["value"]


def test_another_benchmark_goes_through_the_same_door(run, folders, monkeypatch):
    rows = [{"query": f"{i}번 문제: 알맞은 것을 고르세요.", "answer": f"({'ABCDE'[i % 5]})"} for i in range(15)]
    monkeypatch.setattr(
        datasets, "load_dataset", lambda path, name, **_: datasets.DatasetDict(test=datasets.Dataset.from_list(rows))
    )
    found, lines, figures = run("--model_name_or_path", folders["base"], "--tasks", "haerae", "--num_fewshot", 1)
    manager = TaskManager(include_defaults=False, include_path=Path(lm_eval.__file__).parent / "tasks" / "haerae")
    of_harness = evaluator.simple_evaluate(
        "hf",
        {"pretrained": folders["base"], "dtype": "float32"},
        ["haerae"],
        num_fewshot=1,
        device="cpu",
        batch_size=16,
        fewshot_random_seed=1234,
        task_manager=manager,
    )
    assert same({"results": {"haerae": of_harness["results"]["haerae"]}}, figures, "base") == 2 and len(lines) == 75
    assert figures["haerae", "base"]["chance"] == pytest.approx(0.2) and lines[3]["right"] == 3


CONFIGS = """---
configs:
- config_name: {name}
  data_files:
  - split: {split}
    path: {path}
  - split: dev
    path: {path}
---
"""
KMMLU = [{"question": f"{i}번 문제", "answer": i % 4 + 1, **{c: f"{i}{c}" for c in "ABCD"}} for i in range(8)]
CLICK = [
    {"id": f"CSAT_korean_22_{i}", "paragraph": "", "question": f"{i}번?", "choices": list("가나다라마"), "answer": "나"}
    for i in range(6)
]
HRM8K = [{"question": f"{i} 더하기 {i}는?", "answer": 2 * i} for i in range(3)]
HAERAE = [{"query": f"{i}번 문제", "options": "", "answer": f"({'ABCDE'[i]})"} for i in range(5)]
SETS = {  # the task -> its set's name, configuration and split on the hub, and rows as they are there
    "kmmlu_accounting": ("HAERAE-HUB/KMMLU", "Accounting", "test", KMMLU),
    "click_lang_text": ("EunsuKim/CLIcK", "default", "train", CLICK),
    "haerae_history": ("HAERAE-HUB/HAE_RAE_BENCH", "history", "test", HAERAE),
    "hrm8k_gsm8k": ("HAERAE-HUB/HRM8K", "GSM8K", "test", HRM8K),
}


def copies(folder, task, rows=None):
    """A copy of a set of the hub, as `hf download` lays it out."""
    hub, name, split, own = SETS[task]
    path = f"data/{name}-{split}.jsonl"
    (folder / hub / "data").mkdir(parents=True)
    (folder / hub / "README.md").write_text(CONFIGS.format(name=name, split=split, path=path), encoding="utf-8")
    eval_harness.write(folder / hub / path, own if rows is None else rows)
    return ["--tasks", task, "--data_dir", folder]


@pytest.mark.parametrize("task", SETS)
def test_copies_of_the_hubs_sets(run, folders, tmp_path, task):
    more = ["--max_gen_toks", 4] if task == "hrm8k_gsm8k" else []
    found, rows, figures = run("--model_name_or_path", folders["base"], *copies(tmp_path / "sets", task), *more)
    of_task, own = figures[task, "base"], SETS[task][3]
    assert of_task["n"] == len(rows) == len(own) and found["protocol"]["data"]["en"].startswith("local files in ")
    assert {i["path"] for i in found["inputs"]} >= {str(tmp_path / "sets" / SETS[task][0])}
    if task == "hrm8k_gsm8k":
        assert list(of_task["metrics"]) == ["exact_match"] and rows[2]["right"] == "4"
    else:
        rights = {"kmmlu_accounting": [0, 1, 2, 3] * 2, "click_lang_text": [1] * 6, "haerae_history": [0, 1, 2, 3, 4]}
        assert [row["right"] for row in rows] == rights[task]
        share = sum(row["choice"]["base"] == row["right"] for row in rows) / len(rows)
        assert of_task["metrics"]["acc"]["value"] == pytest.approx(share)


def test_copies_that_cannot_be_used(capsys, tmp_path, folders):
    model = ["--model_name_or_path", folders["base"]]
    line = fails(capsys, tmp_path, *model, "--tasks", "kmmlu_accounting", "--data_dir", SAMPLES)
    assert f"--data_dir {SAMPLES}: no HAERAE-HUB/KMMLU in it, which kmmlu_accounting needs" in line
    assert "hf download --repo-type dataset HAERAE-HUB/KMMLU" in line
    cases = {
        "answer": [*KMMLU[:2], {**KMMLU[2], "answer": 5}],
        "column": [{k: v for k, v in row.items() if k != "D"} for row in KMMLU],
        "item": [CLICK[0], {**CLICK[1], "answer": "라라"}],
    }
    says = {
        "answer": "item 3 of kmmlu_accounting has the right answer 4, which is none of its 4 options",
        "column": "kmmlu_accounting cannot be read from it (UndefinedError: 'D' is undefined); copy the set anew",
        "item": "item 2 of click_lang_text is not of its form (ValueError: '라라' is not in list); correct it",
    }
    for case, rows in cases.items():
        words = copies(tmp_path / case, "click_lang_text" if case == "item" else "kmmlu_accounting", rows)
        assert says[case] in fails(capsys, tmp_path, *model, *words)
    words = copies(tmp_path / "none", "click_lang_text", [{**CLICK[0], "id": "KIIP_1"}])
    assert "click_lang_text cannot be read from it (IndexError: " in fails(capsys, tmp_path, *model, *words)
    words = copies(tmp_path / "long", "hrm8k_gsm8k")
    line = fails(capsys, tmp_path, *model, *words)
    assert "--tasks hrm8k_gsm8k: up to 2048 tokens are written, but the model has 2048 positions" in line


class Stop(Exception):
    """Stands in for kill -9."""


@pytest.mark.long
def test_a_killed_run_resumes_where_it_was(run, folders, tmp_path, monkeypatch):
    words = ["--model_name_or_path", folders["base"], folders["other"], "--tasks", "copa", "sentineg", "wic", *SHORT]
    measured, evaluate = [], evaluator.evaluate

    def counted(**flags):
        measured.append(1)
        if len(measured) == 5:
            raise Stop
        return evaluate(**flags)

    monkeypatch.setattr(lm_eval, "evaluate", counted)
    with pytest.raises(Stop):
        run(*words)
    assert not (tmp_path / "out" / "benchmark.json").exists()
    found, rows, _ = run(*words)
    assert len(measured) == 7  # 4 of 6, one twice
    whole, whole_rows, _ = run(*words, output="whole")
    assert len(measured) == 13 and (whole["figures"], whole_rows) == (found["figures"], rows)


def test_what_a_result_depends_on_is_measured_anew(run, folders, tmp_path, monkeypatch):
    measured, evaluate = [], evaluator.evaluate
    monkeypatch.setattr(lm_eval, "evaluate", lambda **kw: measured.append(1) or evaluate(**kw))
    shutil.copytree(SAMPLES / "copa", tmp_path / "data" / "copa")
    words = ["--model_name_or_path", folders["base"], "--tasks", "copa", "--data_dir", tmp_path / "data", "--limit", 4]
    for count, more in enumerate(([], ["--seed", 3], ["--num_fewshot", 1], ["--apply_chat_template"]), 1):
        run(*words, *more)
        assert len(measured) == count, more
    test = tmp_path / "data" / "copa" / "test.jsonl"
    test.write_text(test.read_text(encoding="utf-8").replace("모래주머니", "모래 자루"), encoding="utf-8")
    for size in (7, 16):  # moves no more than the last digits
        run(*words, "--batch_size", size)
        assert len(measured) == 5


def test_cut_prompts_are_warned_of(run, folders):
    words = ["--model_name_or_path", folders["base"], "--tasks", "copa", *SHORT, "--num_fewshot", 2, "--max_length", 60]
    texts = [w["en"] for w in run(*words)[0]["warnings"]]
    assert any("prompts are longer than the model's positions or --max_length" in t for t in texts)


def fails(capsys, tmp_path, *words):
    """The program's one error line."""
    with pytest.raises(SystemExit) as exit_:
        program.run(lambda: eval_harness.run("benchmark", tmp_path / "out", *words))
    err = capsys.readouterr().err
    lines = [line for line in err.splitlines() if "error: " in line]
    assert exit_.value.code == 2 and "Traceback" not in err and len(lines) == 1
    return lines[0]


def test_broken_weights_are_refused(capsys, tmp_path, folders):
    broken = AutoModelForCausalLM.from_pretrained(folders["base"])
    with torch.no_grad():
        broken.get_output_embeddings().weight.fill_(float("nan"))
    broken.save_pretrained(tmp_path / "broken")
    load_tokenizer(folders["base"]).save_pretrained(tmp_path / "broken")
    assert "holds NaN or infinity" in fails(
        capsys, tmp_path, "--model_name_or_path", tmp_path / "broken", "--tasks", "sentineg", *SHORT
    )


def test_what_cannot_work_is_said_in_one_line(capsys, tmp_path, folders):
    base, sample = folders["base"], f"--data_dir={SAMPLES}"
    model = ["--model_name_or_path", base]
    assert "no such folder" in fails(capsys, tmp_path, "--model_name_or_path", "./nowhere", sample)
    assert "a reward model" in fails(capsys, tmp_path, "--model_name_or_path", folders["reward"], sample)
    assert "two are called 'base'" in fails(capsys, tmp_path, *model, base, sample)
    assert "--data_dir ./nowhere: no folder copa in it" in fails(capsys, tmp_path, *model, "--data_dir", "./nowhere")
    assert "--num_fewshot 7: kobest_copa has 6 examples to draw from" in fails(
        capsys, tmp_path, *model, sample, "--num_fewshot", 7
    )
    assert "--prompt_template kullm: is used only with" in fails(
        capsys, tmp_path, *model, sample, "--prompt_template", "kullm"
    )
    assert "--limit -1: must be 0 or above" in fails(capsys, tmp_path, *model, sample, "--limit=-1")
    assert not (tmp_path / "out").exists()
    line = fails(capsys, tmp_path, *model, sample, "--tasks", "copa", "kobest_hellaswang")
    assert "--tasks kobest_hellaswang: lm-evaluation-harness 0.4.13 has no task" in line
    assert "did you mean kobest_hellaswag" in line


def test_a_hub_that_is_out_of_reach(capsys, tmp_path, folders, monkeypatch):
    def load_dataset(*_, **__):
        raise ConnectionError("no network")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    line = fails(capsys, tmp_path, "--model_name_or_path", folders["base"])
    assert "--tasks kobest_copa: its data could not be had from the hub (ConnectionError: no network)" in line
    assert "give --data_dir with copa/train.jsonl" in line


@pytest.mark.parametrize("name", data.TEXTS)
def test_the_sample_is_balanced_and_whole(name):
    splits, _ = data.read(SAMPLES, name)
    assert {split: len(rows) for split, rows in splits.items()} == {
        "train": 8 if name == "hellaswag" else 6,
        "validation": 4,
        "test": 40 if name in ("copa", "hellaswag") else 20,
    }
    texts = [tuple(row[c] for c in data.TEXTS[name]) for rows in splits.values() for row in rows]
    assert len(set(texts)) == len(texts)
    for rows in splits.values():
        labels = [row["label"] for row in rows]
        assert {labels.count(label) for label in range(data.LABELS[name])} == {len(rows) // data.LABELS[name]}


@pytest.mark.parametrize("name", ["copa", "hellaswag"])
def test_no_length_gives_the_right_option_away(name):
    rows, chance = data.read(SAMPLES, name)[0]["test"], 1 / data.LABELS[name]
    options = [[row[c] for c in data.TEXTS[name] if c.startswith(("alternative", "ending"))] for row in rows]
    assert all(len(set(of_row)) == len(of_row) for of_row in options)
    for extreme in (max, min):  # always taking the longest, or the shortest
        right = sum(row["label"] == extreme(range(len(o)), key=lambda k: len(o[k])) for row, o in zip(rows, options))
        assert abs(right / len(rows) - chance) < 0.12
