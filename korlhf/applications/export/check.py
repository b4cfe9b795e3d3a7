"""Whether an exported model answers as the trained one does: greedy answers, token by token.

Every prompt is a batch of its own: padding changes rounding, and rounding may change a token where two are nearly
equally likely."""

from dataclasses import dataclass

import torch
from transformers import AutoModelForCausalLM

from korlhf.applications.export import model
from korlhf.core import program
from korlhf.core.errors import InputError
from korlhf.data import record as records
from korlhf.data import tokenize
from korlhf.data.prompts import prompts as read_prompts
from korlhf.models.tokenizer import load_tokenizer
from korlhf.rl import rollout


@dataclass(frozen=True)
class Agreement:
    """same of n answers are alike; first: None, or of the first that is not {"prompt": its number, "at": token,
    "expected", "found"}."""

    same: int
    n: int
    first: dict | None

    def __str__(self):
        return f"{self.same} of {self.n} ({self.same / self.n:.1%})"


def greedy(lm, prompts, eos_token_id, max_new_tokens, desc):
    """Greedy answers by the sampler of the trainings. prompts: lists of ids; returns lists of ids."""
    with program.bar(prompts, desc=desc, unit="answers") as bar:
        limits = rollout.Limits(max_new_tokens, temperature=0)
        return [rollout.sample(lm, [ids], [0], eos_token_id, limits)[0] for ids in bar]


@torch.no_grad()
def plain_greedy(lm, prompts, max_new_tokens, desc):
    """Greedy answers by transformers' own `generate`, with the generation settings that came with the model."""
    answers = []
    with program.bar(prompts, desc=desc, unit="answers") as bar:
        for ids in bar:
            prompt = torch.tensor([ids], device=lm.device)
            mask = torch.ones_like(prompt)
            out = lm.generate(prompt, attention_mask=mask, do_sample=False, max_new_tokens=max_new_tokens)
            answers.append(out[0, len(ids) :].tolist())
    return answers


def compare(expected, found, codec):
    """Agreement of two lists of answers (lists of ids)."""
    first = None
    for number, (a, b) in enumerate(zip(expected, found, strict=True), 1):
        if a != b and first is None:
            at = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
            texts = {"expected": _text(codec, a[at : at + 1]), "found": _text(codec, b[at : at + 1])}
            first = {"prompt": number, "at": at + 1, **texts}
    return Agreement(sum(a == b for a, b in zip(expected, found)), len(expected), first)


def _text(codec, ids):
    return codec.tokenizer.decode(ids) if ids else "(the end)"


@dataclass(frozen=True)
class Check:
    """must: {what the exported model was compared with: Agreement} that has to be whole; beside: the same for
    information; same_ids of n prompts are the same tokens when plain transformers tokenises them as one text."""

    must: dict
    beside: dict
    same_ids: int
    n: int

    @property
    def good(self):
        """Whether the exported model may be used."""
        return all(a.same == a.n for a in self.must.values())

    def lines(self):
        """name -> text, for the terminal and the card."""
        compared = {**self.must, **self.beside}
        equal = {f"greedy answers equal to the {what}": str(agreement) for what, agreement in compared.items()}
        return {**equal, "prompts that plain transformers tokenises as in training": f"{self.same_ids} of {self.n}"}

    def show(self):
        """Print all of it."""
        for name, value in self.lines().items():
            print(f"{name}: {value}")
        for what, agreement in {**self.must, **self.beside}.items():
            if agreement.first:
                print(
                    "  first difference to the {}: prompt {prompt}, token {at}: {expected!r} became {found!r}".format(
                        what, **agreement.first
                    )
                )
        if self.same_ids < self.n:
            print(
                "WARNING: this template and tokenizer join tokens across the edges of messages when a prompt is "
                "tokenised as one text, as servers do; their answers can differ from the trained model's"
            )


@dataclass(frozen=True)
class Questions:
    """What the check asks. conversations: lists of messages; ids: their prompts as lists of ids; max_new_tokens:
    longest answer."""

    conversations: list
    ids: list
    max_new_tokens: int


def draw(args, checkpoint):
    """Questions of --check_data_path. args: flags of the program."""
    conversations = [records.messages(r) for r in read_prompts(args.check_data_path, args.check_prompts, args.seed)]
    ids = [checkpoint.codec.prompt(messages).ids for messages in conversations]
    if checkpoint.positions:
        lengths = [len(prompt) + args.max_new_tokens for prompt in ids]
        what = "prompts with --max_new_tokens", "positions of the model"
        kept = tokenize.within(lengths, checkpoint.positions, *what)
        conversations, ids = [conversations[i] for i in kept], [ids[i] for i in kept]
    return Questions(conversations, ids, args.max_new_tokens)


def trained_answers(checkpoint, dtype, questions):
    """Greedy answers of the trained model: {dtype: answers}, in the exported dtype and in fp32.

    In fp32 a LoRA adapter stays next to its base, as in training: the merge is part of what is checked. In another
    dtype it is merged in fp32 before the cast, as a finished training writes it."""
    answers = {}
    for name in dict.fromkeys((dtype, "fp32")):
        lm = model.load(checkpoint.path, checkpoint, name, merge_lora=name != "fp32").to(checkpoint.device).eval()
        answers[name] = _greedy(lm, checkpoint.codec, questions, f"trained, {name}")
    return answers


def _greedy(lm, codec, questions, desc):
    return greedy(lm, questions.ids, codec.eos_token_id, questions.max_new_tokens, desc)


def check(folder, checkpoint, dtype, questions, trained):
    """The Check of the model exported into `folder`. checkpoint: of the trained model; trained: of trained_answers.

    Raises InputError if tokenizer or template are not the trained model's.
    """
    codec, exported = checkpoint.codec, tokenize.Codec(load_tokenizer(str(folder)))
    same_ids = [exported.prompt(messages).ids for messages in questions.conversations] == questions.ids
    if not same_ids or exported.eos_token_id != codec.eos_token_id:
        raise InputError(
            f"{folder}: the exported tokenizer or template does not write the prompts as the trained model's; "
            "report this"
        )
    lm = model.load(str(folder), checkpoint, dtype).to(checkpoint.device).eval()
    ours = _greedy(lm, codec, questions, "exported")
    lm = AutoModelForCausalLM.from_pretrained(folder, dtype="auto", trust_remote_code=checkpoint.trust_remote_code)
    lm = lm.to(checkpoint.device).eval()
    plain = plain_greedy(lm, questions.ids, questions.max_new_tokens, "exported, plain transformers")
    must = {
        f"trained model in {dtype}": compare(trained[dtype], ours, codec),
        f"trained model in {dtype}, with plain transformers": compare(trained[dtype], plain, codec),
    }
    beside = {} if dtype == "fp32" else {"trained model in fp32": compare(trained["fp32"], ours, codec)}
    as_one_text = [
        exported.tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True).input_ids
        for messages in questions.conversations
    ]
    return Check(must, beside, sum(a == b for a, b in zip(as_one_text, questions.ids)), len(questions.ids))
