"""The forward pass over packed sequences: the one place that tells transformers which tokens belong together."""

from typing import Any

import torch

from korlhf.data.packing import Packed


def hidden_states(model: Any, packed: Packed) -> torch.Tensor:
    """Last hidden states of packed rows, flattened: (N * L, D). model: a transformers model with a head."""
    # use_cache=False: with the cache on, transformers ignores restarting positions and packed sequences see each other.
    out = model.base_model(input_ids=packed.ids, position_ids=packed.position_ids, use_cache=False)
    return out.last_hidden_state.flatten(0, 1)
