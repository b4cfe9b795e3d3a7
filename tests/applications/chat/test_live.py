"""Rows that come and go: each row's answer is the one it would get alone, for every kind of attention; text in whole
characters only."""

import random

import pytest
import torch
from tokenizers import Tokenizer, decoders
from tokenizers import models as token_models
from transformers import PreTrainedTokenizerFast

from korlhf.applications.chat import live
from korlhf.core.errors import InputError
from korlhf.data.tokenize import Codec
from korlhf.llm.checkpoint import Sampling
from korlhf.models.lora import add_lora
from korlhf.rl import rollout
from korlhf.training.flags import ModelFlags

ARCHITECTURES = ["gpt_neox", "llama", "qwen2", "gemma2", "gpt2"]
STOP = 2


def prompts(n, seed=0):
    draw = random.Random(seed)
    return [[draw.randrange(3, 300) for _ in range(draw.choice([1, 2, 5, 9, 17, 30]))] for _ in range(n)]


def settings(n):
    """Greedy and sampled rows side by side, short and long answers."""
    return [
        Sampling(temperature=(0.0, 1.0, 0.7)[i % 3], top_p=(1.0, 0.9)[i % 2], max_new_tokens=4 + 5 * (i % 4), seed=i)
        for i in range(n)
    ]


def alone(lm, prompt, how):
    limits = rollout.Limits(how.max_new_tokens, how.temperature, how.top_p)
    return rollout.sample(lm, [prompt], [how.seed], STOP, limits)[0]


def ended(row):
    return row.tokens[-1] == STOP or len(row.tokens) == len(row.noise)


def run(lm, arrivals):
    """Sample rows that arrive at the given steps ({step: [rows]}) until all have ended; returns the widths of the
    cache."""
    batch, widths = live.Batch(lm, STOP), []
    for step in range(200):
        if batch.rows:
            batch.step()
        if step in arrivals:
            batch.add(arrivals[step])
        batch.keep([r for r in batch.rows if not ended(r)])
        widths.append(0 if batch._mask is None else batch._mask.size(1))
        if not batch.rows and step >= max(arrivals):
            return widths
    raise AssertionError("rows never ended")


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_rows_that_come_and_go_are_answered_as_alone(load_lm, name):
    lm = load_lm(name)
    rows = [live.row(p, how, how.seed) for p, how in zip(prompts(12), settings(12))]
    run(lm, {0: rows[:1], 2: rows[1:4], 3: rows[4:5], 9: rows[5:9], 30: rows[9:]})  # at 30 nothing is live
    assert [r.tokens for r in rows] == [alone(lm, p, how) for p, how in zip(prompts(12), settings(12))]
    assert len({tuple(r.tokens) for r in rows}) == 12 and len({len(r.tokens) for r in rows}) > 3


def test_the_cache_is_no_wider_than_the_longest_row_that_is_live(load_lm):
    long, short = (live.row([7] * n, Sampling(1.0, 1.0, limit, 3), 3) for n, limit in ((60, 3), (4, 40)))
    later = live.row([9] * 5, Sampling(1.0, 1.0, 20, 4), 4)
    lm = load_lm("gpt_neox")
    with torch.no_grad():
        lm.get_output_embeddings().weight[STOP] = (
            -9 * lm.get_output_embeddings().weight.abs().sum()
        )  # never an end before the limit
    widths = run(lm, {0: [long, short], 10: [later]})
    # read so far: 60 of the long row's prompt, then one more a step; after its third token it has left, and the
    # short one has 4 + 2 read
    assert widths[:4] == [60, 61, 6, 7] and widths[10] == 14 and max(widths[3:]) == 4 + 38


def test_lora_rows_are_answered_with_the_adapter(load_lm):
    lm = add_lora(load_lm("llama"), ModelFlags(model_name_or_path="x", lora_dim=2), "CAUSAL_LM").eval()
    torch.manual_seed(0)
    for name, p in lm.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(p, std=0.3)
    how = Sampling(0.0, 1.0, 8, 0)
    with_adapter, without = live.row([5, 6, 7], how, 0), live.row([5, 6, 7], how, 0)
    run(lm, {0: [with_adapter]})
    run(load_lm("llama"), {0: [without]})
    assert with_adapter.tokens == alone(lm, [5, 6, 7], how) != without.tokens


def test_a_model_with_recurrent_layers_is_refused(load_lm, monkeypatch):
    lm = load_lm("llama")
    monkeypatch.setattr(live, "DynamicLayer", live.DynamicCache)  # no layer is one of these
    with pytest.raises(InputError, match="'llama' has recurrent layers"):
        live.Batch(lm, STOP)


class Metaspace:
    """A Codec-like with a sentencepiece decoder: bytes where it has no piece, and no blank before the first word."""

    def __init__(self):
        pieces = [
            "<unk>",
            "<s>",
            "</s>",
            *(f"<0x{i:02X}>" for i in range(256)),
            "▁안녕",
            "▁",
            "하",
            "세",
            "요",
            "▁날씨",
            ".",
            "\n",
        ]
        tokenizer = Tokenizer(
            token_models.BPE({p: i for i, p in enumerate(pieces)}, [], unk_token="<unk>", byte_fallback=True)
        )
        tokenizer.decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        )
        self.tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
        )
        self.special_ids, self.pieces = {0, 1, 2}, pieces

    decode = Codec.decode


@pytest.fixture(params=["byte level", "metaspace"])
def any_codec(request, codec):
    return codec if request.param == "byte level" else Metaspace()


def streamed(codec, ids):
    stream = live.TextStream(codec)
    return [stream.add(i) for i in ids], stream.end()


def test_all_pieces_together_are_the_decoded_answer(any_codec):
    draw, compared = random.Random(0), 0
    for _ in range(2000):
        ids = [draw.randrange(len(any_codec.tokenizer)) for _ in range(draw.randrange(1, 20))]
        if isinstance(any_codec, Metaspace):  # single bytes are seldom characters
            ids = [i for i in ids if i > 255 or i % 5 == 0]
        pieces, rest = streamed(any_codec, ids)
        if not isinstance(any_codec, Metaspace) or "\ufffd" not in any_codec.decode(ids):
            assert ("".join(pieces) + rest).strip() == any_codec.decode(ids)
            compared += 1
    assert compared > 400


@pytest.mark.parametrize(
    "text", ["안녕하세요, 뷁쀍 힣!", "👩‍👩‍👧‍👦 가족 🇰🇷", "café\n\n  들여쓰기", "漢字와 ᄒᆞᆫ글", "a\tb  c"]
)
def test_no_character_comes_in_parts(any_codec, text):
    """Byte by byte: the worst case."""
    if isinstance(any_codec, Metaspace):
        ids = [any_codec.pieces.index(f"<0x{b:02X}>") for b in text.encode()]
    else:
        backend = any_codec.tokenizer.backend_tokenizer
        ids = [
            i
            for c in backend.pre_tokenizer.pre_tokenize_str(text)
            for i in any_codec.tokenizer.convert_tokens_to_ids(list(c[0]))
        ]
    assert len(ids) == len(text.encode()) and any_codec.tokenizer.decode(ids) == text
    pieces, rest = streamed(any_codec, ids)
    assert "".join(pieces) + rest == text and "\ufffd" not in "".join(pieces)
    assert [
        p for p in pieces if len(p.strip()) > 1
    ] == []  # not later than the character is whole: blanks alone are held back


def test_special_tokens_are_no_text(codec):
    ids = [STOP, *codec.tokenizer("  \n안녕  ", add_special_tokens=False).input_ids, STOP]
    pieces, rest = streamed(codec, ids)
    assert "".join(pieces) + rest == "  \n안녕  "
    assert streamed(codec, []) == ([], "")


def test_an_answer_that_breaks_off_in_a_character_ends_with_a_replacement(codec):
    first, second, third = codec.tokenizer.convert_tokens_to_ids(
        list(codec.tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str("뷁")[0][0])
    )
    assert streamed(codec, [first, second]) == (["", ""], "\ufffd")
    assert streamed(codec, [first, second, third]) == (["", "", "뷁"], "")
