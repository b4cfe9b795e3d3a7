"""Bytes that trainings of a small Llama take at most on this CPU, beyond what the process had: a JSON list.

python measured_peaks.py FOLDER_OF_A_CONFIG TOKENS [JSON of ModelFlags ...]
MALLOC_MMAP_THRESHOLD_ has to be in the environment: then freed memory goes back to the system at once.
"""

import gc
import json
import sys

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from korlhf.data.tokenize import Tokens
from korlhf.models import causal_lm, lora
from korlhf.training import engine, sft
from korlhf.training.flags import ModelFlags

LENGTH = 256


def resident(what):
    with open("/proc/self/status", encoding="utf-8") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(what))


def train(config, flags, world, tokens):
    lm = AutoModelForCausalLM.from_config(config)
    module = causal_lm.TokenLogps(lora.add_lora(lm, flags, "CAUSAL_LM"))
    actor = engine.Engine(module, flags, world, engine.Recipe("fp32", 1, 1, 9))
    actor.train()
    rows = [Tokens(torch.randint(config.vocab_size, (LENGTH,)).tolist(), [1] * LENGTH)] * (tokens // LENGTH)
    for _ in range(2):
        loss = sft.sft_loss(sft.token_logps(actor, rows, world.device), tokens)
        actor.backward(loss)
        actor.step()
    actor.ds.destroy()


def main():
    folder, tokens, *cases = sys.argv[1:]
    torch.set_num_threads(1)
    world, config, peaks = engine.start(-1), AutoConfig.from_pretrained(folder), []
    for case in cases * 2:  # the first round for what the libraries take at their first use
        gc.collect()
        before = resident("VmRSS")
        with open("/proc/self/clear_refs", "w", encoding="utf-8") as file:
            file.write("5")  # forgets the highest so far
        train(config, ModelFlags(model_name_or_path=folder, **json.loads(case)), world, int(tokens))
        peaks.append(resident("VmHWM") - before)
    print(json.dumps(peaks[len(cases) :]))


if __name__ == "__main__":
    main()
