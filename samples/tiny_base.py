"""The tiny base model of the embedded sample: a byte-level BPE tokenizer and a GPT-NeoX with random weights, in
Polyglot-Ko's shape.

Written to OUTPUT as an ordinary model folder; `training/step1_supervised_finetuning/training_scripts/tiny/run_base.sh`
then trains it on the sample's plain text. As in Polyglot-Ko, <|endoftext|> is BOS, EOS and padding at once.
"""

import argparse
import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, PreTrainedTokenizerFast

from korlhf.data.chat_template import KULLM
from korlhf.models.quiet import quiet

EOS = "<|endoftext|>"


def train_tokenizer(texts, vocab_size):
    """Byte-level BPE on an iterable of texts."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=["<|unused0|>", "<|unused1|>", EOS],
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=EOS, eos_token=EOS, unk_token=EOS, pad_token=EOS, model_max_length=2048
    )


def main():
    parser = argparse.ArgumentParser(description="Make the tiny base model of the embedded sample (random weights).")
    parser.add_argument("--output_dir", required=True)
    parser.add_argument(
        "--text",
        default=str(Path(__file__).with_name("text.jsonl")),
        help="JSONL with a text column, for the tokenizer",
    )
    parser.add_argument("--vocab_size", type=int, default=4096)
    parser.add_argument("--hidden_size", type=int, default=192)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1234)
    args = parser.parse_args()
    quiet()
    with open(args.text, encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line in lines]
    texts += [KULLM] * 20  # the words of the template in few tokens, as the tokenizer of a real Korean model has them
    tokenizer = train_tokenizer(texts, args.vocab_size)
    torch.manual_seed(args.seed)
    config = GPTNeoXConfig(
        vocab_size=-(-len(tokenizer) // 64) * 64,
        hidden_size=args.hidden_size,
        num_hidden_layers=args.layers,
        num_attention_heads=args.hidden_size // 32,
        intermediate_size=4 * args.hidden_size,
        max_position_embeddings=512,
        rotary_pct=0.5,
        use_parallel_residual=True,
        hidden_act="gelu",
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=False,
        hidden_dropout=0.0,
        attention_dropout=0.0,
    )
    model = GPTNeoXForCausalLM(config)
    model.save_pretrained(args.output_dir)
    tokenizer.save_pretrained(args.output_dir)
    size = sum(p.numel() for p in model.parameters()) / 1e6
    print(f"{args.output_dir}: {size:.1f}M parameters, {len(tokenizer)} tokens")


if __name__ == "__main__":
    main()
