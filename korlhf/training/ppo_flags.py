"""The flags of step 3's algorithms, and which of them cannot go together."""

from dataclasses import dataclass

from korlhf.core.flags import Parser, flag

NAMES = {"gae": "PPO", "rloo": "RLOO", "grpo": "GRPO", "reinforce": "REINFORCE"}  # of advantage estimators


@dataclass(frozen=True, kw_only=True)
class PpoFlags:
    """policy optimisation"""

    reward_model_name_or_path: str = flag(
        "", "reward model that scores answers; not given = --critic_model_name_or_path"
    )
    reference_model_name_or_path: str = flag(
        "", "model that the KL penalty is measured against; not given = the actor as it starts"
    )
    advantage_estimator: str = flag(
        "gae",
        "gae: PPO with a critic; without one: rloo and grpo compare the --num_generations answers to a prompt, "
        "reinforce those of a batch",
        choices=list(NAMES),
    )
    num_generations: int = flag(1, "answers to each prompt and step", above=0)
    scale_rewards: str = flag(
        "group",
        "what grpo divides advantages by: the standard deviation of the prompt's answers or of all of the step's, or "
        "nothing (Dr. GRPO)",
        choices=["group", "batch", "none"],
    )
    loss_aggregation: str = flag(
        "token",
        "the policy's loss is the mean over all tokens, or over answers the mean of their tokens, or over answers the "
        "sum of their tokens by --max_answer_seq_len (constant)",
        choices=["token", "sequence", "constant"],
    )
    ratio: str = flag(
        "token", "probability ratio of each token, or of each answer (GSPO)", choices=["token", "sequence"]
    )
    mask_truncated: bool = flag(False, "answers without EOS leave the policy's loss")
    dynamic_sampling: bool = flag(
        False, "prompts whose --num_generations answers have one score leave the policy's loss; metrics count them"
    )
    kl_in: str = flag(
        "reward", "the KL penalty is part of each token's reward, or of the loss", choices=["reward", "loss"]
    )
    kl_estimator: str = flag(
        "auto",
        "of that penalty: the log-ratio (k1) or k3, which is never negative; auto = k1 in the reward, k3 in the loss",
        choices=["auto", "k1", "k3"],
    )
    per_device_generation_batch_size: int = flag(16, "answers per process sampled at once", above=0)
    per_device_training_batch_size: int = flag(16, "answers per process and forward pass of an update", above=0)
    generation_batches: int = flag(1, "sampled batches per step", above=0)
    gradient_accumulation_steps: int = flag(1, "forward passes per optimizer step of an update", above=0)
    ppo_epochs: int = flag(1, "passes over each step's answers", above=0)
    num_train_epochs: int = flag(1, "passes over the prompts, each in a new order", above=0)
    max_prompt_seq_len: int = flag(256, "longest prompt in tokens; longer prompts are left out and counted", above=0)
    max_answer_seq_len: int = flag(256, "longest answer in tokens, EOS included", above=0)
    temperature: float = flag(1.0, "sampling temperature, also of log-probabilities, KL and entropy", above=0)
    top_p: float = flag(1.0, "nucleus sampling; 1 = off", above=0, high=1)
    kl_coef: float = flag(
        0.05, "weight of the per-token KL penalty; 0 = no reference is loaded and no KL measured", low=0
    )
    kl_target: float = flag(
        0.0, "adaptive KL controller aims at this KL per answer (nats); 0 = the weight stays fixed", low=0
    )
    kl_horizon: int = flag(2000, "answers over which the adaptive controller reacts", above=0)
    gamma: float = flag(1.0, "discount", low=0, high=1)
    lam: float = flag(0.95, "lambda of GAE", low=0, high=1)
    cliprange: float = flag(0.2, "ratio clipping of the policy loss", above=0)
    cliprange_high: float = flag(0.0, "of ratios above 1; 0 = --cliprange", low=0)
    cliprange_value: float = flag(0.2, "clipping of the value loss", above=0)
    reward_clip: float = flag(5.0, "normalised scores are clipped to +-this", above=0)
    missing_eos_penalty: float = flag(1.0, "subtracted from the normalised score of an answer without EOS", low=0)
    no_score_normalization: bool = flag(False, "use raw reward-model scores: no running mean and standard deviation")
    no_whitening: bool = flag(False, "do not whiten advantages of gae and reinforce over the global batch")
    critic_warmup_steps: int = flag(0, "first steps in which only the critic learns", low=0)
    offload_reference_model: bool = flag(False, "keep the frozen reference copy in CPU memory between uses")
    enable_ema: bool = flag(False, "also keep an exponential moving average of the actor, saved as actor_ema/")
    ema_decay: float = flag(0.992, "decay of that average per PPO step", low=0, below=1)
    unsupervised_dataset_name: str = flag("", "dataset of the ptx loss (step 1 examples or plain text)")
    unsupervised_dataset_config_name: str = flag("", "its configuration on the hub")
    unsup_coef: float = flag(27.8, "weight of the ptx loss (gamma in InstructGPT, equation 2)", low=0)
    kl_limit: float = flag(
        0.0, "the best checkpoint is chosen among those under this KL per answer (nats); 0 = no limit", low=0
    )
    print_answers: int = flag(  # bare --print_answers, as DeepSpeed-Chat spells it, means every step
        0, "print two sampled answers every N PPO steps; 0 = never", nargs="?", const=1, low=0
    )

    @property
    def has_critic(self) -> bool:
        return self.advantage_estimator == "gae"

    @property
    def whitens(self) -> bool:
        return self.advantage_estimator in ("gae", "reinforce") and not self.no_whitening

    @property
    def prompts_at_once(self) -> int:
        """Prompts per process and sampled batch."""
        return self.per_device_generation_batch_size // self.num_generations

    def one_pass(self, answers: int) -> bool:
        """Whether a step of so many answers in a process takes its gradients from the passes that score them."""
        once = self.ppo_epochs == self.gradient_accumulation_steps == 1
        return once and answers == self.per_device_training_batch_size and not self.unsupervised_dataset_name


def check_ppo(ppo: PpoFlags, parser: Parser) -> None:
    """Refuse values of step 3 that cannot work, as `check` does."""
    if ppo.per_device_generation_batch_size % ppo.num_generations:
        parser.error(
            f"--per_device_generation_batch_size {ppo.per_device_generation_batch_size} answers are no multiple of "
            f"--num_generations {ppo.num_generations}; change one of them"
        )
    if ppo.num_generations == 1 and ppo.advantage_estimator == "grpo":
        parser.error(
            "--advantage_estimator grpo --num_generations 1: an answer is compared with the others to its prompt, and "
            "there are none; give 2 or more"
        )
    if ppo.num_generations == 1 and ppo.dynamic_sampling:
        parser.error(
            "--dynamic_sampling --num_generations 1: one answer has one score, so every prompt would leave the loss; "
            "give 2 or more"
        )
    if ppo.critic_warmup_steps and not ppo.has_critic:
        parser.error(
            f"--critic_warmup_steps {ppo.critic_warmup_steps}: --advantage_estimator {ppo.advantage_estimator} has no "
            "critic; delete it"
        )
    if ppo.kl_in == "loss" and ppo.kl_estimator == "k1":
        parser.error("--kl_in loss --kl_estimator k1: its gradient is 0 in the mean; give k3, or --kl_in reward")
    if ppo.reference_model_name_or_path and not ppo.kl_coef:
        parser.error(
            f"--reference_model_name_or_path {ppo.reference_model_name_or_path}: is not used without a KL penalty "
            "(--kl_coef 0); delete it"
        )
    for name in ("kl_target", "kl_limit"):
        if getattr(ppo, name) and not ppo.kl_coef:
            parser.error(
                f"--{name} {getattr(ppo, name):g}: without a reference (--kl_coef 0) there is no KL; give a --kl_coef "
                "above 0"
            )
    sampled = ppo.per_device_generation_batch_size * ppo.generation_batches
    used = ppo.per_device_training_batch_size * ppo.gradient_accumulation_steps
    if sampled % used:
        parser.error(
            f"--per_device_generation_batch_size x --generation_batches = {sampled} answers per step, which is not a "
            f"multiple of --per_device_training_batch_size x --gradient_accumulation_steps = {used}; change one of them"
        )
