"""The flags of step 3 and of prompt_eval.py."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from korlhf.core.flags import flag, seed_flag
from korlhf.training.flags import ModelFlags, RunFlags
from korlhf.training.ppo_flags import PpoFlags
from korlhf.training.reward_flags import RewardFlags
from korlhf.training.rollout_flags import RolloutFlags, VllmFlags


@dataclass(frozen=True)
class Flags:
    """The flags that the models are opened by."""

    actor: ModelFlags
    critic: ModelFlags
    ppo: PpoFlags
    run: RunFlags
    rewards: RewardFlags = field(default_factory=RewardFlags)
    rollout: RolloutFlags = field(default_factory=RolloutFlags)

    @property
    def paths(self) -> dict[str, str]:
        """Name of the flag -> checkpoint, of each that is given and used."""
        critic = self.critic.model_name_or_path if self.ppo.has_critic or not self.rewards.reward else ""
        named = {
            "actor_model_name_or_path": self.actor.model_name_or_path,
            "critic_model_name_or_path": critic,
            "reward_model_name_or_path": self.ppo.reward_model_name_or_path,
            "reference_model_name_or_path": self.ppo.reference_model_name_or_path,
        }
        return {flag: path for flag, path in named.items() if path}

    @property
    def models(self) -> list[tuple[str, str]]:
        """(flag, checkpoint) of all, those of --reward and --veto among them."""
        return [(f"--{flag}", path) for flag, path in self.paths.items()] + self.rewards.models

    @property
    def how(self) -> dict[str, Any]:
        attention, trust = self.run.attn_implementation, self.run.trust_remote_code
        return {"attn_implementation": attention, "trust_remote_code": trust, "dropout": 0.0}


@dataclass(frozen=True, kw_only=True)
class EvalFlags(VllmFlags):
    """evaluation"""

    model_name_or_path_baseline: str = flag("", "the model to compare with; a folder or a hub name")
    model_name_or_path_finetune: str = flag("", "the fine-tuned model")
    model_name_or_path: list[str] = flag([], "one or more further models")
    prompt: list[str] = flag([], "prompts to answer")
    data_path: list[str] = flag(
        [], "datasets whose prompts are answered, named as in training; of one that has an evaluation split, that split"
    )
    max_prompts: int = flag(20, "at most this many prompts of --data_path, drawn at random; 0 = all", low=0)
    max_prompt_seq_len: int = flag(
        256, "longest prompt in tokens of any of the models; longer ones are left out and counted", above=0
    )
    max_new_tokens: int = flag(100, "longest answer in tokens", above=0)
    temperature: float = flag(0.0, "sampling temperature; 0 = greedy, always the likeliest token", low=0)
    top_p: float = flag(1.0, "nucleus sampling; 1 = off", above=0, high=1)
    num_return_sequences: int = flag(1, "answers per prompt; more than 1 needs a --temperature above 0", above=0)
    per_device_eval_batch_size: int = flag(16, "prompts answered at once, by --rollout local", above=0)
    output: str = flag("", "write OUTPUT.md (the answers side by side) and OUTPUT.json", output="file")
    prompt_template: str = flag(
        "auto",
        "how a conversation is written out; auto = the template in each model's folder, else kullm",
        choices=["auto", "kullm", "human_assistant", "chat"],
    )
    seed: int = seed_flag("seed of the draw of prompts and of the sampler")
    dtype: str = flag(
        "auto", "precision; auto = bf16 where the hardware has it, else fp32", choices=["auto", "bf16", "fp16", "fp32"]
    )
    trust_remote_code: bool = flag(False, "run Python code that comes with a hub model")

    @property
    def output_stem(self) -> Path:
        """--output without .md or .json."""
        output = Path(self.output).expanduser()
        return output.with_suffix("") if output.suffix in (".md", ".json") else output

    @property
    def models(self) -> list[tuple[str, str]]:
        """(flag, folder or hub name) of each that is given."""
        several = [("--model_name_or_path", path) for path in self.model_name_or_path]
        baseline, finetune = self.model_name_or_path_baseline, self.model_name_or_path_finetune
        named = [("--model_name_or_path_baseline", baseline), ("--model_name_or_path_finetune", finetune)]
        return [(flag, path) for flag, path in named if path] + several
