"""Reward models whose weights are written by hand, so that it is known what they score; one token per character.

counts_tokens(folder)       # .05 a token before the last, whatever they say: looks good where longer answers are better
matches_marks(folder)       # right about pairs whose answers are marked ● or ○, of which the prompt asks for one by ◆
or ◇
"""

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import GPT2Config, GPT2ForSequenceClassification, PreTrainedTokenizerFast

UNKNOWN, EOS, PAD = "<|unk|>", "<|endoftext|>", "<|pad|>"
ASKS = {"◆": 1, "◇": -1}
MARKS = {"●": 1, "○": -1}
VOCABULARY = [UNKNOWN, EOS, PAD, *ASKS, *MARKS]  # every other character is unknown, which is a token like any other
POSITIONS = 2048
PER_TOKEN = 0.05


def tokenizer():
    """One token a character."""
    made = Tokenizer(models.WordLevel({token: i for i, token in enumerate(VOCABULARY)}, unk_token=UNKNOWN))
    made.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    made.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=made, unk_token=UNKNOWN, eos_token=EOS, pad_token=PAD, padding_side="right"
    )


def counts_tokens(folder):
    """Position t is embedded as (x, -x, y, -y), x = t / POSITIONS, x² + y² = 1; layer norm makes it √2 larger."""
    model = _empty(width=4)
    x = torch.arange(POSITIONS) / POSITIONS
    y = (1 - x * x).sqrt()
    model.transformer.wpe.weight.copy_(torch.stack([x, -x, y, -y], 1))
    model.score.weight[0, 0] = PER_TOKEN * POSITIONS / 2**0.5
    return _save(model, folder)


def matches_marks(folder):
    """Attention takes the mean of all tokens' marks: p of the prompt, a of the answer; the MLP makes about p times a.

    Dimensions come in pairs (v, -v), so that layer norm subtracts nothing: 0-1 p, 2-3 a, 4-5 a constant, 6-7 the
    product.
    """
    model = _empty(width=8)
    for i, token in enumerate(VOCABULARY):
        at, value = (0, ASKS[token]) if token in ASKS else (2, MARKS[token]) if token in MARKS else (4, 1)
        model.transformer.wte.weight[i, at : at + 2] = torch.tensor([value, -value], dtype=torch.float32)
    block = model.transformer.h[0]
    block.attn.c_attn.weight[:4, 16:20] = 30 * torch.eye(
        4
    )  # values; queries and keys are 0, so every token weighs the same
    block.attn.c_proj.weight.copy_(torch.eye(8))
    for unit, (p, a, sign) in enumerate(
        [(1, 1, 1), (-1, -1, 1), (1, -1, -1), (-1, 1, -1)]
    ):  # |p + a| - |p - a|, softened
        block.mlp.c_fc.weight[0, unit], block.mlp.c_fc.weight[2, unit] = p, a
        block.mlp.c_proj.weight[unit, 6:] = torch.tensor([sign, -sign], dtype=torch.float32)
    model.score.weight[0, 6] = 4.0
    return _save(model, folder)


def _empty(width):
    """A model of one layer whose weights are all 0, but for the scales of its layer norms, which are 1."""
    model = GPT2ForSequenceClassification(
        GPT2Config(
            vocab_size=len(VOCABULARY),
            n_positions=POSITIONS,
            n_embd=width,
            n_layer=1,
            n_head=1,
            n_inner=4,
            num_labels=1,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            bos_token_id=VOCABULARY.index(EOS),
            eos_token_id=VOCABULARY.index(EOS),
            pad_token_id=VOCABULARY.index(PAD),
        )
    ).requires_grad_(False)
    for name, weight in model.named_parameters():
        weight.fill_(1.0 if ".ln_" in name and name.endswith("weight") else 0.0)
    return model


def _save(model, folder):
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return str(folder)
