"""transformers and DeepSpeed without their bars and reports: what is amiss with a checkpoint is said by
korlhf/models/checks.py, and what goes wrong in a training by its own warnings.
"""

import logging
import os
import warnings

from huggingface_hub.utils import are_progress_bars_disabled, enable_progress_bars
from transformers.utils import logging as of_transformers


def quiet() -> None:
    """Turn them off; those of transformers unless TRANSFORMERS_VERBOSITY is set. The hub's bars of downloads, which are
    for terminals alone, stay as they are.
    """
    logging.getLogger("DeepSpeed").addFilter(_worth_saying)
    for name in ("`torch.distributed", ".*gradient_checkpointing"):  # which DeepSpeed, peft and the engine still use
        warnings.filterwarnings("ignore", name, FutureWarning)
    if "TRANSFORMERS_VERBOSITY" in os.environ:
        return
    downloads = not are_progress_bars_disabled()
    of_transformers.set_verbosity_error()
    of_transformers.disable_progress_bar()
    if downloads:
        enable_progress_bars()


def _worth_saying(record):
    """Not the line of the import, nor that a step was left out."""
    told = record.getMessage()
    return "Setting accelerator to CPU" not in told and "Gradients are non-finite" not in told
