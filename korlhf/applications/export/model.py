"""The model that is exported: where its weights are, in which dtype they go out, and its folder without card and
licence."""

from transformers import GenerationConfig

from korlhf.models import causal_lm, folders, save
from korlhf.training.world import DTYPES

DTYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}


def dtype_of(source, dtype, trust_remote_code):
    """--dtype with auto resolved: "fp32", "bf16" or "fp16"."""
    if dtype != "auto":
        return dtype
    if folders.lora_base(source) is not None:
        return "fp32"
    return DTYPE_NAMES.get(causal_lm.load_config(source, trust_remote_code=trust_remote_code).dtype, "fp32")


def load(path, checkpoint, dtype, **kwargs):
    """The language model in `path`, on the device and with the tokenizer and trust of a llm.checkpoint.Checkpoint."""
    kwargs.update(dtype=DTYPES[dtype], trust_remote_code=checkpoint.trust_remote_code)
    return causal_lm.load_causal_lm(path, checkpoint.codec.tokenizer, **kwargs).to(checkpoint.device).eval()


def write(checkpoint, folder, dtype):
    """Weights, configuration, tokenizer with template, generation settings."""
    lm, codec = load(checkpoint.path, checkpoint, dtype), checkpoint.codec
    # do_sample: a server would else ignore the temperature that it is asked for. top_k 0: transformers' own default
    # would cut at 50.
    lm.generation_config = GenerationConfig(
        eos_token_id=codec.eos_token_id,
        pad_token_id=codec.tokenizer.pad_token_id,
        bos_token_id=codec.tokenizer.bos_token_id,
        do_sample=True,
        temperature=1.0,
        top_p=1.0,
        top_k=0,
    )
    lm.save_pretrained(folder)
    codec.tokenizer.save_pretrained(folder)
    save.share_weights(folder)
