"""The models of step 3. With LoRA the reference is the actor with its adapter off; otherwise a frozen copy. Only GAE
has a critic, and only a KL penalty a reference.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from korlhf.core.errors import InputError
from korlhf.data.tokenize import Codec
from korlhf.models.causal_lm import TokenLogps, load_causal_lm
from korlhf.models.checks import check_rows
from korlhf.models.lora import add_lora
from korlhf.models.reward_model import TokenValues, has_head, load_reward_model
from korlhf.models.tokenizer import load_tokenizer
from korlhf.rl.flags import Flags
from korlhf.rl.mixed import Mix
from korlhf.rl.reward_kinds import Opener, open_mix
from korlhf.rl.rewards import Reward, RewardModel
from korlhf.rl.sampler import Sampler
from korlhf.training.engine import Engine, Frozen, Recipe, loading
from korlhf.training.rollout_flags import RolloutFlags
from korlhf.training.world import World


@dataclass
class Models:
    """What a step works with. reference None: the actor with its LoRA adapter off, if the KL is measured; sampler None:
    the actor itself.
    """

    actor: Engine
    critic: Engine | None
    reference: Frozen | None
    reward: Reward | Mix
    codec: Codec
    world: World
    measures_kl: bool = True
    sampler: Sampler | None = None
    rollout: RolloutFlags = field(default_factory=RolloutFlags)

    @property
    def trained(self) -> dict[str, Engine]:
        return {"actor": self.actor, **({"critic": self.critic} if self.critic else {})}


def open_models(
    flags: Flags, codec: Codec, world: World, dtype: str, steps: int, openers: Mapping[str, Opener] | None = None
) -> Models:
    """Actor, critic, reference and reward; codec: the actor's; openers: of rewards that are no models, by kind.

    Raises InputError for checkpoints that do not fit together.
    """
    actor, critic, ppo = flags.actor, flags.critic, flags.ppo
    reward = _open_reward(flags, world, dtype, openers or {})
    values: Any = None
    if ppo.has_critic:
        with loading(world, dtype, critic.zero_stage, flags.run.offload) as placed:
            values = _open_critic(flags, codec, {**placed, "load_in_4bit": critic.load_in_4bit})
    with loading(world, dtype, actor.zero_stage, flags.run.offload) as placed:
        path, what = actor.model_name_or_path, "--actor_model_name_or_path"
        placed["load_in_4bit"] = actor.load_in_4bit
        lm = load_causal_lm(path, codec.tokenizer, what, **flags.how, **placed)
        lm = add_lora(lm, actor, "CAUSAL_LM")
    reference = None
    if ppo.kl_coef and (ppo.reference_model_name_or_path or not actor.lora_dim):
        reference = _open_reference(flags, codec, world, dtype)
    if values:
        with loading(world, dtype, critic.zero_stage, flags.run.offload):
            values = add_lora(values, critic, "SEQ_CLS")

    answers = ppo.per_device_generation_batch_size * ppo.generation_batches
    micro_batch, accumulation = ppo.per_device_training_batch_size, ppo.gradient_accumulation_steps
    updates = ppo.ppo_epochs * answers // (micro_batch * accumulation)
    recipe = Recipe.of(flags.run, dtype, micro_batch, accumulation, updates * steps)
    shorter = replace(recipe, total_steps=updates * max(steps - ppo.critic_warmup_steps, 1))
    return Models(
        actor=Engine(TokenLogps(lm, flags.run.packing), actor, world, shorter),
        critic=Engine(TokenValues(values, flags.run.packing), critic, world, recipe) if values else None,
        reference=reference,
        reward=reward,
        codec=codec,
        world=world,
        measures_kl=ppo.kl_coef > 0,
        rollout=flags.rollout,
    )


def _open_reward(flags, world, dtype, openers):
    def model(path, flag):
        return _open_reward_model(path, flag, flags, world, dtype)

    if flags.rewards.reward:
        return open_mix(flags.rewards, {**openers, "model": model}, world)
    flag = "reward_model_name_or_path"
    flag = flag if flag in flags.paths else "critic_model_name_or_path"
    return model(flags.paths[flag], f"--{flag}")


def _open_reward_model(path, flag, flags, world, dtype):
    codec = Codec(load_tokenizer(path, trust_remote_code=flags.run.trust_remote_code, what=flag))
    with loading(world, dtype, flags.critic.zero_stage) as placed:
        model = load_reward_model(path, flag, **flags.how, **placed)
    check_rows(model, codec.tokenizer, f"{flag} {path}")
    model = TokenValues(model, flags.run.packing)
    frozen = Frozen(model, world, dtype, flags.critic.zero_stage)
    return RewardModel(frozen, codec, flags.ppo.per_device_generation_batch_size, f"{flag} {path}")


def _open_reference(flags, codec, world, dtype):
    path = flags.ppo.reference_model_name_or_path or flags.actor.model_name_or_path
    zero_stage, offload = flags.actor.zero_stage, flags.ppo.offload_reference_model
    with loading(world, dtype, zero_stage, offload) as placed:
        copy = load_causal_lm(path, codec.tokenizer, "--reference_model_name_or_path", **flags.how, **placed)
    return Frozen(TokenLogps(copy, flags.run.packing), world, dtype, zero_stage, offload)


def _open_critic(flags, codec, placed):
    path, what = flags.critic.model_name_or_path, "--critic_model_name_or_path"
    tokenizer = load_tokenizer(path, trust_remote_code=flags.run.trust_remote_code, what=what)
    if tokenizer.get_vocab() != codec.tokenizer.get_vocab() and not _same_ids(tokenizer, codec.tokenizer):
        raise InputError(
            f"{what} {path}: its tokenizer is not the actor's, so it cannot read the actor's tokens; give the actor's "
            "folder as critic (it gets a new value head) and the reward model as --reward_model_name_or_path"
        )
    scored_by_another = flags.ppo.reward_model_name_or_path or flags.rewards.reward
    is_language_model = bool(scored_by_another) and not has_head(path)
    return load_reward_model(path, what, new_head=is_language_model, **flags.how, **placed)


def _same_ids(a, b):
    """Whether two tokenizers give a Korean sample the same ids (one may know a pad token more)."""
    text = "오늘 날씨가 참 좋네요! 산책하러 갈까요? 1234 Hello, 안녕하세요. ㅎㅎ 漢字"
    ids = [t(text, add_special_tokens=False).input_ids for t in (a, b)]
    return len(a) - len(b) in (-1, 0, 1) and ids[0] == ids[1]
