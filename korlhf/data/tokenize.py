"""Conversations to token ids and answer masks.

Every piece of a conversation is tokenised on its own, so the ids of a prompt are the same whether an answer follows it
in training or is about to be sampled. Special tokens are read in markup only. Nothing is ever cut: what is too long is
left out.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from jinja2 import TemplateError

from korlhf.core import ranks
from korlhf.core.errors import InputError
from korlhf.data import chat_template
from korlhf.data.example import Example, Message

_REMEDY = "give --prompt_template kullm or human_assistant"


@dataclass(frozen=True)
class Tokens:
    """One sequence: `ids`, and `mask` that is 1 on the tokens that are trained (step 1) or scored (steps 2 and 3)."""

    ids: list[int]
    mask: list[int]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def answer(self) -> int:
        """How many tokens the final answer has, its end included: those with mask 1 at the end."""
        return (self.mask[::-1] + [0]).index(0)

    @property
    def prompt(self) -> int:
        """How many tokens come before the final answer."""
        return len(self) - self.answer


class UnfitConversation(InputError, ValueError):
    """A chat template does not take a conversation; some programs count such ones and go on."""


class Codec:
    """A tokenizer with its conversation template: what turns messages into ids and ids into answers."""

    def __init__(self, tokenizer: Any):
        """tokenizer: a PreTrainedTokenizerBase. Raises InputError if the tokenizer has no chat template or no EOS."""
        self.tokenizer = tokenizer
        self._encode = lru_cache(maxsize=256)(
            self._ids
        )  # markup recurs in all conversations, a prompt with each answer
        if not tokenizer.chat_template:
            raise InputError(f"{tokenizer.name_or_path}: the tokenizer has no chat template; {_REMEDY}")
        # Special tokens without a role (Llama-3's base tokenizer has <|eot_id|> so) are not in all_special_ids.
        self.special_ids = frozenset(tokenizer.all_special_ids) | {
            i for i, t in tokenizer.added_tokens_decoder.items() if t.special
        }
        self.eos_token_id = self._eos_token_id()
        self.reads_input = "예시" in self._render([{"role": "user", "content": "가", "input": "예시"}], True)

    def _ids(self, text, markup):
        return self.tokenizer(text, add_special_tokens=False, split_special_tokens=not markup).input_ids

    def _render(self, messages, add_generation_prompt):
        return self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=add_generation_prompt)

    def _pieces(self, messages):
        """chat_template.pieces, or UnfitConversation."""
        try:
            return chat_template.pieces(self._render, messages)
        except (TemplateError, ValueError, TypeError, LookupError, ArithmeticError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            roles = ", ".join(m["role"] for m in messages)
            raise UnfitConversation(
                f"{self.tokenizer.name_or_path}: its chat template does not take this conversation: {reason} "
                f"(roles {roles[:60]}); {_REMEDY}"
            ) from error

    def _eos_token_id(self):
        """The special token with which the template ends an answer: <|endoftext|>, <|im_end|>, <end_of_turn> ..."""
        talk = [
            {"role": "user", "content": "가"},
            {"role": "assistant", "content": "나"},
            {"role": "user", "content": "다"},
        ]
        parts = self._pieces(talk)
        after = next((p.text for a, p in zip(parts, parts[1:]) if (a.kind, p.kind) == ("answer", "markup")), "")
        ids = self._encode(after.lstrip(), markup=True)
        if ids and ids[0] in self.special_ids:
            return ids[0]
        what = "its chat template does not end an answer with a special token"
        raise InputError(f"{self.tokenizer.name_or_path}: {what}; {_REMEDY}")

    def prompt(self, messages: Iterable[Message]) -> Tokens:
        """Tokens of messages that end with the user's, and the cue of the answer; earlier answers have mask 1."""
        ids, mask, after_answer = [], [], False
        messages = list(messages) if self.reads_input else [_input_in_content(m) for m in messages]
        for piece in self._pieces(messages):
            new = self._encode(piece.text, piece.kind == "markup")
            trained = [int(piece.kind == "answer")] * len(new)
            if after_answer and new and new[0] == self.eos_token_id:
                trained[0] = 1
            ids += new
            mask += trained
            after_answer = piece.kind == "answer"
        return Tokens(ids, mask)

    def answer(self, text: str) -> list[int]:
        """Ids of an answer and the token that ends it."""
        return self._encode(text, markup=False) + [self.eos_token_id]

    def with_answer(self, messages: Iterable[Message], answer: str) -> Tokens:
        """Tokens of a conversation and its final answer."""
        prompt, ids = self.prompt(messages), self.answer(answer)
        return Tokens(prompt.ids + ids, prompt.mask + [1] * len(ids))

    def document(self, text: str) -> Tokens:
        """Tokens of a plain document, all trained."""
        ids = self._encode(text, markup=False) + [self.tokenizer.eos_token_id]
        return Tokens(ids, [1] * len(ids))

    def decode(self, ids: Iterable[int]) -> str:
        """The text of a sampled answer, without the tokens that end it."""
        return self.tokenizer.decode([i for i in ids if i not in self.special_ids], skip_special_tokens=False).strip()


def _input_in_content(message):
    """A message for a template that does not know KULLM's separate `input`."""
    parts = [message["content"], message.get("input")]
    return {"role": message["role"], "content": "\n\n".join(p for p in parts if p)}


def sft_tokens(
    codec: Codec, examples: Sequence[Example], max_seq_len: int, train_on_prompt: bool = False
) -> tuple[list[Example], list[Tokens]]:
    """Examples -> (kept examples, their Tokens). Examples of more than `max_seq_len` tokens are left out.

    Raises InputError if nothing is left.
    """
    found = [codec.document(e.text) if e.text else codec.with_answer(e.messages, e.answers[0]) for e in examples]
    if train_on_prompt:
        found = [Tokens(t.ids, [1] * len(t)) for t in found]
    kept = within([len(t) for t in found], max_seq_len, "examples", "--max_seq_len")
    return [examples[i] for i in kept], [found[i] for i in kept]


def reward_tokens(
    codec: Codec, examples: Sequence[Example], max_seq_len: int
) -> tuple[list[Example], list[list[Tokens]]]:
    """Examples with ranked answers -> (kept examples, their lists of Tokens, best first).

    Prompts with an answer over `max_seq_len`, or with two answers of the same tokens, are left out and counted.
    Raises InputError if nothing is left.
    """
    groups = [[codec.with_answer(e.messages, a) for a in e.answers] for e in examples]
    different = [i for i, g in enumerate(groups) if len({tuple(t.ids) for t in g}) == len(g)]
    if examples and not different:
        what = f"all {len(examples)} prompts have two answers of the same tokens"
        raise InputError(f"{what}, so there is nothing to rank; give other data")
    if same := len(examples) - len(different):
        ranks.tell(f"{same} prompts left out: two of their answers are the same tokens")
    examples, groups = [examples[i] for i in different], [groups[i] for i in different]
    kept = within([max(map(len, g)) for g in groups], max_seq_len, "prompts with their answers", "--max_seq_len")
    if len(kept) < len(examples) and len(every := Counter(e.category for e in examples)) > 1:
        out = every - Counter(examples[i].category for i in kept)
        ranks.tell("  by category: " + ", ".join(f"{c} {n} of {every[c]}" for c, n in sorted(out.items())))
    return [examples[i] for i in kept], [groups[i] for i in kept]


def prompt_tokens(
    codec: Codec, examples: Sequence[Example], max_prompt_seq_len: int
) -> tuple[list[Example], list[list[int]]]:
    """Examples -> (kept examples, their prompt ids). Prompts of more than `max_prompt_seq_len` tokens are left out."""
    ids = [codec.prompt(e.messages).ids for e in examples]
    kept = within([len(i) for i in ids], max_prompt_seq_len, "prompts", "--max_prompt_seq_len")
    return [examples[i] for i in kept], [ids[i] for i in kept]


def within(lengths: Sequence[int], limit: int, what: str, flag: str) -> list[int]:
    """Indices of the lengths up to `limit`; says how many are not, and fails if none are."""
    kept = [i for i, n in enumerate(lengths) if n <= limit]
    if not kept:
        shortest = min(lengths, default=0)
        raise InputError(
            f"{flag} {limit}: all {len(lengths)} {what} are longer (the shortest has {shortest} tokens); raise {flag}"
        )
    if out := len(lengths) - len(kept):
        share = f"{out} of {len(lengths)} {what} ({out / len(lengths):.1%})"
        longer = f"are longer than {flag} {limit} tokens and are left out; the longest has {max(lengths)}"
        ranks.tell(f"{share} {longer}")
    return kept
