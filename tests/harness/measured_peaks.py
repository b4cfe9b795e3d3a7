"""Bytes that trainings of a small Llama take at most on this CPU, beyond what the process had: a JSON list.

python measured_peaks.py FOLDER_OF_A_CONFIG TOKENS [JSON of {"step": 1, 2 or 3, ModelFlags ...}]
MALLOC_MMAP_THRESHOLD_ has to be in the environment: then freed memory goes back to the system at once.
"""

import gc
import json
import sys
from types import SimpleNamespace

import torch
from transformers import AutoConfig, AutoModelForCausalLM
from transformers import AutoModelForSequenceClassification as AutoReward

from korlhf.data import packing
from korlhf.data.tokenize import Tokens
from korlhf.models import causal_lm, lora, reward_model
from korlhf.rl import step as ppo_step
from korlhf.rl.models import Models
from korlhf.rl.rewards import Prompt
from korlhf.training import engine, pairs, reward, sft
from korlhf.training.flags import ModelFlags
from korlhf.training.log import Clock
from korlhf.training.ppo_flags import PpoFlags

LENGTH = 128


def resident(what):
    with open("/proc/self/status", encoding="utf-8") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(what))


def trained(config, flags, world, scores):
    if scores:
        config = AutoConfig.for_model(**{**config.to_dict(), "num_labels": 1, "pad_token_id": 0})
        model = lora.add_lora(AutoReward.from_config(config), flags, "SEQ_CLS")
        module = reward_model.TokenValues(model)
    else:
        module = causal_lm.TokenLogps(lora.add_lora(AutoModelForCausalLM.from_config(config), flags, "CAUSAL_LM"))
    return engine.Engine(module, flags, world, engine.Recipe("fp32", 1, 1, 9))


def frozen(config, world, scores):
    module = trained(config, ModelFlags(model_name_or_path=""), world, scores).module
    return engine.Frozen(module, world, "fp32")


def rows(config, n):
    return [torch.randint(3, config.vocab_size, (LENGTH,)).tolist() for _ in range(n)]


def train(step, config, flags, world, tokens):
    """SFT: `tokens` a pass; reward model: that in two answers a prompt; PPO: that in prompts and answers."""
    n = tokens // LENGTH
    if step == 3:
        return train_ppo(config, flags, world, n)
    model = trained(config, flags, world, step == 2)
    model.train()
    for _ in range(2):
        if step == 1:
            loss = sft.sft_loss(
                sft.token_logps(model, [Tokens(r, [1] * LENGTH) for r in rows(config, n)], world.device), n
            )
        else:
            answers = [Tokens(r, []) for r in rows(config, n)]
            loss = reward.ranked_loss(pairs.forward(model, answers, world.device), [2] * (n // 2))
        model.backward(loss)
        model.step()
    model.ds.destroy()


def train_ppo(config, flags, world, n):
    actor, critic = (trained(config, flags, world, scores) for scores in (False, True))
    scorer = frozen(config, world, True)

    def scored(prompts, texts):
        with torch.no_grad(), scorer as module:
            packed = packing.pack(rows(config, len(prompts)))
            return module(packed)[packed.last]

    codec = SimpleNamespace(decode=lambda ids: "", eos_token_id=1)
    models = Models(actor, critic, None if flags.lora_dim else frozen(config, world, False), scored, codec, world)
    half = {"max_prompt_seq_len": LENGTH // 2, "max_answer_seq_len": LENGTH // 2}
    sizes = {"per_device_generation_batch_size": n, "per_device_training_batch_size": n}
    ppo, prompts = PpoFlags(**half, **sizes), [Prompt(r[: LENGTH // 2], (), "") for r in rows(config, n)]
    for _ in range(2):
        experience, *_ = ppo_step.collect(models, prompts, range(n), ppo, 0.1, lambda scores, _: scores, Clock())
        ppo_step.update(models, experience, ppo, True, None)
    actor.ds.destroy()
    critic.ds.destroy()


def main():
    folder, tokens, *cases = sys.argv[1:]
    torch.set_num_threads(1)
    world, config, peaks = engine.start(-1), AutoConfig.from_pretrained(folder), []
    small = [json.dumps({**json.loads(case), "tokens": 2 * LENGTH}) for case in cases]
    for case in (*small, *cases):  # small ones first, for what the libraries take at their first use
        gc.collect()
        before = resident("VmRSS")
        with open("/proc/self/clear_refs", "w", encoding="utf-8") as file:
            file.write("5")  # forgets the highest so far
        flags = json.loads(case)
        step, size = flags.pop("step", 1), flags.pop("tokens", int(tokens))
        train(step, config, ModelFlags(model_name_or_path=folder, **flags), world, size)
        peaks.append(resident("VmHWM") - before)
    print(json.dumps(peaks[len(cases) :]))


if __name__ == "__main__":
    main()
