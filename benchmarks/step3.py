"""How fast PPO goes: sampling, scoring and training apart, and packed rows against padded ones.

    python benchmarks/step3.py [--hidden_size 256 --layers 4 ...]

Four models of one size: actor, critic, reference, reward model. A random actor would hardly ever end an answer, so its head gets a bias
on the end-of-answer token: answer lengths are geometric with --mean_answer tokens, cut at the limit.
What padded rows mean for sampling. longest: prompts padded to the batch's longest, every row goes on until the last has stopped; limit:
prompts padded to the prompt limit, every row goes on to the answer limit. Scoring and training then use the packed run's answers.
"""

import functools
import math
from dataclasses import dataclass

import bench
import torch
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers import models as token_models
from torch import nn
from transformers import PreTrainedTokenizerFast

from korlhf.core import flags, program
from korlhf.data.tokenize import Codec
from korlhf.models import causal_lm as models
from korlhf.models import reward_model
from korlhf.models.tokenizer import load_tokenizer
from korlhf.rl import rollout
from korlhf.rl import step as ppo_step
from korlhf.rl.advantages import whiten
from korlhf.rl.rewards import shaped_scores
from korlhf.training import engine, log
from korlhf.training.flags import PpoFlags

TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'user' %}{{ '<user> ' + m.content + ' <answer> ' }}"
    "{% else %}{{ m.content + eos_token }}{% endif %}{% endfor %}"
)
KOREAN = [
    "오늘",
    "날씨가",
    "좋은데",
    "같이",
    "산책하러",
    "갈까요",
    "저녁에는",
    "무엇을",
    "먹으면",
    "좋을지",
    "친구와",
    "이야기하고",
    "싶어요",
    "내일은",
    "비가",
    "온다고",
    "하니",
    "우산을",
    "챙기세요",
]


@dataclass(frozen=True, kw_only=True)
class SamplingFlags:
    """sampling"""

    mean_answer: int = flags.flag(
        -1,
        "mean answer length of the random actor in tokens; -1 = a quarter of the "
        "answer limit, 0 = it never stops by itself",
    )


def word_tokenizer(vocab_size):
    """A tokenizer in memory: <end>, <user>, <answer> and numbered words, so that a text of n words has n tokens and back."""
    words = {w: i for i, w in enumerate(["<end>", "<user>", "<answer>", *(f"w{i}" for i in range(vocab_size - 3))])}
    tokenizer = Tokenizer(token_models.WordLevel(words, unk_token="<end>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<end>",
        pad_token="<end>",
        unk_token="<end>",
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = TEMPLATE
    return fast


def make_prompt(codec, words, length, rng):
    """A ppo_step.Prompt of about `length` tokens: words are added until it has as many (with a real template it may start longer)."""
    said = [rng.choice(words)]
    prompt = codec.prompt([{"role": "user", "content": said[0]}])
    while len(prompt) < length:
        said += [rng.choice(words) for _ in range(max(1, (length - len(prompt)) // 4))]
        prompt = codec.prompt([{"role": "user", "content": " ".join(said)}])
    return ppo_step.Prompt(prompt.ids, ({"role": "user", "content": " ".join(said)},), "all")


def batches(args, codec, words, limit, rng):
    """Endless lists of prompts."""
    lengths = bench.draw_lengths(args, 1, limit, rng)
    while True:
        yield [make_prompt(codec, words, next(lengths)[0], rng) for _ in range(args.batch_size)]


def with_ending(lm, stop_id, mean_answer):
    """Give the head a bias with which a random model ends an answer with probability 1 / mean_answer a token; 0: never."""
    head = lm.get_output_embeddings()
    biased = nn.Linear(head.in_features, head.out_features, dtype=head.weight.dtype)
    with torch.no_grad():
        biased.weight.copy_(head.weight)
        biased.bias.zero_()
        # a random model's other logits are near 0: together they weigh as much as there are tokens
        biased.bias[stop_id] = math.log(head.out_features / max(mean_answer - 1, 0.01)) if mean_answer else -1e4
    lm.set_output_embeddings(biased)
    return lm


def load(args, more, ranks, dtype, limit):
    """(ppo_step.Models, words of prompts, bench.Flops of a language model, of a scoring model, one line on the actor)."""
    if args.model_name_or_path:
        tokenizer, words = load_tokenizer(args.model_name_or_path), KOREAN
    else:
        tokenizer, words = word_tokenizer(args.vocab_size), [f"w{i}" for i in range(args.vocab_size - 3)]
    codec = Codec(tokenizer)
    lm, reference = bench.language_model(args), bench.language_model(args)
    described = bench.described(lm)
    flops = bench.Flops(lm), bench.Flops(bench.scoring_model(args))
    if not args.model_name_or_path:
        lm = with_ending(lm, codec.stop_id, limit // 4 if more.mean_answer < 0 else more.mean_answer)
        reference.load_state_dict({k: v for k, v in lm.state_dict().items() if k in reference.state_dict()})
    four = ppo_step.Models(
        actor=bench.trained(models.TokenLogps(lm), args, ranks, dtype),
        critic=bench.trained(reward_model.TokenValues(bench.scoring_model(args)), args, ranks, dtype),
        reference=engine.Frozen(models.TokenLogps(reference), ranks, dtype, args.zero_stage),
        reward=engine.Frozen(reward_model.TokenValues(bench.scoring_model(args)), ranks, dtype, args.zero_stage),
        codec=codec,
        reward_codec=codec,
        ranks=ranks,
    )
    return four, words, flops, described


class Sampling:
    """While entered, korlhf.rollout.sample does the work of a layout; the others return the remembered answers of layout packed.

    `real` and `computed` are the tokens fed into the model: prompts, and answers but for their last token.
    """

    def __init__(self, kind, limit, packed=None):
        self.kind, self.limit, self.own, self.packed = kind, limit, rollout.sample, packed
        self.answers, self.real, self.computed = None, 0, 0

    def __enter__(self):
        rollout.sample = self.sample

    def __exit__(self, *_):
        rollout.sample = self.own

    def sample(self, lm, prompts, stop_id, max_new_tokens, seeds, batch_size, temperature, top_p):
        longest = max(map(len, prompts))
        if self.kind == "packed":
            self.answers = self.own(lm, prompts, stop_id, max_new_tokens, seeds, batch_size, temperature, top_p)
            self.computed += len(prompts) * longest + sum(len(a) - 1 for a in self.answers)
        else:
            self.answers = self.packed.answers
            width = max(self.limit, longest) if self.kind == "limit" else longest
            steps = max_new_tokens if self.kind == "limit" else max(map(len, self.answers))
            # Tokens in the place of padding cost the same; -1 is no token, so no row ever stops.
            self.own(
                lm, [[0] * (width - len(p)) + p for p in prompts], -1, steps, seeds, batch_size, temperature, top_p
            )
            self.computed += len(prompts) * (width + steps - 1)
        self.real += sum(len(p) + len(a) - 1 for p, a in zip(prompts, self.answers))
        return self.answers


class Step:
    """One PPO step as step 3's main.py does it, in one layout; its figures gather in `seconds`, `samples`, `tokens`, `work`, `rows`."""

    def __init__(self, four, ppo_flags, kind, limit, flops, packed=None):
        self.four, self.flags, self.kind, self.lm_flops, self.score_flops = four, ppo_flags, kind, *flops
        self.sampling = Sampling(kind, limit, packed.sampling if packed else None)
        self.layout = bench.Layout(kind, 2 * limit)
        self.reset()

    def reset(self):
        self.seconds, self.work = dict.fromkeys(PHASES, 0.0), dict.fromkeys(PHASES, 0.0)
        self.samples = self.tokens = self.generated = 0
        self.rows = {p: [0, 0] for p in PHASES}
        self.sampling.real = self.sampling.computed = 0

    def __call__(self, prompts, seed):
        clock, ranks = bench.Clock(self.four.ranks.device), self.four.ranks
        self.layout.reset()
        with self.sampling, self.layout:
            exp, _, seconds, _ = ppo_step.collect(
                self.four, prompts, [seed * 100_003 + i for i in range(len(prompts))], self.flags, 0.05, SHAPE, clock
            )
        self.rows["scoring"] = [
            self.rows["scoring"][0] + self.layout.real,
            self.rows["scoring"][1] + self.layout.computed,
        ]
        seconds["scoring"] += clock.lap()
        self.layout.reset()
        clock.lap()
        with self.layout:
            exp.advantages = whiten(exp.advantages, exp.mask, ranks.sum)
            ppo_step.update(self.four, exp, self.flags, True)
        seconds["training"] = clock.lap()
        self.rows["training"] = [
            self.rows["training"][0] + self.layout.real,
            self.rows["training"][1] + self.layout.computed,
        ]
        self.rows["sampling"] = [self.sampling.real, self.sampling.computed]
        self.count(exp, seconds)

    def count(self, exp, seconds):
        lengths, predicted = [len(p) + len(a) for p, a in zip(exp.prompts, exp.answers)], sum(map(len, exp.answers))
        once, values = self.lm_flops.forward(lengths, predicted), self.score_flops.forward(lengths, 0)
        for phase, work in (
            ("sampling", once),
            ("scoring", 2 * once + 2 * values),
            ("training", 3 * once + 3 * values),
        ):
            self.seconds[phase] += seconds[phase]
            self.work[phase] += work
        self.samples += len(lengths)
        self.tokens += sum(lengths)
        self.generated += predicted

    def figures(self, ranks):
        """{phase: bench.throughput}; sampling's real tokens are the sampled ones, the others' prompts and answers; `total`: all three."""
        found = {
            p: bench.throughput(
                ranks,
                self.seconds[p],
                self.samples,
                self.generated if p == "sampling" else self.tokens,
                self.work[p],
                *self.rows[p],
            )
            for p in PHASES
        }
        rows = [sum(r) for r in zip(*self.rows.values())]
        found["total"] = bench.throughput(
            ranks, sum(self.seconds.values()), self.samples, self.tokens, sum(self.work.values()), *rows
        )
        return found


PHASES = ("sampling", "scoring", "training")
SHAPE = functools.partial(shaped_scores, offset=0.0, std=1.0, clip=5.0, missing_eos_penalty=1.0)


def main():
    args, more = bench.parse("Benchmark of step 3: PPO", more=SamplingFlags)
    ranks, dtype, rng = bench.start(args)
    limit = args.seq_len // 2
    four, words, flops, described = load(args, more, ranks, dtype, limit)
    ppo_flags = PpoFlags(
        per_device_generation_batch_size=args.batch_size,
        per_device_training_batch_size=args.batch_size,
        max_prompt_seq_len=limit,
        max_answer_seq_len=limit,
    )
    steps = {"packed": Step(four, ppo_flags, "packed", limit, flops)}
    steps |= {k: Step(four, ppo_flags, k, limit, flops, steps["packed"]) for k in bench.LAYOUTS[1:]}
    prompts, seed = batches(args, four.codec, words, limit, rng), args.seed * 1_000_003 + ranks.rank * 10_007
    packed = steps["packed"]
    for number in range(args.warmup_steps + args.steps):
        if number == args.warmup_steps:
            bench.reset_peak(ranks.device)
            packed.reset()
        packed(next(prompts), seed + number)
    phases, memory = packed.figures(ranks), max(ranks.gather(log.peak_memory_mb(ranks.device)))
    comparison, by_phase = compare(args, ranks, steps, prompts, seed) if args.compare_steps else (None, None)
    bench.show(
        "step 3: PPO",
        args,
        ranks,
        {
            "model": f"four of {described}",
            "machine": bench.machine(args, ranks, dtype),
            "peak_memory_mb": memory,
            "phases": phases,
            "layouts": comparison,
            "time_ratio_by_phase": by_phase,
            "mean_answer_tokens": phases["sampling"]["real_tokens"] / phases["sampling"]["samples"],
        },
    )
    if ranks.first and by_phase:
        for kind, ratios in by_phase.items():
            print(f"time of layout {kind}, packed = 1: " + ", ".join(f"{p} {r:.2f}x" for p, r in ratios.items()))


def compare(args, ranks, steps, prompts, seed):
    """The same prompts and answers in every layout, in turn: ({layout: figures in total}, {layout: {phase: seconds over packed's}})."""
    for number in range(args.compare_steps + 1):  # the first warms up
        batch = next(prompts)
        for step in steps.values():
            if number <= 1:
                step.reset()
            step(batch, seed - number)
    figures = {k: step.figures(ranks) for k, step in steps.items()}
    by_phase = {k: {p: f[p]["seconds"] / figures["packed"][p]["seconds"] for p in PHASES} for k, f in figures.items()}
    return bench.compared({k: f["total"] for k, f in figures.items()}), by_phase


if __name__ == "__main__":
    program.run(main)
