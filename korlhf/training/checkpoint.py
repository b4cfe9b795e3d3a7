"""A model folder made of a resumable checkpoint: what its run would have saved at that step.

One process on the CPU; in however many processes and whatever ZeRO stage the checkpoint was written.
"""

import dataclasses
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from korlhf.core.errors import InputError
from korlhf.core.files import write_json
from korlhf.data.tokenize import Codec
from korlhf.models.causal_lm import TokenLogps, load_causal_lm
from korlhf.models.finite import check_finite
from korlhf.models.folders import read_json
from korlhf.models.lora import add_lora
from korlhf.models.reward_model import TokenValues, has_head, load_reward_model, set_padding
from korlhf.models.save import save_model
from korlhf.models.tokenizer import load_tokenizer
from korlhf.training import implicit, manifest, states
from korlhf.training.flags import ModelFlags
from korlhf.training.world import DTYPES, World

REMEDY = "give the folder of a checkpoint, such as OUTPUT_DIR/checkpoints/step_000100"
AVERAGE = "ema"


def to_model(checkpoint: Path, output_dir: Path, name: str = "") -> str:
    """Write the model of `checkpoint` into `output_dir`, with its tokenizer and template; returns which it was.

    name: actor, critic, reward or ema (the actor's average); "" is the one that the training is for. Raises InputError
    for what is no whole checkpoint of this version.
    """
    held = {p.name for p in checkpoint.iterdir() if p.is_dir()} if checkpoint.is_dir() else set()
    if not held or not (checkpoint / "state.json").is_file():
        raise InputError(f"{checkpoint}: is no checkpoint of a training; {REMEDY}")
    if damage := manifest.damage(checkpoint, World(0, 1, torch.device("cpu"))):
        raise InputError(f"{checkpoint}: {damage}; take an older one of the same folder")
    name = name or ("actor" if "actor" in held else next(iter(held)))
    if name not in held:
        raise InputError(f"--model {name}: {checkpoint} holds {', '.join(sorted(held))}")
    settings = read_json(checkpoint.parent.parent / "settings.json", str(checkpoint.parent.parent))
    engine = "actor" if name == AVERAGE else name
    if not (checkpoint / engine / "engine.json").is_file():
        raise InputError(f"{checkpoint}: was written by an earlier version; resume its run, which writes it anew")
    prefix = f"{engine}_" if "actor_model_name_or_path" in settings else ""
    fields = [f.name for f in dataclasses.fields(ModelFlags)]
    flags = ModelFlags(**{k: settings[prefix + k] for k in fields if prefix + k in settings})
    module, tokenizer, eos = _as_trained(flags, settings, engine)
    with torch.no_grad():
        weights = states.weights(checkpoint / engine)
        for key, p in states.trained(module).items():
            if key not in weights:
                raise InputError(f"{checkpoint}: this checkpoint has no weight {key}; was --{prefix}lora_dim changed?")
            p.copy_(weights[key].view_as(p))
    model: Any = next(module.children())
    check_finite(model, name, f"of {checkpoint}")
    whole = {k: v.detach() for k, v in model.state_dict().items()}
    if name == AVERAGE:
        whole |= load_file(checkpoint / AVERAGE / "average.safetensors")
    save_model(model, whole, tokenizer, output_dir, flags.model_name_or_path, DTYPES[settings["dtype"]], eos)
    if "loss" in settings:
        write_json(Path(output_dir) / implicit.FILE, implicit.describe(settings))
    return name


def _as_trained(flags, settings, engine) -> tuple[torch.nn.Module, Any, int | None]:
    """The model as its training began, in fp32, its tokenizer, and the token that ends its answers."""
    path, trust = flags.model_name_or_path, settings.get("trust_remote_code", False)
    what = "the base model of the checkpoint,"
    tokenizer = load_tokenizer(  # the critic is saved with the actor's
        settings.get("actor_model_name_or_path", path), settings["prompt_template"], trust, what
    )
    codec = Codec(tokenizer)
    how: dict[str, Any] = {"dtype": torch.float32, "trust_remote_code": trust}
    if engine == "actor":
        lm = load_causal_lm(path, tokenizer, what, **how)
        return TokenLogps(add_lora(lm, flags, "CAUSAL_LM")), tokenizer, codec.eos_token_id
    new_head = engine == "reward" or not has_head(path)
    scorer = load_reward_model(path, what, new_head=new_head, **how)
    if engine == "reward":
        set_padding(scorer, tokenizer, codec.eos_token_id)
    return TokenValues(add_lora(scorer, flags, "SEQ_CLS")), tokenizer, None
