"""A model that says some syllables whatever it is asked, and a reward model that likes more of them."""

import rigged_reward
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

EOS = "<|endoftext|>"


def rigged_teachers(folder):
    """MODELS of data_prep/run_sample.sh in `folder`, as if they had been trained there."""
    vocabulary = [EOS, "<|unk|>", *"네가요좋아그래서말해"]
    text = Tokenizer(models.WordLevel({token: i for i, token in enumerate(vocabulary)}, unk_token="<|unk|>"))
    text.pre_tokenizer, text.decoder = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated"), decoders.Fuse()
    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=len(vocabulary),
            n_positions=2048,
            n_embd=4,
            n_layer=1,
            n_head=1,
            tie_word_embeddings=False,
            bos_token_id=0,
            eos_token_id=0,
        )
    )
    with torch.no_grad():
        model.transformer.ln_f.weight.zero_()
        model.transformer.ln_f.bias.fill_(1.0)
        model.lm_head.weight.zero_()
        model.lm_head.weight[0, 0], model.lm_head.weight[1, 0] = (
            -1.0,
            -20.0,
        )  # about 1 in 30 tokens is the end, none is unknown
    model.save_pretrained(folder / "sft")
    PreTrainedTokenizerFast(tokenizer_object=text, eos_token=EOS, pad_token=EOS, unk_token="<|unk|>").save_pretrained(
        folder / "sft"
    )
    rigged_reward.counts_tokens(folder / "reward")
    for name in ("sft", "reward"):
        (folder / name / "finished.json").write_text("{}", encoding="utf-8")
    return folder
