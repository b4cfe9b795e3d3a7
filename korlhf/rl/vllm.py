"""vLLM servers that sample for step 3: they get the actor's weights whenever those have changed, and prove it.

The training never imports vllm: all goes by HTTP (vllm_client.py), token ids in and out; vllm_weights.py has the ways
that weights go.
"""

import time
import uuid
from collections.abc import Sequence

import torch

from korlhf.core.errors import Unscored
from korlhf.rl.mixed import agreed
from korlhf.rl.rollout import Limits
from korlhf.rl.sampler import Sampled
from korlhf.rl.step import packed_answers
from korlhf.rl.vllm_client import Servers
from korlhf.rl.vllm_weights import Files
from korlhf.training.engine import Engine
from korlhf.training.world import World

CANARIES = 8  # prompts that are scored by both sides after each push
# Allowed difference of a token's log-probability, in nats, between the training and the engine, root mean square over
# the canaries: several times what was seen of rounding (docs/rollouts.md). Weights that are wrong differ by nats.
TOLERANCE = {torch.float32: 1e-3, torch.float16: 0.05, torch.bfloat16: 0.2}
MOVED = 0.05  # of the tolerance: from here on a change in the training must be one of the engine, too


class Vllm:
    """The Sampler of vLLM servers. canaries: prompts of at least two tokens; transfer: the way of the
    weights."""

    def __init__(self, servers: Servers, canaries: Sequence[list[int]], transfer: Files, world: World):
        self.servers, self.canaries, self.transfer, self.world = servers, canaries, transfer, world
        self.figures: dict[str, float] = {}
        self.run = world.gather(uuid.uuid4().hex[:8])[0]  # no other run's weights pass for this one's
        self.sleeps = False  # after each call of `sample`
        # log-probabilities of the canaries, by the training and by each server, when these were last seen to change
        self.before: tuple[torch.Tensor, torch.Tensor] | None = None

    def sync(self, actor: Engine) -> None:
        version = f"{self.run}-{actor.version}"
        if version == self.servers.version and not self.sleeps:
            return
        began = time.monotonic()
        asleep = self.sleeps or not self.servers.version  # a run that was killed may have left them so
        if asleep:
            self._tell("/wake_up?tags=weights")
        try:
            self._tell("/pause?mode=wait")
            self.transfer.push(actor)
            if asleep:
                self._tell("/wake_up?tags=kv_cache")  # its memory was free for the push
            agreed(lambda: self._settle(version) if self.world.first else None, self.world)
        except BaseException:
            if self.world.first:
                for path in ("/wake_up", "/resume") if asleep else ("/resume",):
                    self.servers.try_to_tell(path)
            raise
        self._tell("/resume")
        self.servers.version, pushed = version, time.monotonic() - began
        prompts, answers = [c[:1] for c in self.canaries], [c[1:] for c in self.canaries]
        with torch.no_grad():
            logps = actor(*packed_answers(prompts, answers, self.world.device)).float().cpu()
        found = agreed(lambda: self._prove(logps, actor.dtype) if self.world.first else 0.0, self.world)
        self.figures = {"seconds_push": pushed, "canary_difference": self.world.gather(found)[0]}

    def _settle(self, version):
        """Have the servers forget what they computed with other weights, and call the new ones `version`."""
        for url, reset in zip(self.servers.urls, self.servers.tell("/reset_prefix_cache")):
            if not reset.get("success"):
                raise Unscored(f"vLLM {url} kept its prefix cache of the weights before; start it again")
        self.servers.tell("/update_weight_version", {"new_version": version})

    def _prove(self, logps, dtype):
        """The largest difference of a canary's token to what each server says of it; raises Unscored if one has other
        weights. One that stays behind by a step is within the tolerance, but does not move while the training does.
        """
        theirs = torch.tensor(self.servers.scored(self.canaries))
        before = self.before or (logps, theirs)
        moved = _rms(logps - before[0])
        judged = moved > MOVED * TOLERANCE[dtype]
        for url, own, own_before in zip(self.servers.urls, theirs, before[1]):
            apart, stale = _rms(own - logps), judged and _rms(own - own_before) < 0.1 * moved
            if not apart <= TOLERANCE[dtype] or stale:
                which = "those of an earlier step" if stale else "others"
                raise Unscored(
                    f"vLLM {url} samples from {which}, not from the weights that it was given: its log-probabilities "
                    f"of {len(self.canaries)} prompts differ by {apart:.3g} nats (rms), {TOLERANCE[dtype]:g} is "
                    "rounding; nothing was sampled from them"
                )
        self.before = (logps, theirs) if judged else before
        return float((theirs - logps).abs().max())

    def sample(self, prompts: Sequence[list[int]], seeds: Sequence[int], limits: Limits, desc: str = "") -> Sampled:
        ask = self.servers.sample
        answers = agreed(lambda: ask(prompts, seeds, limits, desc, self.world.rank), self.world)
        if self.sleeps:
            self._tell(f"/sleep?level={self.transfer.sleep_level}")
        return Sampled([ids for ids, _ in answers], [logps for _, logps in answers])

    def _tell(self, path):
        """Tell all servers; they have done it when this returns, on all processes."""
        agreed(lambda: self.servers.tell(path) if self.world.first else None, self.world)

    def leave(self) -> None:
        """Give servers that go on back, as far as they answer: awake, and free for another training's weights. The
        first process calls it.
        """
        if self.sleeps:
            self.servers.try_to_tell("/wake_up")
        self.transfer.leave()


def _rms(x):
    return float((x.double() ** 2).mean().sqrt())
