"""A trained model -> a folder that others can use: LoRA merged, one dtype, safetensors, card, licence, template, generation settings.

The folder takes its name only after a check: its greedy answers must be those of the trained model, token by token, by the trainings' own
sampler and by plain transformers. `--push_to_hub` then uploads it, private unless told otherwise, after it has shown what and asked.
Left out: quantisation and GGUF (llama.cpp converts such a folder), other formats than safetensors.
"""

import contextlib
import json
import os
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, GenerationConfig

from korlhf import __version__
from korlhf.applications.export import hub, same_answers
from korlhf.core import flags, program
from korlhf.core.errors import InputError
from korlhf.core.files import write_json
from korlhf.data import record as records
from korlhf.data import tokenize
from korlhf.data.prompts import prompts as read_prompts
from korlhf.llm import checkpoint as local
from korlhf.models import causal_lm as models
from korlhf.models import save
from korlhf.models.tokenizer import load_tokenizer
from korlhf.training import engine, provenance

DTYPE_NAMES = {dtype: name for name, dtype in engine.DTYPES.items()}
MARK = "export.json"


@dataclass(frozen=True, kw_only=True)
class ExportFlags:
    """export"""

    model_name_or_path: str = flags.flag(
        flags.REQUIRED, "a folder of step 1 or 3, or a LoRA folder (a step's adapter/, or of peft)"
    )
    output_dir: str = flags.flag(flags.REQUIRED, "where the exported model goes: a new or empty folder")
    overwrite: bool = flags.flag(False, "replace an earlier export in --output_dir")
    dtype: str = flags.flag(
        "auto",
        "of the exported weights; auto = as they are saved (LoRA: fp32)",
        choices=["auto", "fp32", "bf16", "fp16"],
    )
    prompt_template: str = flags.flag(
        "auto",
        "template that is written with the model; auto = the model's own, else kullm",
        choices=["auto", "kullm", "human_assistant", "chat"],
    )
    license: str = flags.flag(
        "", "licence of the weights as the hub writes it, e.g. apache-2.0; not given = what the base's card says"
    )
    base_model: str = flags.flag(
        "", "hub name of the base model, for the card; not given = as the trainings recorded it"
    )
    check_data_path: list[str] = flags.flag(["sample/heldout_prompts"], "datasets whose prompts the check asks")
    check_prompts: int = flags.flag(20, "how many prompts the check asks, drawn at random")
    max_new_tokens: int = flags.flag(64, "longest answer of the check")
    seed: int = flags.flag(1234, "seed of the draw of prompts")
    trust_remote_code: bool = flags.flag(False, "run Python code that comes with a hub model")


@dataclass(frozen=True, kw_only=True)
class PushFlags:
    """upload to the hub"""

    push_to_hub: str = flags.flag(
        "", "OWNER/NAME of a repository, made if there is none, that the exported folder is uploaded to"
    )
    public: bool = flags.flag(False, "let everyone read it; not given = private")
    yes: bool = flags.flag(False, "upload without asking")


def parse(argv=None):
    """(ExportFlags, PushFlags)"""
    parser = flags.Parser(description="Export a trained model")
    for group in (ExportFlags, PushFlags):
        flags.add(parser, group)
    space = parser.parse_args(argv)
    args, push = flags.read(space, ExportFlags), flags.read(space, PushFlags)
    flags.check_positive({"check_prompts": args.check_prompts, "max_new_tokens": args.max_new_tokens}, parser)
    if (push.public or push.yes) and not push.push_to_hub:
        parser.error("--public and --yes are for an upload: give --push_to_hub OWNER/NAME, or delete them")
    return args, push


def source_of(path):
    """The folder whose weights are exported: of a step's folder that holds nothing but its adapter, that adapter's."""
    folder = Path(path).expanduser()
    if not (folder / "config.json").exists() and (folder / "adapter" / "adapter_config.json").exists():
        return str(folder / "adapter")
    return str(folder) if path.startswith("~") else path


def dtype_of(args, source):
    """--dtype with auto resolved: "fp32", "bf16" or "fp16"."""
    if args.dtype != "auto":
        return args.dtype
    if models.lora_base(source) is not None:
        return "fp32"
    return DTYPE_NAMES.get(models.load_config(source, trust_remote_code=args.trust_remote_code).dtype, "fp32")


def claim(folder, source, settings, overwrite):
    """Whether the folder has to be written: not if it is a whole export of these settings. Raises InputError if it is something else."""
    if Path(source).resolve().is_relative_to(folder.resolve()):
        raise InputError(f"--output_dir {folder}: is the model itself, or holds it; give another folder")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--output_dir {folder}: is a file; give a folder")
    if not folder.is_dir() or not any(folder.iterdir()):
        return True
    if not (folder / MARK).is_file():
        raise InputError(f"--output_dir {folder}: is not empty, and no earlier export; give another folder")
    if earlier(folder) == settings and not overwrite:
        print(f"{folder} is exported already, with these settings and this model", flush=True)
        return False
    if not overwrite:
        raise InputError(
            f"--output_dir {folder}: holds an export of another model or with other settings; give another folder, "
            "or --overwrite"
        )
    return True


def earlier(folder):
    """The settings of the export in a folder; None if its record cannot be read."""
    try:
        return json.loads((folder / MARK).read_text(encoding="utf-8"))["settings"]
    except (ValueError, KeyError, TypeError):
        return None


def load(path, codec, args, dtype, device, **kwargs):
    """A language model that is ready to answer."""
    return (
        models.load_causal_lm(
            path, codec.tokenizer, dtype=engine.DTYPES[dtype], trust_remote_code=args.trust_remote_code, **kwargs
        )
        .to(device)
        .eval()
    )


def trained_answers(source, codec, args, dtype, device, prompts):
    """Greedy answers of the trained model: {dtype: answers}, in the exported dtype and in fp32.

    In fp32 a LoRA adapter stays beside its base, as in training: the merge is part of what is checked. In another dtype it is merged in
    fp32 before the cast, as a finished training writes it.
    """
    found = {}
    for name in dict.fromkeys((dtype, "fp32")):
        lm = load(source, codec, args, name, device, merge_lora=name != "fp32")
        found[name] = same_answers.greedy(lm, prompts, codec.stop_id, args.max_new_tokens, f"trained, {name}")
    return found


def write(source, folder, codec, args, dtype):
    """Weights, configuration, tokenizer with template, generation settings."""
    lm = models.load_causal_lm(
        source, codec.tokenizer, dtype=engine.DTYPES[dtype], trust_remote_code=args.trust_remote_code
    )
    broken = next((name for name, p in lm.named_parameters() if not torch.isfinite(p).all()), None)
    if broken is not None:
        hint = ", probably too large for fp16; use bf16" if dtype == "fp16" else ""
        raise InputError(f"--dtype {dtype}: weights of {broken} are not finite{hint}")
    # do_sample: a server would else ignore the temperature that it is asked for. top_k 0: transformers' own default would cut at 50.
    lm.generation_config = GenerationConfig(
        eos_token_id=codec.stop_id,
        pad_token_id=codec.tokenizer.pad_token_id,
        bos_token_id=codec.tokenizer.bos_token_id,
        do_sample=True,
        temperature=1.0,
        top_p=1.0,
        top_k=0,
    )
    lm.save_pretrained(folder)
    codec.tokenizer.save_pretrained(folder)
    save.share_weights(folder)


@dataclass(frozen=True)
class Check:
    """must: {what the exported model was compared with: Agreement} that has to be whole; beside: the same for information;
    same_ids of n prompts are the same tokens when plain transformers tokenises them as one text."""

    must: dict
    beside: dict
    same_ids: int
    n: int

    @property
    def good(self):
        return all(a.same == a.n for a in self.must.values())

    def lines(self):
        """name -> text, for the terminal and the card."""
        found = {
            f"greedy answers equal to the {what}": f"{a.same} of {a.n} ({a.share:.1%})"
            for what, a in {**self.must, **self.beside}.items()
        }
        return {**found, "prompts that plain transformers tokenises as in training": f"{self.same_ids} of {self.n}"}

    def show(self):
        for name, value in self.lines().items():
            print(f"{name}: {value}")
        for what, agreement in {**self.must, **self.beside}.items():
            if agreement.first:
                print(
                    f"  first difference to the {what}: prompt {agreement.first['prompt']}, token {agreement.first['at']}: "
                    f"{agreement.first['expected']!r} became {agreement.first['found']!r}"
                )
        if self.same_ids < self.n:
            print(
                "WARNING: this template and tokenizer join tokens across the edges of messages when a prompt is tokenised as one text, "
                "as servers do; their answers can differ from the trained model's"
            )


def check(folder, codec, args, dtype, device, talks, prompts, trained):
    """The Check of an exported model. trained: {dtype: answers}, see trained_answers."""
    exported = tokenize.Codec(load_tokenizer(str(folder)))
    if [exported.prompt(talk).ids for talk in talks] != prompts or exported.stop_id != codec.stop_id:
        raise InputError(
            f"{folder}: the exported tokenizer or template does not write the prompts as the trained model's; report this"
        )
    ours = same_answers.greedy(
        load(str(folder), codec, args, dtype, device), prompts, codec.stop_id, args.max_new_tokens, "exported"
    )
    lm = (
        AutoModelForCausalLM.from_pretrained(folder, dtype="auto", trust_remote_code=args.trust_remote_code)
        .to(device)
        .eval()
    )
    plain = same_answers.plain_greedy(lm, prompts, args.max_new_tokens, "exported, plain transformers")
    must = {
        f"trained model in {dtype}": same_answers.compare(trained[dtype], ours, codec),
        f"trained model in {dtype}, with plain transformers": same_answers.compare(trained[dtype], plain, codec),
    }
    beside = {} if dtype == "fp32" else {"trained model in fp32": same_answers.compare(trained["fp32"], ours, codec)}
    whole = [
        exported.tokenizer.apply_chat_template(t, add_generation_prompt=True, return_dict=True).input_ids for t in talks
    ]
    return Check(must, beside, sum(a == b for a, b in zip(whole, prompts)), len(prompts))


def draw_prompts(args, codec, positions):
    """(conversations, their prompt ids) for the check."""
    talks = [records.messages(r) for r in read_prompts(args.check_data_path, args.check_prompts, args.seed)]
    prompts = [codec.prompt(talk).ids for talk in talks]
    if positions:
        lengths = [len(ids) + args.max_new_tokens for ids in prompts]
        kept = tokenize.within(lengths, positions, "prompts with --max_new_tokens", "positions of the model")
        talks, prompts = [talks[i] for i in kept], [prompts[i] for i in kept]
    return talks, prompts


def new_folder(folder):
    """An empty FOLDER.partial beside the one that is to be. Raises InputError if it cannot be made."""
    part = folder.with_name(folder.name + ".partial")
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
    except OSError as error:
        raise InputError(
            f"--output_dir {folder}: cannot be written: {error.strerror or error}; give another"
        ) from error
    return part


@contextlib.contextmanager
def room(part):
    """What cannot be written for want of room is an InputError, and leaves no half-written folder that takes up more of it."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        if "No space left" not in str(error) and "quota" not in str(error):
            raise
        shutil.rmtree(part, ignore_errors=True)
        raise InputError(
            f"--output_dir {part.parent}: no room left on that disk; make some, or give another folder"
        ) from error


def export(args, checkpoint, source, part, dtype):
    """Write the model into `part` and compare it with the trained one. Returns the Check; exits with 1 if it is not good."""
    codec, device = checkpoint.codec, checkpoint.device
    talks, prompts = draw_prompts(args, codec, checkpoint.positions)
    trained = trained_answers(source, codec, args, dtype, device, prompts)
    with room(part):
        write(source, part, codec, args, dtype)
    found = check(part, codec, args, dtype, device, talks, prompts, trained)
    found.show()
    if not found.good:
        print(
            f"error: the exported model does not answer as the trained one does; it is left in {part}",
            file=sys.stderr,
            flush=True,
        )
        sys.exit(1)
    return found


def describe(part, title, codec, origins, settings, found):
    """Card, licence, and the record by which the same export is known again."""
    template = codec.tokenizer.apply_chat_template(
        [{"role": "user", "content": "{prompt}"}], tokenize=False, add_generation_prompt=True
    )
    versions = program.versions()
    how = {
        "weights": settings["dtype"],
        "KoRLHF": __version__,
        **{name: versions[name] for name in ("torch", "transformers", "peft")},
    }
    base, licence_id = settings["base_model"], settings["license"]
    card = provenance.card(title, origins, base, licence_id, template, how, found.lines())
    (part / "README.md").write_text(card, encoding="utf-8")
    (part / "LICENSE").write_text(provenance.licence_note(licence_id, base, origins) + "\n", encoding="utf-8")
    write_json(part / MARK, {"settings": settings, "check": asdict(found), "versions": versions})


def confirmed(question):
    """Whether the user says yes; no answer is no."""
    try:
        return input(question).strip().lower() in ("y", "yes", "예", "네", "ㅇ")
    except EOFError:
        return False


def run(args, push):
    """Export, and push if wanted."""
    if push.push_to_hub:
        hub.check_ready(push.push_to_hub)
    source, folder = source_of(args.model_name_or_path), Path(args.output_dir).expanduser()
    checkpoint = local.Checkpoint(source, "--model_name_or_path", args.prompt_template, "fp32", args.trust_remote_code)
    dtype, origins = dtype_of(args, source), provenance.chain(source)
    licence_id, where = provenance.licence(origins, args.license)
    settings = {
        "model": checkpoint.fingerprint,
        "dtype": dtype,
        "prompt_template": args.prompt_template,
        "license": licence_id,
        "base_model": args.base_model or origins[-1].name,
    }
    if claim(folder, source, settings, args.overwrite):
        print(f"licence {licence_id} (from {where}); base model {settings['base_model']}", flush=True)
        part = new_folder(folder)
        found = export(args, checkpoint, source, part, dtype)
        with room(part):
            describe(part, folder.resolve().name, checkpoint.codec, origins, settings, found)
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(part, folder)
        print(f"exported: {folder} ({dtype}, licence {licence_id})", flush=True)
    if push.push_to_hub:
        address = hub.push(
            folder, push.push_to_hub, push.public, licence_id, confirmed if not push.yes else (lambda _: True)
        )
        print(f"uploaded: {address}" if address else "nothing was uploaded", flush=True)


def main():
    try:
        run(*parse())
    except KeyboardInterrupt:
        print("stopped; start the same command again", file=sys.stderr, flush=True)
        sys.exit(130)


if __name__ == "__main__":
    program.run(main)
