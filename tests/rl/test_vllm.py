"""Sampling by vLLM servers, here stand-ins on loopback: the answers are those of the actor's own weights, and what a
server does wrong ends in one line.
"""

import contextlib
import shutil
import time
from collections import namedtuple
from types import SimpleNamespace

import pytest
import torch
from toy_policy import ALONE, FakeEngine, collect, flags, make_models, toy_codec, toy_prompts
from vllm_server import Server

from korlhf.core.errors import InputError, Unavailable, Unscored
from korlhf.models.lora import without_adapter
from korlhf.rl import rollout, vllm, vllm_weights
from korlhf.rl import training as rl_training
from korlhf.rl.sampler import Sampled
from korlhf.rl.step import sample
from korlhf.rl.vllm_client import Servers
from korlhf.rl.vllm_weights import TRANSFERS, Files, meanwhile
from korlhf.training.reward_flags import RewardFlags
from korlhf.training.rollout_flags import RolloutFlags
from korlhf.training.world import World

LIMITS = rollout.Limits(6)


class Actor(FakeEngine):
    """An engine with a version and whole weights, as Engine has them."""

    dtype = torch.float32

    @property
    def version(self):
        return self.passes

    def state_dict(self, adapter_only=False):
        every = self.module.named_parameters(remove_duplicate=False)
        return {n.split(".", 1)[1]: p.detach().clone() for n, p in every if "lora_" in n or not adapter_only}

    def gathered_weights(self):
        return contextlib.nullcontext()

    def move(self, size=0.1):
        """As an update would, in a direction of its own."""
        torch.manual_seed(self.passes)
        for p in self.module.parameters():
            if p.requires_grad:
                p.data += size * torch.randn_like(p)
        self.passes += 1


@pytest.fixture
def models():
    made, _ = make_models(toy_codec())
    made.actor.__class__ = Actor
    return made


@pytest.fixture
def served(tmp_path, models, monkeypatch):
    """Function: (Models, faults, ...) -> (Vllm, the stand-in of a server with other weights than the actor's)."""
    started = []
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # which is for the rest of the world

    def start(models=models, faults=None, seconds=20.0, servers=1, way="files", **more):
        first, weights = tmp_path / "first", tmp_path / "weights"
        kind, spread = without_adapter(models.actor.module.lm).config.model_type, 0.3 if way == "adapter" else 0.5
        make_models(toy_codec(), spread=spread, architecture=kind)[0].actor.module.lm.save_pretrained(first)
        weights.mkdir(exist_ok=True)
        running = [Server(first, faults, **more).__enter__() for _ in range(servers)]
        started.extend(running)
        prompts = [p.ids for p in toy_prompts(models.codec)]
        asked = Servers(models.codec.eos_token_id, seconds)
        asked.urls = [server.url for server in running]
        found = vllm.Vllm(asked, prompts, TRANSFERS[way](asked, weights, ALONE), ALONE)
        models.sampler = found
        return found, running[0]

    yield start
    for server in started:
        server.__exit__()


@pytest.fixture
def on_cpus(monkeypatch):
    """Function: the stand-in -> what a GPU sends goes there by other means."""

    def ready(server, waits=False):
        """waits: what is sent is never taken."""

        class Group:
            def __init__(self, size):
                assert size == 1 + server.workers
                self.size, self.key = size, b"key"

            def open(self):
                pass

            def send(self, weights):
                server.stopping.wait() if waits else None
                for weight in weights:
                    server.wire.put(weight.clone())

        def handles(self, weights):
            return [{"this GPU": w.clone()} for w in weights.values()]

        monkeypatch.setattr(vllm_weights, "NcclGroup", Group)
        monkeypatch.setattr(vllm_weights.Ipc, "handles", handles)

    return ready


WAYS = [("gpt_neox", 0, 2, "files"), ("llama", 0, 1, "files"), ("llama", 2, 1, "files"), ("llama", 2, 1, "adapter")]
WAYS += [("gpt_neox", 0, 2, "ipc"), ("llama", 2, 1, "ipc"), ("gpt_neox", 0, 1, "nccl"), ("llama", 2, 1, "nccl")]


@pytest.mark.parametrize("architecture, lora, servers, way", WAYS)
def test_answers_are_those_of_the_weights_in_training(served, on_cpus, architecture, lora, servers, way):
    made, _ = make_models(toy_codec(), architecture=architecture, lora=lora)
    made.actor.__class__ = Actor
    prompts, seeds = toy_prompts(made.codec), list(range(8))
    sampler, server = served(made, servers=servers, way=way)
    on_cpus(server)
    sampler.transfer.write(made.actor)  # which a server starts from
    answers = []
    for _ in range(2):
        made.actor.move(1.0)
        local = rollout.sample(made.actor.module.lm, [p.ids for p in prompts], seeds, 0, LIMITS)
        got = sample(made, prompts, seeds, flags(8))
        assert got.answers == local
        for prompt, answer, logps in zip(prompts, got.answers, got.logps):
            with torch.no_grad():
                scores = made.actor.module.lm(input_ids=torch.tensor([prompt.ids + answer])).logits[0].log_softmax(-1)
            own = [float(scores[len(prompt.ids) + j - 1, token]) for j, token in enumerate(answer)]
            assert logps == pytest.approx(own, abs=1e-4)
        assert 0 < sampler.figures["canary_difference"] < 1e-3 and sampler.figures["seconds_push"] > 0
        assert not list(sampler.transfer.folder.glob("*.safetensors"))  # memory that the training needs
        answers.append(local)
    pushes = {"files": "collective_rpc", "adapter": "load_lora_adapter"}.get(way, "update_weights")
    assert answers[0] != answers[1] and server.calls[pushes] == 2
    sample(made, prompts, seeds, flags(8))
    assert server.calls[pushes] == 2  # the same weights are sent once
    assert len(server.seen) == 24 // servers


def test_all_processes_ask_for_the_weights_of_the_first(tmp_path):
    class Second(World):
        def gather(self, thing):
            return ["of the first", thing]

    assert vllm.Vllm(Servers(0, 1.0), [[1, 2]], None, Second(1, 2, torch.device("cpu"))).run == "of the first"


@pytest.mark.parametrize("way", ["files", "adapter"])
def test_servers_sleep_while_the_training_computes(served, way):
    made, _ = make_models(toy_codec(), architecture="llama", lora=2)
    made.actor.__class__ = Actor
    sampler, server = served(made, way=way)
    sampler.sleeps = True
    prompts = toy_prompts(made.codec)
    local = rollout.sample(made.actor.module.lm, [p.ids for p in prompts], range(8), 0, LIMITS)
    for round in range(1, 4):
        if round == 3:
            made.actor.move()
            local = rollout.sample(made.actor.module.lm, [p.ids for p in prompts], range(8), 0, LIMITS)
        assert sample(made, prompts, range(8), flags(8)).answers == local  # also of the same weights, which they lost
        assert server.asleep and server.calls["sleep"] == round
        made.actor.train()
    sampler.servers.urls.insert(0, "http://127.0.0.1:9")  # one that has gone away keeps no other asleep
    sampler.leave()
    assert not server.asleep


@pytest.mark.parametrize(
    "way, faults, error, says",
    [
        ("adapter", {"load_lora_adapter": 404}, Unscored, "could not load .* started with VLLM_ALLOW_RUNTIME_LORA_UPD"),
        ("ipc", {"update_weights": 500}, Unscored, "could not load the weights: .*; has its model the same shape"),
        ("ipc", {"init_weight_transfer_engine": 400}, Unscored, "start it with --weight-transfer-config"),
        (
            "nccl",
            {"update_weights": "hang"},
            Unavailable,
            "is away: no answer to /update_weights within --vllm_timeout",
        ),
        ("adapter", {"unload_lora_adapter": 404}, Unscored, "was started again, or serves another training"),
        ("ipc", {"start_weight_update": 500}, Unscored, "that ended in the middle of a push leaves it so"),
        ("nccl", {"update_weights": "drop"}, Unavailable, "is away: Remote"),
    ],
)
def test_a_server_that_does_not_take_weights_is_one_line(served, on_cpus, way, faults, error, says):
    made, _ = make_models(toy_codec(), architecture="llama", lora=2)
    made.actor.__class__ = Actor
    sampler, server = served(made, way=way)
    on_cpus(server, waits=True)
    if "unload_lora_adapter" in faults:  # of the adapter before
        sampler.sync(made.actor)
        made.actor.move()
    made.sampler.servers.seconds, server.faults = (0.5 if "hang" in faults.values() else 20.0), faults
    with pytest.raises(error, match=says):
        sampler.sync(made.actor)
    assert not server.paused


def test_workers_of_all_servers_are_one_group(tmp_path, monkeypatch):
    bodies = {}

    class Two:
        def tell(self, path, body=None, method="POST"):
            bodies[path] = body
            return [{"world_size": 2}, {"world_size": 3}]

    group = SimpleNamespace(size=6, key=b"key", open=lambda: None)
    monkeypatch.setattr(vllm_weights, "NcclGroup", lambda size: group if size == 6 else None)
    vllm_weights.Nccl(Two(), tmp_path, ALONE)._open()
    infos = [body["init_info"] for body in bodies["/init_weight_transfer_engine"]]
    assert [(info["rank_offset"], info["world_size"]) for info in infos] == [(1, 6), (3, 6)]


def test_what_fails_in_a_broadcast_is_told_as_itself_and_a_server_before_it():
    def fails(error, seconds=0.0):
        time.sleep(seconds)
        raise error

    with pytest.raises(RuntimeError, match="NCCL"):
        meanwhile(lambda: fails(RuntimeError("NCCL")), lambda: None)
    with pytest.raises(Unavailable, match="is away") as raised:
        meanwhile(lambda: fails(RuntimeError("NCCL")), lambda: fails(Unavailable("is away"), 0.1))
    assert "NCCL" in str(raised.value.__cause__)


def test_servers_that_cannot_sleep_are_not_told_to(served):
    sampler, server = served()
    server.can_sleep = False
    with pytest.raises(InputError, match="--vllm_sleep: http.* was started without --enable-sleep-mode"):
        sampler.servers.check_settings(1.0, sleeps=True)
    sampler.servers.check_settings(1.0)


def test_a_push_that_fails_leaves_no_server_half_asleep(served, models):
    sampler, server = served(faults={"collective_rpc": 500})
    server.sleep("1")
    with pytest.raises(Unscored, match="could not load"):
        sampler.sync(models.actor)
    assert not server.asleep and not server.paused


def test_an_adapter_leaves_with_its_training(served):
    made, _ = make_models(toy_codec(), architecture="llama", lora=2)
    made.actor.__class__ = Actor
    sampler, server = served(made, way="adapter")
    sampler.sync(made.actor)
    sampler.leave()
    assert server.adapter is None and server.calls["load_lora_adapter"] == 1


def test_servers_that_another_run_left_asleep_wake_up(served, models):
    sampler, server = served()
    server.sleep("1")
    sampler.sync(models.actor)
    models.actor.move()
    sampler.sync(models.actor)
    assert not server.asleep and server.calls["wake_up"] == 2


def test_servers_of_other_users_can_read_the_weights(served, models, monkeypatch):
    sampler, _ = served()
    modes = []
    monkeypatch.setattr(
        Files, "_clear", lambda self: modes.extend(p.stat().st_mode & 0o777 for p in self.folder.iterdir())
    )
    sampler.transfer.write(models.actor)
    sampler.transfer._clear()
    assert len(modes) > 2 and set(modes) == {0o644}


def test_another_temperature_has_log_probabilities_of_its_own(served, models):
    f = flags(8, temperature=0.5)
    with pytest.raises(InputError, match="needs its log-probabilities as processed_logprobs, and it gives raw_"):
        served()[0].servers.check_settings(0.5)
    sampler, _ = served(logprobs_mode="processed_logprobs")
    sampler.servers.check_settings(0.5)
    exp, _, _ = collect(models, toy_prompts(models.codec), f)
    assert float(exp.mismatch.abs().max()) < 1e-4


GENERATED = {"generate": lambda number: "cut" if number > 7 else None}  # after 8 canaries


@pytest.mark.parametrize(
    "faults, error, says",
    [
        (
            {"collective_rpc": "stale"},
            Unscored,
            "samples from others, not from the weights that it was given: its log-",
        ),
        (
            {"collective_rpc": 500},
            Unscored,
            "could not load the weights: 'no such file'; does it see --vllm_weights_dir at the same pl",
        ),
        ({"reset_prefix_cache": 500}, Unavailable, "is away: status 500 to /reset_prefix_cache"),
        (
            {"pause": 404},
            Unscored,
            "refused /pause.mode=wait with status 404: 'no such file'; start it with VLLM_SERVER_DEV_MODE",
        ),
        ({"generate": "drop"}, Unavailable, "is away: (RemoteProtocolError|ReadError)"),
        ({"generate": "hang"}, Unavailable, "is away: no answer to /inference/v1/generate within --vllm_timeout 0.5 s"),
        ({"generate": 200}, Unscored, "gave 'no such file', which cannot be read"),
        (
            GENERATED,
            Unscored,
            "gave an answer of 1 tokens with 1 log-probabilities; it must end with EOS .0. or have 6",
        ),
        (
            {"generate": lambda number: "restarted" if number > 7 else None},
            Unscored,
            "sampled from the weights default, not from .*-0: it was started again, or serves another training",
        ),
    ],
    ids=["others", "cannot load", "fails", "no dev mode", "drops", "hangs", "nonsense", "cut", "restarted"],
)
def test_what_a_server_does_wrong_is_one_line(served, models, faults, error, says):
    sampler, server = served(faults=faults)
    if "hang" in faults.values():
        sampler.figures, server.faults = {}, {}
        sampler.sync(models.actor)  # which may take its time
        sampler.servers.seconds, server.faults = 0.5, faults
    began = time.monotonic()
    with pytest.raises(InputError, match=says) as raised:
        sample(models, toy_prompts(models.codec), range(8), flags(8))
    assert type(raised.value) is error and "\n" not in str(raised.value)
    assert time.monotonic() - began < 15
    assert server.calls["resume"] == 1  # it answers others again, also after an error


@pytest.mark.parametrize("size, kept, notices", [(0.005, 1, 1), (0.005, 2, 1), (0.001, 2, 8), (0.0, 2, 0)])
def test_weights_that_stay_behind_are_noticed_though_the_step_is_within_rounding(
    served, models, monkeypatch, size, kept, notices
):
    """kept: pushes that arrive; notices: after how many more at the latest, as several small ones are a large one."""
    monkeypatch.setitem(vllm.TOLERANCE, torch.float32, 0.2)
    sampler, _ = served(faults={"collective_rpc": lambda number: "stale" if number >= kept else None}, noise=0.02)
    for _ in range(kept):
        models.actor.move(size)
        sampler.sync(models.actor)
    steps = 0
    with contextlib.ExitStack() as stack:
        if notices:
            stack.enter_context(pytest.raises(Unscored, match="samples from those of an earlier step, not from the we"))
        while steps < 8:
            steps += 1
            models.actor.move(size)
            sampler.sync(models.actor)
    assert steps <= (notices or 8) and (size != 0.001 or steps > 1)


def test_rounding_is_no_other_model(served, models, monkeypatch):
    """Nor is one token that is far off, as a large model has it in bf16; the training moves less than the noise."""
    monkeypatch.setitem(vllm.TOLERANCE, torch.float32, 0.2)
    sampler, server = served(noise=0.14)
    largest = 0.0
    for _ in range(6):
        models.actor.move(0.002)
        sampler.sync(models.actor)
        largest = max(largest, sampler.figures["canary_difference"])
    assert 0.2 < largest < 1 and len(server.pushed) == 6


def test_no_room_for_weights(served, models, monkeypatch):
    sampler, _ = served()
    old = sampler.transfer.folder / "model-00001-of-00002.safetensors"
    old.touch()

    def usage(folder):
        assert not old.exists()  # it is room, too
        return namedtuple("Usage", "free")(2**10)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    with pytest.raises(InputError, match="--vllm_weights_dir .*: the weights take 0 MiB, and 0 are free there"):
        sampler.sync(models.actor)


class Shifted:
    """Samples as the actor does, and says log-probabilities that are off by 0.1 nats a token, or 3 in one place."""

    def __init__(self, lm):
        self.lm, self.figures = lm, {}

    def sync(self, actor):
        pass

    def sample(self, prompts, seeds, limits, desc=""):
        answers = rollout.sample(self.lm, prompts, seeds, 0, limits)
        logps = []
        for prompt, answer in zip(prompts, answers):
            with torch.no_grad():
                scores = self.lm(input_ids=torch.tensor([prompt + answer])).logits[0].log_softmax(-1)
            logps.append([float(scores[len(prompt) + j - 1, token]) + 0.1 for j, token in enumerate(answer)])
        logps[0][0] -= 3.1
        return Sampled(answers, logps)


@pytest.mark.parametrize("correction", ["none", "token", "sequence"])
@pytest.mark.parametrize("aggregation", ["token", "sequence"])
def test_the_ratio_weighs_the_loss_and_not_what_it_is_divided_by(models, correction, aggregation):
    """exp(-0.1) of each token, and of one exp(3), which is truncated to 2."""
    models.rollout = RolloutFlags(rollout="vllm", rollout_correction=correction)
    f = flags(8, loss_aggregation=aggregation, mask_truncated=True)
    plain, _, _ = collect(models, toy_prompts(models.codec), f)
    models.sampler = Shifted(models.actor.module.lm)
    exp, _, _ = collect(models, toy_prompts(models.codec), f)
    assert plain.mismatch is None and exp.shares == plain.shares and 0.0 in exp.shares
    for i, answer in enumerate(exp.answers):
        ratios = [0.904837] * len(answer)  # exp(-0.1)
        if i == 0:
            ratios[0] = 20.085537  # exp(3)
        if correction == "sequence":
            whole = 1.0
            for ratio in ratios:
                whole *= ratio
            ratios = [whole] * len(answer)
        for t in range(len(answer)):
            factor = 1.0 if correction == "none" else min(ratios[t], 2.0)
            assert float(exp.weights[i, t]) == pytest.approx(factor * float(plain.weights[i, t]), rel=1e-4)


def test_the_figures_of_a_push_are_those_of_one_row(models, tmp_path, monkeypatch):
    made = SimpleNamespace(model_name_or_path="x")
    every = SimpleNamespace(ppo=flags(8), paths={}, actor=made, critic=made, rewards=RewardFlags())
    prompts = toy_prompts(models.codec)
    order, run = SimpleNamespace(seed=3), SimpleNamespace(dir=tmp_path)
    training = rl_training.PpoTraining(models, every, prompts, [], [], order, run)
    training.begin()
    monkeypatch.setattr(rl_training.ppo_step, "update", lambda *_: {})  # nothing changes, so nothing is pushed
    monkeypatch.setattr(training, "_metrics", lambda *_: {})
    models.sampler = Shifted(models.actor.module.lm)
    models.sampler.figures = {"seconds_push": 2.0}
    rows = [training.train_step(step, [list(range(8))], [list(range(8))]) for step in (1, 2)]
    assert rows[0]["seconds_push"] == 2.0 and "seconds_push" not in rows[1]
    assert all(row["mismatch_ratio_max"] > 20 for row in rows)
