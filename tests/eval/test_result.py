"""korlhf/eval/result.py: which prompts are evaluated, and the files of a result."""

import json

import pytest

from korlhf.core.errors import InputError
from korlhf.core.tables import both, column, estimate
from korlhf.data.prompts import prompts
from korlhf.eval.result import Result


def write(path, rows):
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), encoding="utf-8")
    return str(path)


def test_prompts_come_once_and_with_the_shares_of_their_categories(tmp_path):
    rows = [{"prompt": f"질문 {i}", "category": "everyday" if i % 4 else "harmful"} for i in range(80)]
    data = write(tmp_path / "a.jsonl", [*rows, {**rows[0], "prompt": "질문 0!"}])
    found = prompts([data])
    assert len(found) == 80 and "질문 1" in {r["prompt"] for r in found} and found[0]["source"] == data
    part = prompts([data], max_prompts=20, seed=3)
    assert sum(r["category"] == "harmful" for r in part) == 5 and len(part) == 20
    assert part == prompts([data], max_prompts=20, seed=3) != prompts([data], max_prompts=20, seed=4)
    assert {r["id"] for r in part} < {r["id"] for r in prompts([data], max_prompts=21, seed=3)}


@pytest.mark.parametrize("most", [1, 3, 7, 11])
def test_at_most_so_many_prompts_even_of_many_small_categories(tmp_path, most):
    data = write(tmp_path / "a.jsonl", [{"prompt": f"질문 {i}", "category": f"범주 {i % 6}"} for i in range(12)])
    found = prompts([data], max_prompts=most)
    assert len(found) == most and len({r["category"] for r in found}) == min(most, 6)


def test_the_sets_own_evaluation_split_is_used():
    assert len(prompts(["sample/prompts"])) == 300  # samples/heldout_prompts.jsonl


def test_a_result_is_two_whole_files_or_none(tmp_path, capsys):
    read = write(tmp_path / "in.jsonl", [{"prompt": "가"}])
    with Result("win_rate", tmp_path / "결과", {"seed": 1}, [read, tmp_path]) as result:
        result.figures["n"] = 1
        result.rows.append({"prompt": "안녕?"})
        for _ in range(2):
            result.warn(both("the judge likes the first answer", "심판이 첫 답변을 좋아합니다"))
        result.table(
            both("Wins", "승률"),
            [column("model", "모델"), column("rate", "비율", 2)],
            [["ppo", estimate(0.5, 0.25, 0.75)]],
        )
        result.protocol["seed"] = 1
    found = json.loads((tmp_path / "결과" / "win_rate.json").read_text(encoding="utf-8"))
    assert [w["ko"] for w in found["warnings"]] == ["심판이 첫 답변을 좋아합니다"]
    assert found["figures"] == {"n": 1}
    assert found["settings"] == {"seed": 1}
    assert len(found["inputs"][0]["sha256"]) == 64
    assert found["inputs"][1] == {"path": str(tmp_path)}
    assert found["versions"]["korlhf"]
    assert (tmp_path / "결과" / "win_rate.jsonl").read_text(encoding="utf-8") == '{"prompt": "안녕?"}\n'
    assert found["tables"][0]["title"] == {"en": "Wins", "ko": "승률"} and found["protocol"] == {"seed": 1}
    shown = capsys.readouterr().out
    assert "ppo    0.50 [0.25, 0.75]\nseed: 1\nWARNING: the judge likes the first answer\nwritten: " in shown
    with pytest.raises(RuntimeError), Result("geval", tmp_path / "결과", {}):
        raise RuntimeError
    assert sorted(p.name for p in (tmp_path / "결과").iterdir()) == ["win_rate.json", "win_rate.jsonl"]


def test_two_of_a_program_do_not_write_over_each_other(tmp_path):
    (tmp_path / "geval.jsonl.part").write_text("what a killed run left", encoding="utf-8")
    with Result("geval", tmp_path, {}) as first:
        told = "geval.jsonl: another process is writing it; wait for it"
        with pytest.raises(InputError, match=told), Result("geval", tmp_path, {}):
            pass
        with Result("win_rate", tmp_path, {}):
            pass
        first.rows.append({"n": 1})
    assert (tmp_path / "geval.jsonl").read_text(encoding="utf-8") == '{"n": 1}\n'
    with Result("geval", tmp_path, {}):
        pass
    assert (tmp_path / "geval.jsonl").read_bytes() == b"" and not list(tmp_path.glob("*.part"))


def test_a_folder_that_cannot_be_written_is_told_at_once(tmp_path):
    (tmp_path / "geval.jsonl.part").mkdir()
    told = r"--output_dir .*: cannot be written: Is a directory; make room there, or give another"
    with pytest.raises(InputError, match=told), Result("geval", tmp_path, {}):
        raise AssertionError("it began")
    with pytest.raises(InputError, match=r"--output_dir .*: cannot be written: "), Result("win_rate", tmp_path, {}):
        (tmp_path / "win_rate.jsonl").mkdir()
