"""What a model must be to be trained here: causal, not quantised, with a row for every token and a position for every
token of the longest answer.
"""

from typing import Any

from transformers import AutoConfig, PreTrainedConfig, PreTrainedTokenizerBase
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

from korlhf.core import ranks
from korlhf.core.errors import InputError
from korlhf.models.folders import check_precision, first_line, lora_base


def check_causal(config: PreTrainedConfig, where: str) -> None:
    """Raises InputError for encoders and for weights that are quantised (a hub name's config is first seen here)."""
    encoder = config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not getattr(config, "is_decoder", False)
    if encoder or config.is_encoder_decoder:
        raise InputError(
            f"{where}: {config.model_type} is no causal language model: its tokens see those behind them, or it has an "
            "encoder; give a decoder such as EleutherAI/polyglot-ko-1.3b"
        )
    check_precision(config.to_dict(), where)


def check_rows(model: Any, tokenizer: PreTrainedTokenizerBase, where: str) -> None:
    """Raises InputError if the tokenizer has ids that the model has no row for."""
    rows = embedding_rows(model)
    if len(tokenizer) > rows:
        raise InputError(
            f"{where}: the tokenizer has {len(tokenizer)} tokens, the model rows for {rows}; "
            "use the tokenizer it was trained with"
        )


def check_model(path: str, what: str, tokens: int, flags: str, trust_remote_code: bool = False) -> None:
    """Raises InputError for a model that is not causal, that is quantised, or that has learned fewer positions than
    `tokens`, which `flags` allow.

    Rotary positions go on beyond, into what the model was never trained on: that is said, once.
    """
    try:
        base = lora_base(path, what) or path
        config = AutoConfig.from_pretrained(base, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{what} {path}: the model could not be loaded: {first_line(error)}") from error
    check_causal(config, f"{what} {path}")
    config = config.get_text_config()
    limit = getattr(config, "max_position_embeddings", None)
    if not limit or tokens <= limit:
        return
    told = f"{flags}: {tokens} tokens are more than the {limit} positions of {what} {path}"
    if not getattr(config, "rope_parameters", None):
        raise InputError(f"{told}; lower {flags.split()[0]}")
    if ranks.is_first():
        print(f"WARNING: {told}: answers that long are beyond what it was trained on", flush=True)


def embedding_rows(model: Any) -> int:
    """Token ids that the model has a row for, also where ZeRO-3 spreads the rows over processes."""
    weight = model.get_input_embeddings().weight
    return getattr(weight, "ds_shape", weight.shape)[0]
