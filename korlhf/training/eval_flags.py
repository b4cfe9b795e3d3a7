"""The flags of rw_eval.py."""

from dataclasses import dataclass

from korlhf.core.flags import REQUIRED, flag, seed_flag
from korlhf.training.flags import margin_flag


@dataclass(frozen=True, kw_only=True)
class EvalFlags:
    """evaluation"""

    model_name_or_path: str = flag(
        REQUIRED, "a reward model: a folder that step 2 wrote, a DeepSpeed-Chat checkpoint, or a hub name"
    )
    data_path: list[str] = flag(
        [],
        "pairs to score, named as in training: registered names, files or folders with chosen + "
        "rejected or ranked answers; of a dataset that has an evaluation split, that split",
    )
    train_data_path: list[str] = flag(
        [],
        "pairs on which the trivial rules choose direction and words; not given = "
        "a random half of --data_path, and the rules are measured on the other half",
    )
    margin_column: str = margin_flag()
    min_margin: float = flag(
        0.0, "score only pairs with at least this margin; pairs without one, as people's, stay", low=0
    )
    prompt: str = flag("", "one prompt, whose answers are scored")
    answer: list[str] = flag([], "one or more answers to --prompt")
    max_seq_len: int = flag(512, "longest prompt + answer in tokens; longer ones are left out and counted", above=0)
    per_device_eval_batch_size: int = flag(16, "prompts, with all their answers, in a forward pass", above=0)
    output: str = flag(
        "",
        "write the figures to this JSON file, and one line per pair to the .pairs.jsonl file next to it",
        output="file",
    )
    prompt_template: str = flag(
        "auto",
        "how a conversation is written out; auto = the template in the model's folder, else kullm",
        choices=["auto", "kullm", "human_assistant", "chat"],
    )
    seed: int = seed_flag("seed of the random half")
    dtype: str = flag(
        "auto", "precision; auto = bf16 where the hardware has it, else fp32", choices=["auto", "bf16", "fp16", "fp32"]
    )
    trust_remote_code: bool = flag(False, "run Python code that comes with a hub model")
