"""Tiny models and tokenizers with random weights, made once a session, in the shapes of real ones: fixtures."""

import pytest
import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers import models as bpe_models
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

from korlhf.data.tokenize import Codec
from korlhf.llm.cache import Cache
from korlhf.models import causal_lm as models
from korlhf.models.tokenizer import load_tokenizer

torch.set_num_threads(1)  # the models are tiny: more threads only wait for each other
EOS = "<|endoftext|>"
TEXTS = [
    "오늘 날씨가 참 좋네요! 산책하러 갈까요?",
    "네, 좋아요. 같이 가요.",
    "아래는 작업을 설명하는 명령어입니다. 요청을 적절히 완료하는 응답을 작성하세요.",
    "### 명령어:\n안녕하세요\n\n### 응답:\n반가워요",
    "Human: hello\n\nAssistant: 안녕하세요. 무엇을 도와드릴까요?",
]
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>' + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}"
    "{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\\n\\n' + m.content | trim + '<|eot_id|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% for m in messages %}{% set role = 'model' if m.role == 'assistant' else m.role %}"
    "{{ '<start_of_turn>' + role + '\\n' + m.content | trim + '<end_of_turn>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"
)
CHAT_SPECIALS = [
    "<|im_start|>",
    "<|im_end|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "<start_of_turn>",
    "<end_of_turn>",
]


def make_tokenizer(first_specials=("<|unused0|>", "<|unused1|>"), vocab_size=400):
    """Byte-level BPE in which, as in Polyglot-Ko, <|endoftext|> is BOS, EOS, unknown and padding at once."""
    tokenizer = Tokenizer(bpe_models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        TEXTS * 4,
        trainers.BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=[*first_specials, EOS],
            show_progress=False,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        ),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=EOS, eos_token=EOS, unk_token=EOS, pad_token=EOS
    )


def tiny_configs(vocab, eos):
    """One config an architecture; large initial weights, so that every mistake moves the outputs."""
    shape = {
        "vocab_size": vocab,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 128,
        "bos_token_id": eos,
        "eos_token_id": eos,
        "pad_token_id": eos,
        "initializer_range": 0.4,
        "tie_word_embeddings": False,
    }
    return {
        "gpt_neox": GPTNeoXConfig(**shape, hidden_dropout=0.0, attention_dropout=0.0),
        "llama": LlamaConfig(**shape, num_key_value_heads=1),
        "qwen2": Qwen2Config(**shape, num_key_value_heads=2),
        "gemma2": Gemma2Config(**shape, num_key_value_heads=1, head_dim=8, sliding_window=6),
        # learned positions: they show a shift, which rotary ones do not
        "gpt2": GPT2Config(**shape, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0),
    }


@pytest.fixture
def new_tokenizer():
    """Function: (first special tokens, vocabulary size) -> a tokenizer of one's own, without a template."""
    return make_tokenizer


@pytest.fixture(scope="session")
def plain_tokenizer():
    """Without a template. Not to be changed by a test."""
    return make_tokenizer()


@pytest.fixture(scope="session")
def folders(tmp_path_factory, plain_tokenizer):
    """Model folders of random language models by architecture: gpt_neox, llama, qwen2, gemma2, gpt2."""
    root, out = tmp_path_factory.mktemp("models"), {}
    for name, config in tiny_configs(len(plain_tokenizer), plain_tokenizer.eos_token_id).items():
        torch.manual_seed(len(out))
        AutoModelForCausalLM.from_config(config).save_pretrained(root / name)
        plain_tokenizer.save_pretrained(root / name)
        out[name] = str(root / name)
    return out


@pytest.fixture
def tokenizer(folders):
    """Fresh for each test, with the KULLM template."""
    return load_tokenizer(folders["gpt_neox"])


@pytest.fixture
def codec(tokenizer):
    return Codec(tokenizer)


@pytest.fixture
def load_lm(folders, tokenizer):
    """Function: architecture -> its language model, fresh, in eval mode."""
    return lambda name: models.load_causal_lm(folders[name], tokenizer).eval()


@pytest.fixture(scope="session")
def chat_templates():
    return {"chatml": CHATML, "llama3": LLAMA3, "gemma": GEMMA}


@pytest.fixture
def chat_codec(chat_templates):
    """Function: chatml | llama3 | gemma -> a Codec whose tokenizer has that chat template and its special tokens."""

    def make(name):
        tokenizer = make_tokenizer()
        tokenizer.add_special_tokens({"additional_special_tokens": CHAT_SPECIALS})
        tokenizer.chat_template = chat_templates[name]
        return Codec(tokenizer)

    return make


@pytest.fixture
def cache(tmp_path):
    with Cache(tmp_path / "cache.sqlite") as opened:
        yield opened
