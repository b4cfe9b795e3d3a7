"""A model that learnt from preferences as a reward model: its scores are those of its training."""

import json
import shutil

import pytest
import torch
from transformers import AutoModelForCausalLM

from korlhf.core.errors import InputError
from korlhf.judges.reward import RewardJudge
from korlhf.llm.flags import CheckpointFlags
from korlhf.models.fingerprint import fingerprint
from korlhf.training import implicit, rw_eval
from korlhf.training.dpo_flags import PreferenceFlags
from korlhf.training.eval_flags import EvalFlags

MESSAGES = [
    {"role": "user", "content": "안녕?"},
    {"role": "assistant", "content": "네."},
    {"role": "user", "content": "뭐 해요?"},
]
ANSWERS = ["같이 가요.", "몰라"]


@pytest.fixture
def made(folders, tmp_path, tokenizer):
    """Function: (loss, beta) -> folder of a model that says so, and the folder of its reference."""
    model = AutoModelForCausalLM.from_pretrained(folders["gpt_neox"])
    torch.manual_seed(3)
    for p in model.parameters():
        p.data += 0.05 * torch.randn_like(p)
    shutil.copytree(folders["gpt_neox"], tmp_path / "reference")
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")

    def make(loss, beta):
        settings = {**vars(PreferenceFlags(loss=loss, beta=beta)), "model_name_or_path": str(tmp_path / "reference")}
        settings["inputs"] = {"model_name_or_path": fingerprint(tmp_path / "reference", whole=False)}
        told = json.dumps(implicit.describe(settings))
        (tmp_path / "model" / implicit.FILE).write_text(told, encoding="utf-8")
        return str(tmp_path / "model"), tmp_path / "reference"

    return make


def logps(folder, tokens):
    """Of the last answer's tokens, by plain transformers."""
    n, ids = tokens.answer, torch.tensor([tokens.ids])
    with torch.no_grad():
        at = AutoModelForCausalLM.from_pretrained(folder)(input_ids=ids).logits[0].log_softmax(-1)[-n - 1 : -1]
    return at.gather(1, ids[0, -n:].unsqueeze(1)).squeeze(1)


@pytest.mark.parametrize("loss", ["dpo", "simpo"])
def test_the_programs_give_the_implicit_reward(made, codec, cache, loss):
    model, reference = made(loss, None)
    rows = [codec.with_answer(MESSAGES, answer) for answer in ANSWERS]
    assert [t.answer for t in rows] == [len(codec.answer(a)) for a in ANSWERS]  # the earlier answer does not count
    if loss == "dpo":
        expected = [0.1 * float((logps(model, t) - logps(reference, t)).sum()) for t in rows]
    else:
        expected = [2.0 * float(logps(model, t).mean()) for t in rows]
    scorer = rw_eval.Scorer(EvalFlags(model_name_or_path=model, dtype="fp32"))
    assert scorer.scores([rows])[0] == pytest.approx(expected, abs=1e-5)
    judge = RewardJudge(model, "--model_name_or_path", CheckpointFlags(dtype="fp32"), 128, 2)
    assert judge.scores([MESSAGES], [ANSWERS], cache)[0] == pytest.approx(expected, abs=1e-5)
    if loss == "dpo":  # the cache does not mix up what was trained otherwise
        again = RewardJudge(made("dpo", 0.5)[0], "--model_name_or_path", CheckpointFlags(dtype="fp32"), 128, 2)
        assert again.scores([MESSAGES], [ANSWERS], cache)[0] == pytest.approx([5 * x for x in expected], abs=1e-5)


def test_a_reference_that_is_gone_or_another_is_refused(made):
    model, reference = made("dpo", 0.1)
    config = json.loads((reference / "config.json").read_text(encoding="utf-8"))
    (reference / "config.json").write_text(json.dumps(config | {"layer_norm_eps": 1e-4}), encoding="utf-8")
    flags = EvalFlags(model_name_or_path=model, dtype="fp32")
    with pytest.raises(InputError, match="preference.json: the reference .* is another model now"):
        rw_eval.Scorer(flags)
    shutil.rmtree(reference)
    with pytest.raises(InputError, match="preference.json: the reference .* is not there; write into the file"):
        rw_eval.Scorer(flags)
    for broken in ({"loss": "ppo", "beta": 1}, {"loss": "dpo", "beta": 1}):
        (reference.parent / "model" / implicit.FILE).write_text(json.dumps(broken), encoding="utf-8")
        with pytest.raises(InputError, match="preference.json: names no"):
            rw_eval.Scorer(flags)
