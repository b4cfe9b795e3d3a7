"""Trains tiny models with ZeRO-0 and ZeRO-3 on this process and another: what they were and became, as JSON lines.

python two_processes.py FOLDER_OF_A_LANGUAGE_MODEL; RANK, WORLD_SIZE and MASTER_PORT are in the environment.
"""

import json
import sys

import torch

from korlhf.data.tokenize import Tokens
from korlhf.models import causal_lm, lora, reward_model
from korlhf.models.tokenizer import load_tokenizer
from korlhf.training import engine, pairs, reward, sft
from korlhf.training.flags import ModelFlags

causal_lm.CHUNK_LOGITS = 2_000  # 5 tokens of 400 words: the processes have 2 and 4 chunks


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
    "full": (language_model, sft_loss, {}),
    "dora": (language_model, sft_loss, {"lora_dim": 2, "use_dora": True, "lora_module_name": "q_proj,lm_head"}),
    "reward": (scorer, reward_loss, {}),
    "reward_lora": (scorer, reward_loss, {"lora_dim": 2}),
}


def train(path, case, zero_stage, world):
    """Losses of three steps, the trained weights, and whether any was whole when it was loaded."""
    make, loss_of, more = CASES[case]
    flags = ModelFlags(model_name_or_path=path, zero_stage=zero_stage, learning_rate=0.01, **more)
    torch.manual_seed(5)
    with engine.loading(world, "fp32", zero_stage) as how:
        module = make(path, flags, how)
    loaded = [p for n, p in module.named_parameters() if "lora_" not in n and "modules_to_save" not in n]
    spread = all(hasattr(p, "ds_tensor") and p.numel() == 0 for p in loaded)
    trained = engine.Engine(module, flags, world, engine.Recipe("fp32", 1, 1, 3))
    losses = []
    for _ in range(3):
        loss = loss_of(trained, world)
        trained.backward(loss)
        trained.step()
        losses.append(float(world.sum([float(loss)])[0]))
    return losses, trained.state_dict(), spread


def main():
    world = engine.start(-1)
    for case in CASES:
        (one, whole, _), (two, parts, spread) = (train(sys.argv[1], case, stage, world) for stage in (0, 3))
        differences = {k: float((whole[k] - parts[k]).abs().max()) for k in whole}
        shown = {"case": case, "losses": [one, two], "difference": max(differences.values(), default=0.0)}
        if world.first:
            same = whole.keys() == parts.keys()
            print(json.dumps({**shown, "same_names": same, "spread": spread}), flush=True)
    engine.stop()


if __name__ == "__main__":
    main()
