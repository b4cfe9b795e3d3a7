"""The score that a reward model gives an answer, while people talk."""

import os
import threading
from pathlib import Path

import torch

from korlhf.applications.chat import conversation, markers
from korlhf.applications.chat.conversation import TooLong
from korlhf.core.errors import InputError
from korlhf.data.tokenize import Codec
from korlhf.models import reward_model
from korlhf.models.tokenizer import load_tokenizer
from korlhf.training import pairs
from korlhf.training.world import DTYPES, resolve_dtype


class Scorer:
    """A reward model that scores answers, written to with its own template. `score` may be called from any thread."""

    def __init__(self, path, dtype="auto", trust_remote_code=False, what="--reward_model"):
        """Raises InputError if `path` is no reward model."""
        path = os.path.expanduser(path)
        self.name = path
        self._codec = Codec(load_tokenizer(path, trust_remote_code=trust_remote_code, what=what))
        if Path(path).is_dir() and not reward_model.has_head(path):
            raise InputError(
                f"{what} {path}: not a reward model (it has no score head); train one with step 2 and give its folder"
            )
        self._device = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
        model = reward_model.load_reward_model(
            path,
            what,
            dtype=DTYPES[resolve_dtype(dtype, self._device)],
            trust_remote_code=trust_remote_code,
        )
        self._limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        self._values = reward_model.TokenValues(model).to(self._device).eval()
        self._breaker = markers.Breaker(markers.of_template(self._codec))
        self._one_at_a_time = threading.Lock()

    @torch.no_grad()
    def score(self, messages, answer):
        """The score of an answer to a conversation that ends with a user's message; old exchanges that do not fit are
        not read.

        Raises TooLong if message and answer do not fit, InputError if the template does not take the conversation.
        """
        messages = self._breaker.messages(conversation.checked(messages))
        with self._one_at_a_time:
            messages, _ = conversation.cut(messages, lambda kept: self._fits(kept, answer))
            tokens = self._codec.with_answer(messages, answer)
            if not self._fits(messages, answer):
                raise TooLong(
                    f"{self.name}: message and answer have {len(tokens)} tokens, more than its {self._limit} positions"
                )
            return float(pairs.forward(self._values, [tokens], self._device)[0])

    def _fits(self, messages, answer):
        return self._limit is None or len(self._codec.with_answer(messages, answer)) <= self._limit
