"""Two processes under DeepSpeed's launcher do what one does: same data order, same losses, same weights, at every
ZeRO stage.
"""

import pytest
from safetensors.torch import load_file
from tiny_scripts import metrics, run

words = str.split

SFT = words(
    "--max_steps 3 --gradient_accumulation_steps 2 --max_eval_examples 20 --per_device_eval_batch_size 8 --save_steps 0"
)


@pytest.fixture(scope="module")
def one_process(base_init, tmp_path_factory):
    out = tmp_path_factory.mktemp("one") / "sft"
    run("sft", out, 0, "--model_name_or_path", base_init, *SFT, "--per_device_train_batch_size", 8)
    return out


@pytest.mark.parametrize("zero_stage", [*(pytest.param(stage, marks=pytest.mark.long) for stage in range(3)), 3])
def test_sft_on_two_processes(base_init, one_process, tmp_path, zero_stage):
    more = ["--offload"] if zero_stage == 2 else ["--gradient_checkpointing"] if zero_stage == 1 else []
    run(
        "sft",
        tmp_path / "sft",
        zero_stage,
        "--model_name_or_path",
        base_init,
        *SFT,
        "--per_device_train_batch_size",
        4,
        *more,
        processes=2,
    )
    for one, two in zip(metrics(one_process), metrics(tmp_path / "sft"), strict=True):
        assert one.keys() == two.keys()
        for key in {"loss", "heldout_loss", "lr", "grad_norm"} & one.keys():
            assert one[key] == pytest.approx(two[key], rel=2e-4), (key, one["step"])
    a, b = (load_file(f / "model.safetensors") for f in (one_process, tmp_path / "sft"))
    assert a.keys() == b.keys()
    assert (
        max(float((a[k] - b[k]).abs().max()) for k in a) < 2e-3
    )  # three Adam steps of 1e-3 move a weight by up to 3e-3


def ppo(three_steps, out, processes, batch, *stages_and_flags):
    run(
        "ppo",
        three_steps / "sft",
        three_steps / "reward",
        *stages_and_flags[:2],
        out,
        *words("--max_steps 2 --per_device_generation_batch_size"),
        batch,
        "--per_device_training_batch_size",
        batch,
        *words(
            "--max_eval_examples 7 --max_answer_seq_len 16 --save_steps 0 --actor_lora_dim 4 "
            "--actor_lora_learning_rate 1e-3 --critic_lora_dim 4 --only_optimize_lora"
        ),
        *stages_and_flags[2:],
        processes=processes,
    )


@pytest.mark.long
@pytest.mark.parametrize(
    "flags",
    ["", "--advantage_estimator grpo --num_generations 2 --scale_rewards batch", "--advantage_estimator reinforce"],
)
def test_ppo_with_lora_on_two_processes(three_steps, tmp_path, flags):
    """Sampling seeds belong to prompts, whitening is global: the same answers, scores, KL and advantages as on one
    process.
    """
    ppo(three_steps, tmp_path / "one", 1, 8, 0, 0, *words(flags))
    ppo(three_steps, tmp_path / "two", 2, 4, 3, 2, *words(flags))
    for one, two in zip(metrics(tmp_path / "one"), metrics(tmp_path / "two"), strict=True):
        for key in {
            "score",
            "kl",
            "eos_rate",
            "length",
            "entropy",
            "value_loss",
            "explained_variance",
            "heldout_score",
            "heldout_kl",
            "answers",
            "policy_loss",
        } & one.keys():
            if one[key] is not None:
                assert one[key] == pytest.approx(two[key], rel=1e-2, abs=1e-3), (key, one["step"])
    assert (tmp_path / "two" / "adapter").exists()
    trained, start = (load_file(f / "model.safetensors") for f in (tmp_path / "two", three_steps / "sft"))
    changed = {k for k in trained if not trained[k].equal(start[k])}
    assert changed and all("query_key_value.weight" in k for k in changed)
