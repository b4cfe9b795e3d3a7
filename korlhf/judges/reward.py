"""Scores of answers by a reward model, in packed batches, kept in the cache. The score is the model's own, on no scale."""

import math
from pathlib import Path

from jinja2 import TemplateError

from korlhf.core.errors import InputError
from korlhf.llm import batches as chunked
from korlhf.llm import checkpoint as local
from korlhf.llm.client import Failure


class RewardJudge:
    """A reward model: its codec at once, its weights when an answer is to be scored that is not in the cache.

    path: a folder or hub name; what: the flag that names it. name: for people. Raises InputError if it cannot be loaded.
    """

    def __init__(self, path, what, checkpoint, max_seq_len, batch_size, limit="--max_seq_len"):
        """checkpoint: flags.CheckpointFlags; max_seq_len: most tokens of prompt and answer, set by the flag `limit`; batch_size: answers in
        a forward pass."""
        import torch  # slow to import, like the modules above it

        from korlhf.data.tokenize import Codec
        from korlhf.models import causal_lm as models
        from korlhf.models import reward_model
        from korlhf.models.tokenizer import load_tokenizer
        from korlhf.training import engine

        models.check_folder(path, what)
        if Path(path, "config.json").exists() and not reward_model.has_head(path):
            raise InputError(
                f"{what} {path}: not a reward model (it has no score head); train one with step 2 and give its folder"
            )
        self.path, self.what, self.checkpoint = path, what, checkpoint
        self.max_seq_len, self.batch_size, self.limit = max_seq_len, batch_size, limit
        self.ranks = engine.Ranks(0, 1, torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu"))
        self.dtype = engine.resolve_dtype(checkpoint.dtype, self.ranks.device)
        self.codec = Codec(load_tokenizer(path, checkpoint.prompt_template, checkpoint.trust_remote_code, what))
        config = models.load_config(path, trust_remote_code=checkpoint.trust_remote_code)
        self.positions = getattr(config.get_text_config(), "max_position_embeddings", None)
        self.fingerprint = local.fingerprint(path)
        self.name = Path(path).resolve().name if Path(path).is_dir() else path

    def scores(self, talks, texts, cache):
        """talks: conversations; texts: of each a list of answers -> for each a list of float or Failure."""
        results, jobs = [[None] * len(of_talk) for of_talk in texts], []
        for i, (messages, of_talk) in enumerate(zip(talks, texts)):
            for k, text in enumerate(of_talk):
                found = self._encode(messages, text)
                if isinstance(found, Failure):
                    results[i][k] = found
                else:
                    jobs.append((i, k, found))
        same = {"reward_model": self.fingerprint, "dtype": self.dtype, "device": self.ranks.device.type}
        values = chunked.compute([ids for *_, ids in jobs], cache, same, _Forward(self), self.batch_size, "scoring")
        for (i, k, _), score in zip(jobs, values):
            results[i][k] = (
                score if math.isfinite(score) else Failure("not finite", f"the reward model's score is {score}")
            )
        return results

    def _encode(self, messages, text):
        """Token ids (template, messages and answer in one), or a Failure."""
        try:
            ids = self.codec.with_answer(messages, text).ids
        except (TemplateError, ValueError) as error:  # e.g. Gemma 2's template raises for a system message
            return Failure("bad request", f"the reward model's chat template: {str(error).splitlines()[0]}")
        if len(ids) > self.max_seq_len:
            return Failure(
                "too long", f"prompt and answer have {len(ids)} tokens; raise {self.limit} {self.max_seq_len}"
            )
        if self.positions and len(ids) > self.positions:
            return Failure(
                "too long", f"prompt and answer have {len(ids)} tokens, the reward model {self.positions} positions"
            )
        return ids


class _Forward:
    """Loads the model at the first chunk and scores chunks."""

    def __init__(self, judge):
        self.judge, self.frozen = judge, None

    def __call__(self, chunk):
        """Lists of token ids -> scores, in one forward pass."""
        import torch

        from korlhf.data.tokenize import Tokens
        from korlhf.models import reward_model
        from korlhf.training import engine
        from korlhf.training import reward as pairs

        j = self.judge
        if self.frozen is None:
            loaded = reward_model.load_reward_model(j.path, j.what, trust_remote_code=j.checkpoint.trust_remote_code)
            self.frozen = engine.Frozen(reward_model.TokenValues(loaded), j.ranks, j.dtype)
        try:
            with self.frozen as module:
                return [
                    s for (s,) in pairs.score_groups(module, [[Tokens(ids, [])] for ids in chunk], len(chunk), j.ranks)
                ]
        except torch.OutOfMemoryError as error:
            raise InputError(
                f"{j.what}: {len(chunk)} answers at once are too many for the GPU's memory; lower the batch size"
            ) from error
