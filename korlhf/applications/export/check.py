"""Whether an exported model answers as the trained one does: greedy answers, token by token.

Every prompt is a batch of its own: padding changes rounding, and rounding may change a token where two are nearly
equally likely."""

import torch
from transformers import AutoModelForCausalLM

from korlhf.applications.export import model
from korlhf.core import progress
from korlhf.core.errors import InputError
from korlhf.data import record as records
from korlhf.data import tokenize
from korlhf.data.prompts import prompts as read_prompts
from korlhf.models.card import Sample, places
from korlhf.models.tokenizer import load_tokenizer
from korlhf.rl import rollout


def greedy(lm, prompts, eos_token_id, max_new_tokens, desc):
    """Greedy answers by the sampler of the trainings. prompts: lists of ids; returns lists of ids."""
    limits = rollout.Limits(max_new_tokens, temperature=0)
    with progress.bar(prompts, desc=desc, unit="answers") as bar:
        return [rollout.sample(lm, [ids], [0], eos_token_id, limits)[0] for ids in bar]


def plain_greedy(lm, prompts, max_new_tokens, desc):
    """Greedy answers by transformers' own `generate`, with the generation settings that came with the model."""

    def answer(ids):
        prompt = torch.tensor([ids], device=lm.device)
        settings = {"do_sample": False, "max_new_tokens": max_new_tokens}
        return lm.generate(prompt, attention_mask=torch.ones_like(prompt), **settings)[0, len(ids) :].tolist()

    with progress.bar(prompts, desc=desc, unit="answers") as bar:
        return list(map(answer, bar))


def compare(expected, found, codec):
    """{"same" of "n" answers are alike, "first": None, or of the first that is not {"prompt": its number, "at": token,
    "expected", "found"}} of two lists of answers (lists of ids)."""
    different = [(n, a, b) for n, (a, b) in enumerate(zip(expected, found, strict=True), 1) if a != b]
    first = None
    if different:
        n, a, b = different[0]
        at = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
        texts = [codec.tokenizer.decode(ids[at]) if ids[at:] else "(the end)" for ids in (a, b)]
        first = {"prompt": n, "at": at + 1, "expected": texts[0], "found": texts[1]}
    return {"same": len(expected) - len(different), "n": len(expected), "first": first}


def lines(result):
    """A result of `check` for the card: name -> text."""
    compared = result["must"] | result["beside"]
    equal = {f"greedy answers equal to the {what}": "{same} of {n}".format(**found) for what, found in compared.items()}
    return equal | {"prompts that plain transformers tokenises as in training": "{same_ids} of {n}".format(**result)}


def show(result):
    for name, value in lines(result).items():
        print(f"{name}: {value}")
    difference = "  first difference to the {}: prompt {prompt}, token {at}: {expected!r} became {found!r}"
    for what, found in (result["must"] | result["beside"]).items():
        if found["first"]:
            print(difference.format(what, **found["first"]))
    if result["same_ids"] < result["n"]:
        print(
            "WARNING: this template and tokenizer join tokens across the edges of messages when a prompt is "
            "tokenised as one text, as servers do; their answers can differ from the trained model's"
        )


def draw(args, checkpoint):
    """Conversations of --check_data_path that fit the model: lists of messages. args: flags of the program."""
    drawn = [records.messages(r) for r in read_prompts(args.check_data_path, args.check_prompts, args.seed)]
    if not checkpoint.positions:
        return drawn
    lengths = [len(checkpoint.codec.prompt(messages).ids) + args.max_new_tokens for messages in drawn]
    what = "prompts with --max_new_tokens", "positions of the model"
    return [drawn[i] for i in tokenize.within(lengths, checkpoint.positions, *what)]


def trained_answers(checkpoint, dtype, conversations, max_new_tokens):
    """Greedy answers of the trained model: {dtype: answers}, in the exported dtype and in fp32.

    In fp32 a LoRA adapter stays next to its base, as in training: the merge is part of what is checked. In another
    dtype it is merged in fp32 before the cast, as a finished training writes it."""
    codec, answers = checkpoint.codec, {}
    ids = [codec.prompt(messages).ids for messages in conversations]
    for name in dict.fromkeys((dtype, "fp32")):
        lm = model.load(checkpoint.path, checkpoint, name, merge_lora=name != "fp32")
        answers[name] = greedy(lm, ids, codec.eos_token_id, max_new_tokens, f"trained, {name}")
    return answers


def samples(codec, conversations, answers):
    """Some of the answers (lists of ids), for the card."""
    chosen = places(len(conversations))
    return [Sample(conversations[i][-1]["content"], [("답변 · answer", codec.decode(answers[i]))]) for i in chosen]


def check(folder, checkpoint, dtype, conversations, trained, max_new_tokens):
    """{"must": {what the model in `folder` was compared with: result of `compare`} that has to be whole, "beside": the
    same for information, "same_ids" of "n" prompts are the same tokens when plain transformers tokenises them as one
    text}. checkpoint: of the trained model; trained: of trained_answers.

    Raises InputError if tokenizer or template are not the trained model's.
    """
    codec, exported = checkpoint.codec, tokenize.Codec(load_tokenizer(str(folder)))
    expected, ids = ([c.prompt(messages).ids for messages in conversations] for c in (codec, exported))
    if ids != expected or exported.eos_token_id != codec.eos_token_id:
        raise InputError(
            f"{folder}: the exported tokenizer or template does not write the prompts as the trained model's; "
            "report this"
        )
    ours = greedy(model.load(str(folder), checkpoint, dtype), ids, codec.eos_token_id, max_new_tokens, "exported")
    lm = AutoModelForCausalLM.from_pretrained(folder, dtype="auto", trust_remote_code=checkpoint.trust_remote_code)
    plain = plain_greedy(lm.to(checkpoint.device), ids, max_new_tokens, "exported, plain transformers")
    here = f"trained model in {dtype}"
    must = {here: ours, f"{here}, with plain transformers": plain}
    beside = {} if dtype == "fp32" else {"trained model in fp32": compare(trained["fp32"], ours, codec)}
    one_text = [
        exported.tokenizer.apply_chat_template(m, add_generation_prompt=True)["input_ids"] for m in conversations
    ]
    return {
        "must": {what: compare(trained[dtype], found, codec) for what, found in must.items()},
        "beside": beside,
        "same_ids": sum(a == b for a, b in zip(one_text, ids)),
        "n": len(ids),
    }
