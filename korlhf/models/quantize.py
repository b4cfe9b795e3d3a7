"""QLoRA's frozen weights: 4 bits by bitsandbytes (nf4 with its scales quantised too, arXiv 2305.14314).

peft's prepare_model_for_kbit_training is not called: get_peft_model freezes the base and the engine recomputes
activations as it does without; what is left of it, fp32 norms, would be another precision than LoRA's otherwise.
"""

import torch
from torch import nn
from transformers import BitsAndBytesConfig


def four_bits(dtype: torch.dtype) -> BitsAndBytesConfig:
    """What from_pretrained takes as quantization_config; dtype: what is computed in."""
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )


def keep_scales(model: nn.Module) -> None:
    """Without this bitsandbytes rounds the weights' scales to bf16 at the first evaluation on a CPU that has bf16
    units, for good: the model would be another one after it.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            vars(module)["support_avx512bf16_for_cpu"] = False
