"""The three steps' own trainings (korlhf.training, korlhf.rl) over random models and rows: what the benchmarks time."""

import random
from collections.abc import Iterator
from typing import Any

import torch
from random_model import neox_config, with_ending, word_tokenizer, words
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from korlhf.data.tokenize import Codec, Tokens
from korlhf.models import causal_lm, reward_model
from korlhf.models.causal_lm import TokenLogps
from korlhf.models.lora import add_lora
from korlhf.models.reward_model import TokenValues
from korlhf.models.tokenizer import load_tokenizer
from korlhf.rl.models import Flags, Models
from korlhf.rl.rewards import Prompt, RewardModel, RunningMoments, RunningShaping
from korlhf.rl.training import PpoTraining
from korlhf.training.engine import Engine, Frozen, Recipe
from korlhf.training.examples import Split
from korlhf.training.flags import ModelFlags, RunFlags
from korlhf.training.loop import Order
from korlhf.training.ppo_flags import PpoFlags
from korlhf.training.reward import RewardTraining
from korlhf.training.sft import SftTraining
from korlhf.training.world import DTYPES, World

KOREAN = "오늘 날씨가 좋은데 같이 산책하러 갈까요 저녁에는 무엇을 먹으면 좋을지 친구와 이야기하고 싶어요"
NONE = Split([], [])


def language_model(args, world: World, dtype: str) -> Any:
    """A causal language model: of --model_name_or_path, or random and made on the device."""
    if args.model_name_or_path:
        return causal_lm.load(AutoModelForCausalLM, args.model_name_or_path, dropout=0.0, **_how(args, dtype))
    with world.device:
        return AutoModelForCausalLM.from_config(shape(args), **_how(args, dtype))


def scoring_model(args, world: World, dtype: str) -> Any:
    """A model with a scalar head on the same trunk."""
    if args.model_name_or_path:
        return reward_model.load_reward_model(args.model_name_or_path, new_head=True, dropout=0.0, **_how(args, dtype))
    with world.device:
        return AutoModelForSequenceClassification.from_config(shape(args, num_labels=1), **_how(args, dtype))


def shape(args, **more: Any):
    return neox_config(args.hidden_size, args.layers, args.vocab_size, args.seq_len, **more)


def _how(args, dtype):
    return {"attn_implementation": args.attn_implementation, "dtype": DTYPES[dtype]}


def model_flags(args) -> ModelFlags:
    """Flags of a trained model. The learning rate moves the weights too little to change what is sampled."""
    same = {"zero_stage": args.zero_stage, "lora_dim": args.lora_dim}
    return ModelFlags(
        model_name_or_path="random",
        learning_rate=args.learning_rate,
        lora_learning_rate=args.learning_rate,
        gradient_checkpointing=args.gradient_checkpointing,
        **same,
    )


def engine(module: torch.nn.Module, args, world: World, dtype: str) -> Engine:
    """`module` under DeepSpeed, as a step trains it."""
    return Engine(module, model_flags(args), world, Recipe(dtype, args.batch_size, 1, 10**6))


def order(args, n: int, world: World) -> Order:
    return Order(n, args.batch_size, 1, 1, 0, args.seed, world)


def sft(lm: Any, args, world: World, dtype: str, rows: list[Tokens]) -> SftTraining:
    """Step 1 over `rows`. lm: of `language_model`."""
    actor = engine(TokenLogps(add_lora(lm, model_flags(args), "CAUSAL_LM")), args, world, dtype)
    codec: Any = None  # nothing is tokenised
    return _begun(SftTraining(actor, "random", codec, (Split([], rows), NONE), order(args, len(rows), world), 1))


def reward(scorer: Any, args, world: World, dtype: str, groups: list[list[Tokens]]) -> RewardTraining:
    """Step 2 over `groups`, the better answer first. scorer: of `scoring_model`."""
    model = engine(TokenValues(add_lora(scorer, model_flags(args), "SEQ_CLS")), args, world, dtype)
    return _begun(RewardTraining(model, "random", None, (Split([], groups), NONE), order(args, len(groups), world), 1))


def ppo(models: Models, args, ppo_flags: PpoFlags, prompts: list[Prompt]) -> PpoTraining:
    """Step 3 over `prompts`. No reference answers are sampled at the start: the score's zero is 0."""
    flags = Flags(model_flags(args), model_flags(args), ppo_flags, RunFlags(output_dir=""))
    run: Any = None  # nothing is saved
    training = PpoTraining(models, flags, prompts, [], [], order(args, len(prompts), models.world), run)
    training.shaping = RunningShaping(RunningMoments(), 0.0, ppo_flags, models.world.sum)
    return _begun(training)


def _begun(training: Any) -> Any:
    for trained in training.engines.values():
        trained.train()
    return training


def ppo_models(lm: Any, reference: Any, args, world: World, dtype: str) -> Models:
    """Actor, critic, reference and reward model of one size; with LoRA the reference is the actor without it.

    lm, reference: of `actor_and_reference`.
    """
    codec = codec_of(args)
    scorer = Frozen(TokenValues(scoring_model(args, world, dtype)), world, dtype, args.zero_stage)
    critic = TokenValues(add_lora(scoring_model(args, world, dtype), model_flags(args), "SEQ_CLS"))
    frozen = None if args.lora_dim else Frozen(TokenLogps(reference), world, dtype, args.zero_stage)
    return Models(
        actor=engine(TokenLogps(add_lora(lm, model_flags(args), "CAUSAL_LM")), args, world, dtype),
        critic=engine(critic, args, world, dtype),
        reference=frozen,
        reward=RewardModel(scorer, codec, args.batch_size),
        codec=codec,
        world=world,
    )


def actor_and_reference(args, mean_answer: int, world: World, dtype: str) -> tuple[Any, Any]:
    """Two language models with the same weights; random ones end an answer by chance, after `mean_answer` tokens."""
    lm, reference = language_model(args, world, dtype), None
    if not args.lora_dim:
        reference = language_model(args, world, dtype)
    if not args.model_name_or_path:
        lm = with_ending(lm, codec_of(args).eos_token_id, mean_answer)
        if reference is not None:
            reference = with_ending(reference, codec_of(args).eos_token_id, mean_answer)
            reference.load_state_dict(lm.state_dict())
    return lm, reference


def codec_of(args) -> Codec:
    """The random models' tokenizer, or that of --model_name_or_path."""
    return Codec(
        load_tokenizer(args.model_name_or_path) if args.model_name_or_path else word_tokenizer(args.vocab_size)
    )


def sft_rows(lengths: Iterator[tuple[int, ...]], n: int, vocab_size: int, rng: random.Random) -> list[Tokens]:
    """`n` rows of random ids: a prompt and a trained answer each."""
    return [row for group in groups(lengths, n, vocab_size, rng) for row in group]


def groups(lengths: Iterator[tuple[int, ...]], n: int, vocab_size: int, rng: random.Random) -> list[list[Tokens]]:
    """`n` prompts of random ids, each with as many answers as `lengths` gives."""
    drawn = []
    for prompt, *answers in (next(lengths) for _ in range(n)):
        ids = [rng.randrange(4, vocab_size) for _ in range(prompt)]
        texts = ([rng.randrange(4, vocab_size) for _ in range(a)] for a in answers)
        drawn.append([Tokens(ids + text, [0] * prompt + [1] * len(text)) for text in texts])
    return drawn


def prompts(lengths: Iterator[tuple[int, ...]], n: int, args, codec: Codec, rng: random.Random) -> list[Prompt]:
    """`n` prompts of about the drawn lengths: words are added until a prompt has as many tokens (with a real template
    it may start longer).
    """
    vocabulary = KOREAN.split() if args.model_name_or_path else words(args.vocab_size)
    drawn = []
    for (length,) in (next(lengths) for _ in range(n)):
        chosen, ids = [], []
        while len(ids) < length:
            chosen += [rng.choice(vocabulary) for _ in range(max(1, (length - len(ids)) // 4 if ids else 1))]
            messages = ({"role": "user", "content": " ".join(chosen)},)
            ids = codec.prompt(messages).ids
        drawn.append(Prompt(ids, messages, "all"))
    return drawn
