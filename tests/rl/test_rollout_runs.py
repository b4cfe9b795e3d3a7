"""Step 3 as a program, in this process, with --rollout vllm: the same training as without, also after its server went
away.
"""

import gc
import json

import bad_input
import pytest
from safetensors.torch import load_file
from vllm_server import Server

from korlhf.rl import vllm_server

PPO = "--data_split 0,0,1 --data_path prompts.jsonl --eval_data_path prompts2.jsonl --max_prompt_seq_len 64 "
PPO += "--max_answer_seq_len 12 --advantage_estimator rloo --num_generations 2 --reward rules:repetition "
PPO += "--per_device_generation_batch_size 4 --per_device_training_batch_size 4 --num_train_epochs 2 --dtype fp32 "
PPO += "--actor_learning_rate 1e-3 --actor_model_name_or_path neox --eval_interval 2 --no_score_normalization "
TIMES = ("second", "canary", "mismatch")


@pytest.fixture
def run(folders, tmp_path, monkeypatch):
    """Function: (output folder, further flags) -> (exit code, lines on stderr) of a run in tmp_path."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VLLM", "/bin/true")
    (tmp_path / "neox").symlink_to(folders["gpt_neox"])
    for name, start in (("prompts", 0), ("prompts2", 10)):
        rows = [{"prompt": f"{i}번째 질문이에요.", "category": "everyday"} for i in range(start, start + 4)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")

    def call(out, more):
        gc.collect()  # a run that was stopped gives the lock of its folder back
        return bad_input.run("ppo", f"{PPO} --output_dir {out} {more}".split(), monkeypatch)

    return call


def metrics(folder):
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [{k: v for k, v in row.items() if not any(t in k for t in TIMES)} for row in rows]


@pytest.mark.slow
def test_the_same_training_by_servers_one_of_which_goes_away(run, tmp_path, folders):
    assert run("local", "")[0] == 0
    with Server(folders["gpt_neox"]) as one, Server(folders["gpt_neox"]) as other:
        more = f"--rollout vllm --rollout_correction token --vllm_weights_dir . --vllm_url {one.url} {other.url}/"
        assert run("vllm", f"{more} --vllm_sleep")[0] == 0
        assert one.calls["sleep"] and not one.asleep and not other.asleep  # others may want them
        logged = [json.loads(line) for line in (tmp_path / "vllm/metrics.jsonl").read_text().splitlines()]
        steps = [row for row in logged if "policy_loss" in row]
        assert all(row["canary_difference"] < 1e-4 and row["mismatch_ratio_max"] < 1.001 for row in steps)
        assert one.calls["sleep"] == len(one.pushed) == len(other.pushed)  # they forget their weights
        assert run("awake", more)[0] == 0
        assert len(one.pushed) - one.calls["sleep"] == 5  # at the beginning and after each of 4 steps
        asked = one.calls["generate"]
        other.faults["generate"] = lambda number: "drop" if number >= asked + asked // 4 else None
        code, lines = run("told", more)
        told = f"vLLM {other.url} is away: "
        assert code == 75 and lines[-1].startswith(told) and "command again to resume after step 2" in lines[-1]
        other.faults.clear()
        code, lines = run("told", more)
        assert code == 0, lines
    for name in ("vllm", "awake", "told"):
        for expected, row in zip(metrics(tmp_path / "local"), metrics(tmp_path / name), strict=True):
            assert row == pytest.approx(expected, rel=1e-4, abs=1e-5), (name, row["step"])
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("vllm", "told"))
    assert max(float((one[k] - two[k]).abs().max()) for k in one) < 1e-5
    assert not list(tmp_path.glob("korlhf-*"))


@pytest.mark.slow
def test_a_server_of_its_own_gets_the_weights_and_the_tokenizer(run, tmp_path, monkeypatch):
    started = []

    def start(flags, folder, words, log, environment):
        started.append((sorted(p.name for p in folder.iterdir()), words, str(log)))
        return Server(folder)

    monkeypatch.setattr(vllm_server, "Server", start)
    code, lines = run("out", "--rollout vllm --vllm_weights_dir . --max_steps 1 --actor_lora_dim 2")
    assert code == 0, lines
    ((files, words, log),) = started
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(files) and log == "out/vllm.log"
    assert words[words.index("--max-model-len") + 1] == "76"
