"""Files, folders and hub sets -> training and held-out examples."""

import csv
import json
from collections import Counter
from pathlib import Path

import datasets
import pytest

from korlhf.core.errors import InputError
from korlhf.data import load
from korlhf.data.example import Example
from korlhf.data.load import load_examples, load_step, prompt_key

PAIRS = [
    {
        "prompt": f"{i}번째 질문이에요, 들어 볼래요?",
        "chosen": f"좋은 답 {i}",
        "rejected": f'나쁜\n답 "{i}"',
        "category": "everyday",
    }
    for i in range(40)
]
EXPECTED = [
    Example(({"role": "user", "content": p["prompt"]},), (p["chosen"], p["rejected"]), "everyday") for p in PAIRS
]


def write(path, rows, delimiter=","):
    """`rows` in the format of the suffix; returns the path as text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), encoding="utf-8")
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows, ensure_ascii=False, indent=1), encoding="utf-8")
    elif path.suffix == ".parquet":
        datasets.Dataset.from_list(rows).to_parquet(str(path))
    else:
        with open(path, "w", encoding="utf-8", newline="") as file:
            table = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
            table.writeheader()
            table.writerows(rows)
    return str(path)


def prompts(examples):
    return {e.prompt for e in examples}


def error_of(call, *args, **kwargs):
    with pytest.raises(InputError) as caught:
        call(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---------------------------------------------------------------------------------------------------- formats


@pytest.mark.parametrize("file", ["a.jsonl", "a.json", "a.csv", "a.tsv", "a.parquet"])
def test_formats_agree(tmp_path, file):
    assert load_examples(write(tmp_path / file, PAIRS, "\t" if file.endswith("tsv") else ","), 2) == EXPECTED


def test_json_with_data_and_json_lines_named_json(tmp_path):
    whole = tmp_path / "a.json"
    whole.write_text(json.dumps({"version": {"data": [1]}, "data": PAIRS, "n": [2]}), encoding="utf-8")
    assert load_examples(str(whole), 2) == EXPECTED
    whole.write_text("\n\n".join(json.dumps(p) for p in PAIRS), encoding="utf-8")
    assert load_examples(str(whole), 2) == EXPECTED


def test_byte_order_mark(tmp_path):
    for suffix in ("csv", "jsonl"):
        path = Path(write(tmp_path / f"a.{suffix}", PAIRS))
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
        assert load_examples(str(path), 2) == EXPECTED


def test_long_csv_cell(tmp_path):
    assert load_examples(write(tmp_path / "a.csv", [{"prompt": "가", "output": "나" * 200_000}]), 1)[0].answers == (
        "나" * 200_000,
    )


def test_folders_agree(tmp_path):
    write(tmp_path / "one" / "any.jsonl", PAIRS)
    write(tmp_path / "two" / "train.csv", PAIRS)
    write(tmp_path / "two" / "validation.csv", PAIRS[:3])
    write(tmp_path / "shards" / "data" / "train-00000-of-00002.parquet", PAIRS[:25])
    write(tmp_path / "shards" / "data" / "train-00001-of-00002.parquet", PAIRS[25:])
    datasets.Dataset.from_list(PAIRS).save_to_disk(str(tmp_path / "saved"))
    both = {"train": datasets.Dataset.from_list(PAIRS), "test": datasets.Dataset.from_list(PAIRS[:3])}
    datasets.DatasetDict(both).save_to_disk(str(tmp_path / "dict"))
    for folder in ("one", "two", "shards", "saved", "dict"):
        assert load_examples(str(tmp_path / folder), 2) == EXPECTED
    for folder in ("two", "dict"):
        assert load_examples(str(tmp_path / folder), 2, "eval") == EXPECTED[:3]
    for folder in ("one", "shards", "saved"):
        assert "has no evaluation split" in error_of(load_examples, str(tmp_path / folder), 2, "eval")


def test_local_copy_of_a_registered_set(tmp_path, capsys):
    rows = [
        {"system": "친절히", "question": "1+1?", "chosen": "2", "rejected": "3", "prompt": "not this"},
        {"system": "", "question": "", "chosen": "2", "rejected": "3", "prompt": "not this"},
    ]
    write(tmp_path / "SJ-Donald" / "orca-dpo-pairs-ko" / "train.jsonl", rows)
    for name in ("SJ-Donald/orca-dpo-pairs-ko", "SJ-Donald/orca-dpo-pairs-ko/train.jsonl"):
        assert [e.prompt for e in load_examples(str(tmp_path / name), 2)] == ["1+1?"]
        assert "1 of 2 rows left out: 1 the prompt is empty" in capsys.readouterr().err


def test_local_jsonfile(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert "data/train.json is absent; write it there" in error_of(load_examples, "local/jsonfile", 2)
    write(tmp_path / "data" / "train.json", PAIRS)
    train, heldout = load_step(2, ["local/jsonfile"], "0,1,0", eval_share=0.25)
    assert len(heldout) == 10 and "data/eval.json is absent, so a share" in capsys.readouterr().err
    write(tmp_path / "data" / "eval.json", [{**p, "prompt": "새 " + p["prompt"]} for p in PAIRS[:7]])
    train, heldout = load_step(2, ["local/jsonfile"], "0,1,0")
    assert train == EXPECTED and len(heldout) == 7


def test_sample(tmp_path, monkeypatch):
    monkeypatch.setattr(load, "_PROJECT", tmp_path)
    assert error_of(load_examples, "sample/reward", 2).endswith("reward.jsonl is absent; run python samples/build.py")
    files = {
        "sft": {"prompt": "가", "output": "나"},
        "reward": PAIRS[0],
        "prompts": {"prompt": "가"},
        "text": {"text": "가"},
    }
    for name, row in files.items():
        write(tmp_path / "samples" / f"{name}.jsonl", [row])
        assert len(load_examples(f"sample/{name}", {"reward": 2, "prompts": 3}.get(name, 1))) == 1
    for name, row in (
        ("heldout_sft", files["sft"]),
        ("heldout_reward", PAIRS[1]),
        ("heldout_prompts", {"prompt": "다"}),
        ("dev_prompts", {"prompt": "라"}),
    ):
        write(tmp_path / "samples" / f"{name}.jsonl", [row])
    assert load_examples("sample/reward", 2, "eval") == EXPECTED[1:2]
    train, heldout = load_step(2, ["sample/reward"], "0,1,0")
    assert (train, heldout) == (EXPECTED[:1], EXPECTED[1:2])
    for name, said in (("heldout", "다"), ("dev", "라")):
        assert load_examples(f"sample/{name}_prompts", 3) == [Example(({"role": "user", "content": said},))]
    assert "can train step 1" in error_of(load_examples, "sample/text", 2)


# ---------------------------------------------------------------------------------------------------- the hub


class Hub:
    """Stands in for datasets.load_dataset; remembers what it was asked."""

    def __init__(self, splits):
        self.splits, self.asked = splits, []

    def __call__(self, name, config=None, revision=None):
        self.asked.append((name, config, revision))
        return self.splits


def test_hub_names(monkeypatch):
    hub = Hub({"train": PAIRS, "test": PAIRS[:2]})
    monkeypatch.setattr(datasets, "load_dataset", hub)
    assert load_examples("who/what", 2) == EXPECTED
    assert load_examples("who/what:ko@main", 2, "eval") == EXPECTED[:2]
    assert load_examples("Dahoas/rm-static@abc", 2)[0].answers == EXPECTED[0].answers
    assert hub.asked == [("who/what", None, None), ("who/what", "ko", "main"), ("Dahoas/rm-static", None, "abc")]


def test_hub_rows_that_are_faulty_are_counted(monkeypatch, capsys):
    faulty = [{**PAIRS[0], "chosen": ""}, {**PAIRS[0], "rejected": PAIRS[0]["chosen"]}]
    monkeypatch.setattr(datasets, "load_dataset", Hub({"train": PAIRS + faulty}))
    assert len(load_examples("who/what", 2)) == 40
    assert "who/what: 2 of 42 rows left out: 1 chosen is empty, 1 identical answers" in capsys.readouterr().err
    assert "all 42 rows are left out; the first is Dahoas/rm-static:1: no column chosen" in _all_bad(monkeypatch)


def _all_bad(monkeypatch):
    monkeypatch.setattr(datasets, "load_dataset", Hub({"train": [{"prompt": "가", "rejected": "나"}] * 42}))
    return error_of(load_examples, "Dahoas/rm-static", 2)


def test_hub_splits(monkeypatch):
    monkeypatch.setattr(datasets, "load_dataset", Hub({"everything": PAIRS}))
    assert load_examples("who/what", 2) == EXPECTED
    monkeypatch.setattr(datasets, "load_dataset", Hub({"a": PAIRS, "b": PAIRS}))
    assert "has no split train; found a, b" in error_of(load_examples, "who/what", 2)


def test_the_config_and_the_split_of_a_registered_set(monkeypatch):
    hub = Hub({"raw": PAIRS[:1], "filtered": [{**PAIRS[1], "category": None, "subset": "xstest"}]})
    monkeypatch.setattr(datasets, "load_dataset", hub)
    assert [e.category for e in load_examples("nayohan/reward-bench-ko", 2)] == ["xstest"]
    hub.splits = {"test": PAIRS[:2]}
    assert load_examples("CohereLabsCommunity/multilingual-reward-bench", 2) == EXPECTED[:2]
    assert [config for _, config, _ in hub.asked] == [None, "kor_Hang"]


def test_how_much_better_becomes_the_margin(monkeypatch, capsys):
    talk = [{"role": "user", "content": "안녕"}]
    answers = {"domain": "general", "context": talk, "response1": "가", "response2": "나"}
    rows = [{**answers, "language": "korean", "overall_preference": p} for p in (-2, 0)]
    hub = Hub({"train": [*rows, {**rows[0], "language": "french"}], "validation": rows[:1]})
    monkeypatch.setattr(datasets, "load_dataset", hub)
    (found,) = load_examples("nvidia/HelpSteer3", 2, margin_column="margin")
    assert (found.answers, found.scores, found.category) == (("가", "나"), (2.0, 0.0), "general")
    assert len(load_examples("nvidia/HelpSteer3", 2, "eval")) == 1 and hub.asked[0][1] == "preference"
    assert "nvidia/HelpSteer3: 1 of 2 rows left out" in capsys.readouterr().err


def test_a_config_of_a_local_copy(tmp_path):
    answers = {"context": [{"role": "user", "content": "안녕"}], "response1": "가", "response2": "나", "domain": "code"}
    (folder := tmp_path / "nvidia/HelpSteer3/preference").mkdir(parents=True)
    write(folder / "train.jsonl", [{**answers, "language": "korean", "overall_preference": 1}])
    assert load_examples(str(folder), 2)[0].answers == ("나", "가")


def test_offline(monkeypatch):
    def unreachable(*args, **kwargs):
        raise ConnectionError("Couldn't reach it\nmore")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    said = error_of(load_examples, "dahoas/rm_static", 2)
    assert (
        "Couldn't reach it; did you mean Dahoas/rm-static?" in said
        and "hf download --repo-type dataset dahoas/rm_static" in said
    )


# ---------------------------------------------------------------------------------------------------- errors in files


def test_missing_file(tmp_path):
    write(tmp_path / "train.jsonl", PAIRS)
    said = error_of(load_examples, str(tmp_path / "trian.jsonl"), 2)
    assert said == f"{tmp_path}/trian.jsonl: no such file or folder; did you mean {tmp_path}/train.jsonl?"
    assert "there is no folder" in error_of(load_examples, str(tmp_path / "no" / "train.jsonl"), 2)
    assert "did you mean sample/sft or" in error_of(load_examples, "sample/stf", 1)


GOOD = '{"prompt": "가", "chosen": "나", "rejected": "다"}'


@pytest.mark.parametrize(
    "name,content,message",
    [
        ("a.jsonl", f"{GOOD}\n\n{GOOD[:-1]}\n{GOOD}\n", ":3: broken JSON: Expecting ',' delimiter at character"),
        ("a.jsonl", f"{GOOD}\n[1]\n", ":2: the row is list '\\[1\\]'; expected an object"),
        ("a.jsonl", "", ": no rows in it"),
        ("a.jsonl", "\n \n", ": no rows in it"),
        ("a.json", "[]", ": no rows in it"),
        ("a.json", " ", ": no rows in it"),
        ("a.csv", "prompt,chosen,rejected\n", ": no rows in it"),
        ("a.json", f"[{GOOD},\n{GOOD},\n]", ":[23]: broken JSON"),
        ("a.json", f"[{GOOD}]\n{GOOD}", ":2: broken JSON: Extra data"),
        ("a.json", f'[{GOOD},\n\n {{"prompt": 3}}]', ":3: prompt is int '3'; expected text"),
        ("a.json", f'{{"x": [\n1], "data": [{GOOD},\n7]}}', ":3: the row is int"),
        ("a.json", '{"train": []}', ":1: expected a list of objects or"),
        ("a.json", GOOD + "\n" + GOOD[1:], ":2: broken JSON|:2: the row is"),
        ("a.jsonl", f"{GOOD}\n" + GOOD.replace("나", " "), ":2: chosen is empty"),
        ("a.jsonl", f"{GOOD}\n" + GOOD.replace("가", ""), ":2: prompt is empty"),
        ("a.jsonl", f"{GOOD}\n" + GOOD.replace('"다"', "[]"), ":2: rejected is list"),
        ("a.jsonl", '{"a": "b", "c": 1}', ":1: no known columns; found a, c; expected a prompt"),
        (
            "a.jsonl",
            '{"prompt": "가", "output": "나"}',
            ":1: step 2 needs two or more ranked answers; this row can train steps 1 and 3",
        ),
        ("a.jsonl", '{"text": "가"}', ":1: step 2 needs two or more ranked answers; this row can train step 1$"),
        ("a.csv", 'prompt,chosen,rejected\n"가\n가",나,다\n가,,다\n', ":4: chosen is empty"),
        ("a.csv", "prompt,chosen,rejected\n가,나,다\n가,나\n", ":3: 2 cells, but the header has 3"),
        ("a.csv", 'prompt,chosen,rejected\n가,나,"다\n', ":2: broken table"),
        ("a.csv", "prompt,prompt\n가,나\n", ":1: two columns have the same name; found prompt, prompt"),
        ("a.parquet", "no parquet", ": not a readable parquet file"),
        ("a.txt", GOOD, ": the type .txt is not read; give one of .jsonl, .json, .csv, .tsv, .parquet"),
    ],
)
def test_broken_files(tmp_path, name, content, message):
    (tmp_path / name).write_text(content, encoding="utf-8")
    said = error_of(load_examples, str(tmp_path / name), 2)
    assert said.startswith(str(tmp_path / name))
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(said)


@pytest.mark.parametrize("name,first_line", [("a.jsonl", GOOD), ("a.json", "["), ("a.csv", "prompt,chosen,rejected")])
def test_not_utf8(tmp_path, name, first_line):
    path = tmp_path / name
    path.write_bytes(first_line.encode("utf-8") + b"\n" + "안녕".encode("cp949"))
    said = error_of(load_examples, str(path), 2)
    assert said == f"{path}:2: not UTF-8 (byte 1 of the line); convert it: iconv -f cp949 -t utf-8 {name} > utf8_{name}"


def test_parquet_row_is_named(tmp_path):
    name = write(tmp_path / "a.parquet", PAIRS[:2] + [{**PAIRS[2], "rejected": " "}])
    assert error_of(load_examples, name, 2).startswith(f"{name}:3: rejected is empty")


def test_folder_errors(tmp_path):
    (tmp_path / "empty").mkdir()
    assert "neither train.* nor exactly one data file" in error_of(load_examples, str(tmp_path / "empty"), 2)
    write(tmp_path / "two" / "a.csv", PAIRS)
    write(tmp_path / "two" / "b.csv", PAIRS)
    assert "found a.csv, b.csv; name the file" in error_of(load_examples, str(tmp_path / "two"), 2)
    write(tmp_path / "twice" / "train.csv", PAIRS)
    write(tmp_path / "twice" / "train.json", PAIRS)
    assert "several files could be train: train.csv, train.json" in error_of(load_examples, str(tmp_path / "twice"), 2)
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "dataset_info.json").write_text("{}", encoding="utf-8")
    assert "not a readable save_to_disk folder" in error_of(load_examples, str(tmp_path / "saved"), 2)


def test_jsonl_is_streamed(tmp_path):
    """Rows before a broken line have been read when it is met: nothing reads the file as a whole."""
    from korlhf.data.readers import read_rows

    path = tmp_path / "a.jsonl"
    path.write_text(f"{GOOD}\n{{", encoding="utf-8")
    rows = read_rows(path)
    assert next(rows)[0] == f"{path}:1"
    with pytest.raises(InputError, match=":2: broken JSON"):
        next(rows)


def test_identical_answers_are_counted_once_per_file(tmp_path, capsys):
    name = write(tmp_path / "a.jsonl", PAIRS + [{**PAIRS[0], "rejected": PAIRS[0]["chosen"] + " "}] * 2)
    assert load_examples(name, 2) == EXPECTED
    assert capsys.readouterr().err == f"{name}: 2 of 42 rows left out: 2 identical answers\n"


def test_other_ranks_are_silent(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    load_examples(write(tmp_path / "a.jsonl", PAIRS + [{**PAIRS[0], "rejected": PAIRS[0]["chosen"]}]), 2)
    assert capsys.readouterr().err == ""


# ---------------------------------------------------------------------------------------------------- steps

MANY = [
    {"prompt": f"질문 {i // 2}", "chosen": f"좋은 답 {i}", "rejected": f"나쁜 답 {i}"} for i in range(400)
]  # every prompt twice


def test_steps_and_held_out_never_overlap(tmp_path, capsys):
    name = write(tmp_path / "a.jsonl", MANY)
    parts = {step: load_step(step, [name], "2,4,4", eval_share=0.1) for step in (1, 2, 3)}
    assert capsys.readouterr().err == ""  # the share is cut out by prompt, so nothing has to be removed again
    sets = [prompts(examples) for pair in parts.values() for examples in pair]
    assert sum(map(len, sets)) == 200 == len(set().union(*sets))
    for train, heldout in parts.values():
        assert len(prompts(heldout)) == max(1, round(0.1 * len(prompts(train) | prompts(heldout))))
    for step in (1, 2):  # both rows of a prompt stay
        assert set(Counter(e.prompt for e in parts[step][0] + parts[step][1]).values()) == {2}
    assert parts[2] == load_step(2, [name], "2,4,4", eval_share=0.1)
    assert parts[2] != load_step(2, [name], "2,4,4", eval_share=0.1, seed=5)


def test_two_datasets_with_the_same_prompts_do_not_overlap_between_steps(tmp_path):
    a, b = write(tmp_path / "a.jsonl", MANY), write(tmp_path / "b.csv", [{**m, "chosen": "다른 답"} for m in MANY[::3]])
    train1, held1 = load_step(1, [a], "1,1,1")
    train2, held2 = load_step(2, [b, a], "1,1,1")
    assert not prompts(train1 + held1) & prompts(train2 + held2)
    assert not prompts(train2) & prompts(held2)


def test_step_3_has_prompts_only_and_each_once(tmp_path):
    train, heldout = load_step(3, [write(tmp_path / "a.jsonl", MANY)], "0,0,1", eval_share=0.05)
    assert (len(train), len(heldout)) == (190, 10)
    assert all(e.answers == () for e in train + heldout) and len(prompts(train + heldout)) == 200


def test_step_3_needs_no_answers(tmp_path):
    """A prompt file of which a row had an empty answer, or a reward file with one, was refused."""
    rows = [{"prompt": "질문 1", "chosen": "답", "rejected": ""}, {"prompt": "질문 2", "output": None, "answers": []}]
    name = write(tmp_path / "a.jsonl", rows)
    assert prompts(load_step(3, [name], "0,0,1", eval_share=0)[0]) == {"질문 1", "질문 2"}
    assert "a.jsonl:1: rejected is empty" in error_of(load_step, 2, [name], "0,1,0")


def test_eval_data_path_is_held_out_whole_and_removed_from_training(tmp_path, capsys):
    data, held = (
        write(tmp_path / "a.jsonl", PAIRS),
        write(tmp_path / "b.jsonl", PAIRS[5:15] + [{**PAIRS[0], "prompt": "새 질문"}]),
    )
    train, heldout = load_step(2, [data], "0,1,0", eval_data_path=[held], eval_share=0.5)
    assert len(heldout) == 11 and train == EXPECTED[:5] + EXPECTED[15:]
    assert (
        capsys.readouterr().err
        == "10 of 40 training examples removed: their prompts are held out for evaluation as well\n"
    )
    assert "all 40 prompts of step 2 are held out as well; give other --eval_data_path" in error_of(
        load_step, 2, [data], "0,1,0", eval_data_path=[data]
    )


def test_own_evaluation_split_is_used_before_a_share(tmp_path):
    write(tmp_path / "d" / "train.jsonl", PAIRS)
    write(tmp_path / "d" / "eval.jsonl", [{**p, "prompt": "새 " + p["prompt"]} for p in PAIRS[:4]])
    train, heldout = load_step(2, [str(tmp_path / "d")], "0,1,0", eval_share=0.5)
    assert train == EXPECTED and [e.prompt[0] for e in heldout] == ["새"] * 4
    other = write(tmp_path / "o.jsonl", MANY)
    assert load_step(2, [other], "0,1,0", eval_data_path=[str(tmp_path / "d")])[1] == heldout


def test_eval_share(tmp_path):
    name = write(tmp_path / "a.jsonl", PAIRS)
    sizes = {share: tuple(map(len, load_step(2, [name], "0,1,0", eval_share=share))) for share in (0, 0.01, 0.25)}
    assert sizes == {0: (40, 0), 0.01: (39, 1), 0.25: (30, 10)}
    assert load_step(2, [write(tmp_path / "one.jsonl", PAIRS[:1])], "0,1,0") == (EXPECTED[:1], [])


def test_sft_only_is_used_whole_in_step_1_alone(tmp_path):
    data = write(tmp_path / "a.jsonl", PAIRS)
    only = write(tmp_path / "b.jsonl", [{"prompt": f"지시 {i}", "output": "답"} for i in range(30)])
    train, _ = load_step(1, [data], "1,1,1", sft_only_data_path=[only], eval_share=0)
    assert sum(e.prompt.startswith("지시") for e in train) == 30 < len(train) < 60
    assert not any(e.prompt.startswith("지시") for e in load_step(2, [data], "1,1,1", sft_only_data_path=[only])[0])
    assert len(load_step(1, [data], "0,1,1", sft_only_data_path=[only], eval_share=0.1)[0]) == 27


def test_nothing_to_train_on(tmp_path):
    data = write(tmp_path / "a.jsonl", PAIRS[:3])
    said = error_of(load_step, 3, [data], "2,4,0")
    assert said == "--data_split 2,4,0: the share of step 3 is 0, so it has nothing to train on; raise it"
    assert f"step 1 got none of the 3 rows of {data}: its share, 0.000001, is too small" in error_of(
        load_step, 1, [data], "0.000001,1,1"
    )
    assert "--data_split '1,2'" in error_of(load_step, 1, [data], "1,2")


def test_prompt_key():
    def key(*contents, **rest):
        return prompt_key(Example(tuple({"role": "user", "content": c, **rest} for c in contents)))

    assert key("안녕 하세요?") == key("안녕하세요") != key("안녕")
    assert key("가", input="나") != key("가")
    assert key("처음", "네") != key("다른 처음", "네")
    assert prompt_key(Example(({"role": "system", "content": "s"}, {"role": "user", "content": "가"}))) == key("가")
    assert prompt_key(Example(text="글")) == "글"


def test_the_margin_column_goes_with_the_examples(tmp_path):
    data = write(tmp_path / "a.jsonl", [{**p, "margin": i / 10} for i, p in enumerate(PAIRS)])
    held = write(tmp_path / "b.jsonl", [{**p, "prompt": f"다른 {p['prompt']}"} for p in PAIRS])  # labelled by people
    train, heldout = load_step(2, [data], "0,1,0", eval_data_path=[held], margin_column="margin")
    assert [e.scores for e in train] == [(i / 10, 0.0) for i in range(40)] and {e.scores for e in heldout} == {()}
    assert {e.scores for e in load_step(2, [data], "0,1,0")[0]} == {()}
    said = error_of(load_step, 2, [data], "0,1,0", margin_column="margn")
    assert said == f"--margin_column margn: no row of {data} has it; name another, or delete the flag"
    broken = write(tmp_path / "c.jsonl", [{**PAIRS[0], "margin": 1}, {**PAIRS[1], "margin": "x"}])
    assert error_of(load_step, 2, [broken], "0,1,0", margin_column="margin").startswith(f"{broken}:2: margin is 'x'")
