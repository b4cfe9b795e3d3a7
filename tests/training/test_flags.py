"""Every flag of DeepSpeed-Chat's main.py is accepted here, or refused with the reason and the remedy."""

import sys

import pytest
from step_programs import main_of, parse

from korlhf.training.flags import REMOVED

NEEDED = {
    **dict.fromkeys((1, 2, "dpo"), ["--data_path", "d", "--model_name_or_path", "m", "--output_dir", "o"]),
    3: ["--data_path", "d", "--actor_model_name_or_path", "a", "--critic_model_name_or_path", "c", "--output_dir", "o"],
}

# DeepSpeed-Chat's flags with a value that its own parser takes, as of its last version.
TRAIN = [
    "--data_path=d",
    "--data_split=2,4,4",
    "--data_output_path=/tmp/d",
    "--model_name_or_path=m",
    "--per_device_train_batch_size=16",
    "--per_device_eval_batch_size=16",
    "--max_seq_len=512",
    "--learning_rate=1e-5",
    "--weight_decay=0.1",
    "--num_train_epochs=1",
    "--gradient_accumulation_steps=1",
    "--lr_scheduler_type=cosine",
    "--num_warmup_steps=0",
    "--output_dir=o",
    "--seed=1234",
    "--local_rank=0",
    "--gradient_checkpointing",
    "--dropout=0.1",
    "--offload+--zero_stage=2",
    "--dtype=bf16",
    "--zero_stage=3",
    "--lora_dim=8",
    "--lora_module_name=decoder.layers.",
    "--only_optimize_lora+--lora_dim=8",
    "--lora_learning_rate=5e-4",
    "--compute_fp32_loss",
    "--enable_tensorboard",
    "--tensorboard_path=t",
    "--add_eot_token",
    "--print_loss",
    "--deepspeed",
    "--deepspeed_config=c",
    "--deepscale",
    "--deepscale_config=c",
]
PPO = [
    "--data_path=d",
    "--data_split=2,4,4",
    "--data_output_path=/tmp/d",
    "--unsupervised_dataset_name=u",
    "--unsupervised_dataset_config_name=c",
    "--unsup_coef=27.8",
    "--actor_model_name_or_path=a",
    "--critic_model_name_or_path=c",
    "--num_padding_at_beginning=1",
    "--per_device_generation_batch_size=16",
    "--per_device_training_batch_size=16",
    "--generation_batches=1",
    "--ppo_epochs=1",
    "--max_prompt_seq_len=256",
    "--max_answer_seq_len=256",
    "--actor_learning_rate=9.65e-6",
    "--critic_learning_rate=5e-6",
    "--actor_weight_decay=0",
    "--critic_weight_decay=0",
    "--num_train_epochs=1",
    "--lr_scheduler_type=cosine",
    "--gradient_accumulation_steps=1",
    "--num_warmup_steps=100",
    "--output_dir=o",
    "--seed=1",
    "--preprocessing_num_workers=2",
    "--local_rank=0",
    "--enable_hybrid_engine",
    "--unpin_actor_parameters",
    "--release_inference_cache",
    "--inference_tp_size=1",
    "--tp_gather_partition_size=8",
    "--offload+--actor_zero_stage=2",
    "--dtype=fp16",
    "--offload_reference_model",
    "--offload_reward_model",
    "--actor_zero_stage=2",
    "--critic_zero_stage=3",
    "--actor_gradient_checkpointing",
    "--critic_gradient_checkpointing",
    "--actor_dropout=0",
    "--critic_dropout=0",
    "--actor_lora_dim=8",
    "--actor_lora_module_name=decoder.layers.",
    "--critic_lora_dim=8",
    "--critic_lora_module_name=decoder.layers.",
    "--only_optimize_lora+--actor_lora_dim=8",
    "--actor_lora_learning_rate=5e-4",
    "--critic_lora_learning_rate=5e-4",
    "--enable_ema",
    "--enable_mixed_precision_lora",
    "--compute_fp32_loss",
    "--enable_tensorboard",
    "--tensorboard_path=t",
    "--add_eot_token",
    "--align_overflow",
    "--print_answers",
    "--print_answers_interval=1",
    "--enable_test_mode",
    "--test_stop_step=5",
    "--deepspeed",
    "--deepspeed_config=c",
    "--deepscale",
    "--deepscale_config=c",
]
LATEST = {
    1: [*TRAIN, "--sft_only_data_path=d", "--eot_token=e"],
    2: [*TRAIN, "--num_padding_at_beginning=1", "--eval_interval=100", "--eval_iters=100", "--no_fused_kernels"],
    "dpo": [*TRAIN, "--beta=0.1", "--label_smoothing=0.1"],
    3: PPO,
}
# Names that earlier versions had.
EARLIER = {
    1: ["--disable_dropout", "--preprocessing_num_workers=2", "--no_bf16_to_fp32_loss"],
    2: ["--disable_dropout", "--no_bf16_to_fp32_loss"],
    3: [
        "--per_device_train_batch_size=16",
        "--per_device_mini_train_batch_size=16",
        "--generation_batch_numbers=1",
        "--disable_actor_dropout",
        "--disable_critic_dropout",
        "--no_bf16_to_fp32_loss",
    ],
}
ALL = [(step, name) for which in (LATEST, EARLIER) for step, names in which.items() for name in names]


def refusal(step, argv, capsys):
    """The last line on stderr of a parse that must exit with 2."""
    with pytest.raises(SystemExit) as stop:
        parse(step, argv)
    assert stop.value.code == 2
    return capsys.readouterr().err.strip().splitlines()[-1]


@pytest.mark.parametrize("step, flag", ALL, ids=[f"step{s}{f}" for s, f in ALL])
@pytest.mark.parametrize("joined", [True, False], ids=["=", "space"])
def test_a_deepspeed_chat_flag_is_accepted_or_refused_with_the_remedy(step, flag, joined, capsys):
    argv = flag.split("+") if joined else [word for part in flag.split("+") for word in part.split("=")]
    name = flag.split("=")[0].split("+")[0]
    if name[2:] in parse(step, NEEDED[step]):
        value = parse(step, NEEDED[step] + argv)[name[2:]]
        assert value == 1 if "=" not in flag.split("+")[0] else str(value) not in ("None", "False", "")
    else:
        line = refusal(step, NEEDED[step] + argv, capsys)
        assert f"{name} was removed: {REMOVED.get(name, 'but is not in flags.REMOVED')}." in line


def test_every_refusal_ends_with_something_to_do():
    for name, why in REMOVED.items():
        last = why.split(". ")[-1].lower()
        assert any(word in last for word in ("delete the flag", "use --")), name
        for other in why.replace(",", " ").replace(";", " ").split():
            assert not other.startswith("--") or other not in REMOVED, (
                f"{name} is sent on to {other}, which was removed too"
            )


@pytest.mark.parametrize("step", NEEDED)
def test_an_accepted_flag_is_not_in_the_list_of_removed_ones(step):
    """Step 3's earlier --per_device_train_batch_size is the one name that other steps keep."""
    both = {f"--{name}" for name in parse(step, NEEDED[step])} & set(REMOVED)
    assert both <= ({"--per_device_train_batch_size"} if step != 3 else set())


WRONG = [
    (1, "--data_split 1,2", "--data_split '1,2'", "2,4,4"),
    (2, "--data_split 0,0,0", "--data_split '0,0,0'", "2,4,4"),
    (3, "--data_split a,b,c", "--data_split 'a,b,c'", "2,4,4"),
    (1, "--data_split 2,-4,4", "--data_split '2,-4,4'", "2,4,4"),
    (1, "--eval_share 1", "--eval_share 1.0", "from 0 up to"),
    (2, "--dtype int8", "--dtype", "bf16"),
    (1, "--zero_stage 4", "--zero_stage", "3"),
    (1, "--offload", "--offload", "--zero_stage"),
    (3, "--offload", "--offload", "--actor_zero_stage"),
    (1, "--only_optimize_lora", "--only_optimize_lora", "--lora_dim"),
    (1, "--load_in_4bit", "--load_in_4bit", "--lora_dim"),
    (3, "--critic_use_dora --actor_lora_dim 8", "--critic_use_dora", "--critic_lora_dim"),
    (2, "--load_in_4bit --lora_dim 8 --zero_stage 3", "--load_in_4bit", "--zero_stage to 2"),
    (3, "--only_optimize_lora", "--only_optimize_lora", "--actor_lora_dim"),
    (1, "--per_device_train_batch_size 0", "--per_device_train_batch_size 0", "above 0"),
    (2, "--max_seq_len -1", "--max_seq_len -1", "above 0"),
    (2, "--learning_rate 0", "--learning_rate 0.0", "above 0"),
    (1, "--learning_rate 빠르게", "--learning_rate", "빠르게"),
    (3, "--temperature 0", "--temperature 0.0", "above 0"),
    (3, "--ppo_epochs 0", "--ppo_epochs 0", "above 0"),
    (
        3,
        "--per_device_generation_batch_size 10 --per_device_training_batch_size 4",
        "--per_device_generation_batch_size",
        "multiple of",
    ),
    (3, "--num_generations 3", "--per_device_generation_batch_size 16", "--num_generations 3"),
    (3, "--advantage_estimator rloo --critic_warmup_steps 2", "--critic_warmup_steps 2", "no critic"),
    (3, "--advantage_estimator grpo", "--num_generations 1", "2 or more"),
    (3, "--dynamic_sampling", "--num_generations 1", "2 or more"),
    (3, "--kl_coef 0 --reference_model_name_or_path m3", "--reference_model_name_or_path m3", "delete it"),
    (3, "--kl_in loss --kl_estimator k1", "--kl_estimator k1", "give k3"),
    (3, "--kl_coef 0 --kl_target 5", "--kl_target 5", "--kl_coef above 0"),
    (3, "--kl_coef 0 --kl_limit 5", "--kl_limit 5", "--kl_coef above 0"),
    (3, "--advantage_estimator dpo", "--advantage_estimator", "reinforce"),
    ("dpo", "--beta 0", "--beta 0.0", "above 0"),
    ("dpo", "--loss ppo", "--loss", "kto"),
    ("dpo", "--label_smoothing 0.5", "--label_smoothing 0.5", "0.5"),
    ("dpo", "--loss kto --label_smoothing 0.1", "--label_smoothing 0.1", "delete it"),
    ("dpo", "--loss kto --margin_column m --min_margin 1", "--min_margin 1", "kto has no pairs"),
    ("dpo", "--min_margin 1", "--min_margin 1", "--margin_column"),
    ("dpo", "--loss orpo --sft_weight 1", "--sft_weight 1", "delete it"),
    ("dpo", "--offload_reference_model", "--offload_reference_model was removed", "Delete the flag"),
    (1, "--no_such_flag 3", "--no_such_flag", "--help"),
    (2, "--model_name m2", "--model_name", "--help"),
    (1, "--prompt_template vicuna", "--prompt_template", "human_assistant"),
    (2, "--seed one", "--seed", "one"),
    (1, "--adam_beta1 1", "--adam_beta1 1.0", "from 0 up to"),
    (2, "--adam_beta2 -0.1", "--adam_beta2 -0.1", "from 0 up to"),
    (3, "--critic_adam_beta2 1.5", "--critic_adam_beta2 1.5", "from 0 up to"),
    (1, "--eval_steps 5", "--eval_steps", "--help"),
]


@pytest.mark.parametrize("step, words, named, remedy", WRONG, ids=[f"step{w[0]} {w[1]}" for w in WRONG])
def test_a_wrong_value_is_refused_in_one_line(step, words, named, remedy, capsys):
    line = refusal(step, NEEDED[step] + words.split(" "), capsys)
    assert "error: " in line and named in line and remedy in line


def test_new_lora_weights_over_an_adapter_are_refused_before_they_are_trained(tmp_path, capsys):
    (tmp_path / "adapter_config.json").touch()
    words = ["--model_name_or_path", str(tmp_path), "--data_path", "d", "--output_dir", "o", "--lora_dim", "8"]
    assert "is a LoRA adapter itself" in refusal(1, words, capsys)


def test_four_bits_without_bitsandbytes_say_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    assert "pip install 'korlhf[qlora]'" in refusal(1, [*NEEDED[1], "--load_in_4bit", "--lora_dim", "8"], capsys)


@pytest.mark.parametrize("step", NEEDED)
def test_missing_flags_are_named(step, capsys):
    line = refusal(step, [], capsys)
    assert all(name in line for name in NEEDED[step] if name.startswith("--"))


def test_defaults_of_step_3_are_the_papers_not_deepspeed_chats():
    values = parse(3, NEEDED[3])
    assert (values["actor_learning_rate"], values["critic_learning_rate"]) == (2e-6, 9e-6)
    assert (values["actor_lora_learning_rate"], values["critic_lora_learning_rate"]) == (2e-5, 9e-5)
    assert (values["temperature"], values["top_p"], values["gamma"], values["lam"], values["cliprange"]) == (
        1.0,
        1.0,
        1.0,
        0.95,
        0.2,
    )


def test_print_answers_takes_an_interval_or_none():
    assert [
        parse(3, NEEDED[3] + words)["print_answers"] for words in ([], ["--print_answers"], ["--print_answers", "5"])
    ] == [0, 1, 5]


def test_step_3_evaluates_by_either_name():
    for name in ("--eval_interval", "--eval_steps"):
        assert main_of(3).parse([*NEEDED[3], name, "7"])[1].run.eval_interval == 7
    both = [
        "--eval_interval",
        "14",
        "--eval_steps",
        "7",
    ]  # a run script's and a user's: the last wins
    assert main_of(3).parse([*NEEDED[3], *both])[1].run.eval_interval == 7
    assert main_of(3).parse(NEEDED[3])[1].run.eval_interval == 0 and "eval_steps" not in parse(3, NEEDED[3])


def test_betas_are_flags_of_each_model():
    _, given, *_ = main_of(3).parse([*NEEDED[3], "--actor_adam_beta1", "0.8", "--critic_adam_beta2", "0.99"])
    assert [(m.adam_beta1, m.adam_beta2) for m in (given.actor, given.critic)] == [(0.8, 0.95), (0.9, 0.99)]


def test_a_critic_is_asked_for_where_one_is_trained(capsys):
    at = NEEDED[3].index("--critic_model_name_or_path")
    without = [*NEEDED[3][:at], *NEEDED[3][at + 2 :], "--reward", "rules:sense"]
    given = main_of(3).parse([*without, "--advantage_estimator", "reinforce"])[1]
    assert "critic_model_name_or_path" not in given.paths
    assert "--critic_model_name_or_path" in refusal(3, without, capsys)
    assert main_of(3).parse([*NEEDED[3], "--reward", "rules:sense"])[1].paths["critic_model_name_or_path"]
