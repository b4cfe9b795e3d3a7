"""Preference optimisation by its run script: DPO with LoRA of the model of step 1, and KTO of thumbs."""

import json

import pytest
from safetensors.torch import load_file
from tiny_scripts import ROOT, finished, metrics, run
from transformers import AutoModelForCausalLM

from korlhf.training import rw_eval
from korlhf.training.eval_flags import EvalFlags

words = str.split
FEW = words("--drift_prompts 4 --max_answer_seq_len 8 --save_steps 0 --eval_interval 0")


def test_dpo_with_lora(three_steps, tmp_path):
    out, sft = tmp_path / "dpo", three_steps / "sft"
    lora = words("--lora_dim 4 --lora_learning_rate 1e-3 --max_steps 3 --num_warmup_steps 0")
    heldout = tmp_path / "heldout.jsonl"
    lines = (ROOT / "samples/heldout_reward.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    heldout.write_text("".join(lines[::30]), encoding="utf-8")
    run("dpo", out, 2, "--model_name_or_path", sft, "--eval_data_path", heldout, *lora, *FEW)
    steps = [row for row in metrics(out) if "loss" in row]
    assert [row["step"] for row in steps] == [1, 2, 3] and steps[0]["margin"] == 0.0 and steps[2]["margin"] != 0.0
    figures = finished(out)
    assert figures["heldout_before"]["accuracy"] == 0.5 and figures["heldout_after"]["drift"]["n"] == 4
    assert figures["trivial_rules"]
    card = (out / "README.md").read_text(encoding="utf-8")
    assert "DPO-tuned model (step 2)" in card and "학습 전 · before" in card and "| drift |" in card
    AutoModelForCausalLM.from_pretrained(out)
    assert (out / "adapter").exists()
    before, after = (load_file(folder / "model.safetensors") for folder in (sft, out))
    assert {k for k in before if not before[k].equal(after[k])} == {k for k in before if "query_key_value.w" in k}
    # the saved folder is the reward model that the held-out accuracy was measured with
    flags = EvalFlags(model_name_or_path=str(out), data_path=[str(heldout)], max_seq_len=192, dtype="fp32")
    found, _ = rw_eval.evaluate_pairs(rw_eval.Scorer(flags))
    assert found["figures"]["n"] == figures["heldout_after"]["n"]
    assert found["figures"]["mean_margin"] == pytest.approx(figures["heldout_after"]["mean_margin"], abs=1e-4)


def test_kto_of_thumbs(base_init, tmp_path):
    rows = [
        {"messages": [{"role": "user", "content": f"{k} 더하기 {k}은?"}], "answer": f"{2 * k}예요.", "label": k % 3 > 0}
        for k in range(20)
    ]
    file = tmp_path / "ratings.jsonl"
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    data = ["--data_path", file, "--eval_data_path", "sample/heldout_reward", "--loss", "kto"]
    more = words("--per_device_train_batch_size 4 --gradient_accumulation_steps 2 --max_steps 2 --max_eval_examples 12")
    run("dpo", tmp_path / "kto", 0, "--model_name_or_path", base_init, *data, *more, *FEW)
    steps = [row for row in metrics(tmp_path / "kto") if "loss" in row]
    assert [row["mismatched_kl"] >= 0 for row in steps] == [True, True] and "accuracy" not in steps[0]
    assert finished(tmp_path / "kto")["heldout_after"]["accuracy"] >= 0
