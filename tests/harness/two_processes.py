"""Trains tiny models with ZeRO-0 and ZeRO-3 on this process and another: what they were and became, as JSON lines.

python two_processes.py FOLDER_OF_A_LANGUAGE_MODEL FOLDER_TO_WRITE_TO
RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT are in the environment.
"""

import json
import sys
from pathlib import Path

import torch

from korlhf.data.tokenize import Tokens
from korlhf.models import causal_lm, lora, reward_model
from korlhf.models.tokenizer import load_tokenizer
from korlhf.rl.ema import EMA
from korlhf.training import engine, pairs, reward, sft
from korlhf.training.flags import ModelFlags

causal_lm.CHUNK_LOGITS = 2_000  # 5 tokens of 400 words: the processes have 2 and 4 chunks
of_the_steps = engine.config


def config(recipe, zero_stage, processes):
    """The steps' configuration, but that ZeRO-3 keeps none of these small weights on every process."""
    written = of_the_steps(recipe, zero_stage, processes)
    if zero_stage == 3:
        written["zero_optimization"]["stage3_param_persistence_threshold"] = 0
    return written


engine.config = config


def language_model(path, flags, how):
    lm = causal_lm.load_causal_lm(path, load_tokenizer(path), **how)
    return causal_lm.TokenLogps(lora.add_lora(lm, flags, "CAUSAL_LM"))


def scorer(path, flags, how):
    model = reward_model.load_reward_model(path, new_head=True, **how)
    tokenizer = load_tokenizer(path)
    reward_model.set_padding(model, tokenizer, tokenizer.eos_token_id)
    return reward_model.TokenValues(lora.add_lora(model, flags, "SEQ_CLS"))


def sft_loss(trained, world):
    rows = [Tokens(list(range(3 + world.rank, 13 + 9 * world.rank)), [0] + [1] * (9 + 8 * world.rank))]
    return sft.sft_loss(sft.token_logps(trained, rows, world.device), 13.0)


def reward_loss(trained, world):
    answers = [Tokens(list(range(3 + i, 9 + i + world.rank)), []) for i in range(3)]
    return reward.ranked_loss(pairs.forward(trained, answers, world.device), [3])


CASES = {
    "full": (language_model, sft_loss, {"gradient_checkpointing": True}),
    "dora": (language_model, sft_loss, {"lora_dim": 2, "use_dora": True, "lora_module_name": "q_proj,lm_head"}),
    "reward": (scorer, reward_loss, {}),
    "reward_lora": (scorer, reward_loss, {"lora_dim": 2}),
}


def train(path, folder, case, zero_stage, world):
    """Losses of three steps, the trained weights, whether each was spread when it was loaded, and how far their
    average is from that of whole weights.
    """
    make, loss_of, more = CASES[case]
    flags = ModelFlags(model_name_or_path=path, zero_stage=zero_stage, learning_rate=0.01, **more)
    torch.manual_seed(5)
    with engine.loading(world, "fp32", zero_stage) as how:
        module = make(path, flags, how)
    loaded = [p for n, p in module.named_parameters() if "lora_" not in n and "modules_to_save" not in n]
    spread = all(hasattr(p, "ds_tensor") and p.numel() == 0 for p in loaded)
    trained = engine.Engine(module, flags, world, engine.Recipe("fp32", 1, 1, 3))
    trained.train()
    losses, ema = [], EMA(trained, 0.9)
    expected = ema.weights()
    start = trained.state_dict()
    assert all(torch.equal(v, start[k]) for k, v in expected.items())
    for step in range(3):
        loss = loss_of(trained, world)
        trained.backward(loss)
        trained.step()
        losses.append(float(world.sum([float(loss)])[0]))
        ema.update()
        after = trained.state_dict()
        expected = {k: 0.9 * v + 0.1 * after[k] for k, v in expected.items()}
        if step == 1:
            ema.save(folder)
            world.barrier()
            again = EMA(trained, 0.9)
            again.load(folder)
            ema = again  # as after a resumption
    return losses, after, spread, largest_difference(expected, ema.weights())


def largest_difference(a, b):
    assert a.keys() == b.keys()
    return max((float((a[k] - b[k]).abs().max()) for k in a), default=0.0)


def main():
    world = engine.start(-1)
    for case in CASES:
        path, folder = sys.argv[1], Path(sys.argv[2])
        (one, whole, _, ema), (two, parts, spread, ema3) = (train(path, folder, case, z, world) for z in (0, 3))
        shown = {"case": case, "losses": [one, two], "spread": spread, "ema": max(ema, ema3)}
        if world.first:
            print(json.dumps(shown | {"difference": largest_difference(whole, parts)}), flush=True)
    engine.stop()


if __name__ == "__main__":
    main()
