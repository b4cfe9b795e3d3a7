"""The way of an export: the trained model's answers, the new folder, the same questions to it, its card, its name,
the hub."""

import sys
from pathlib import Path

from korlhf import __version__
from korlhf.applications.export import card, check, folder, hub, model
from korlhf.core import program
from korlhf.core.ai_mark import CARD
from korlhf.core.files import write_json
from korlhf.llm.checkpoint import Checkpoint
from korlhf.training import provenance


def run(args, push, notice):
    """Export, and push if wanted. args, push: flags of the program; notice: of the card. Exit code: 1 if the exported
    model does not answer as the trained one."""
    if push.push_to_hub:
        hub.check_ready(push.push_to_hub)
    source, target = folder.source_of(args.model_name_or_path), Path(args.output_dir).expanduser()
    checkpoint = Checkpoint(source, "--model_name_or_path", args.prompt_template, "fp32", args.trust_remote_code)
    origins = provenance.chain(source)
    licence_id, where = provenance.licence(origins, args.license)
    settings = {
        "model": checkpoint.fingerprint,
        "dtype": model.dtype_of(source, args.dtype, args.trust_remote_code),
        "prompt_template": args.prompt_template,
        "license": licence_id,
        "base_model": args.base_model or origins[-1].name,
    }
    if notice != CARD:
        settings["notice"] = notice
    if folder.claim(target, source, settings, args.overwrite):
        print(f"licence {licence_id} (from {where}); base model {settings['base_model']}", flush=True)
        if not export(args, checkpoint, target, origins, settings, notice):
            return 1
        print(f"exported: {target} ({settings['dtype']}, licence {licence_id})", flush=True)
    if push.push_to_hub:
        address = hub.push(target, push.push_to_hub, push.public, licence_id, push.yes)
        print(f"uploaded: {address}" if address else "nothing was uploaded", flush=True)
    return 0


def export(args, checkpoint, target, origins, settings, notice):
    """Whether the folder is written: only if it answers as the trained model does."""
    dtype, base, licence_id = (settings[name] for name in ("dtype", "base_model", "license"))
    with folder.part_of(target) as part:
        conversations = check.draw(args, checkpoint)
        trained = check.trained_answers(checkpoint, dtype, conversations, args.max_new_tokens)
        model.write(checkpoint, part, dtype)
        result = check.check(part, checkpoint, dtype, conversations, trained, args.max_new_tokens)
        check.show(result)
        if any(found["first"] for found in result["must"].values()):
            print(
                f"error: the exported model does not answer as the trained one does; it is left in {part}",
                file=sys.stderr,
                flush=True,
            )
            return False
        prompt = [{"role": "user", "content": "{prompt}"}]
        template = checkpoint.codec.tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
        versions = program.versions()
        how = {"weights": dtype, "KoRLHF": __version__}
        how |= {name: versions[name] for name in ("torch", "transformers", "peft")} | check.lines(result)
        samples = check.samples(checkpoint.codec, conversations, trained[dtype])
        names = base, licence_id
        card.card(target.resolve().name, origins, names, template, how, samples, notice).save(part / "README.md")
        (part / "LICENSE").write_text(card.licence_note(licence_id, base, origins) + "\n", encoding="utf-8")
        made = {"settings": settings, "trainings": provenance.trainings(origins), "check": result, "versions": versions}
        write_json(part / folder.MARK, made)
        folder.finish(part, target)
    return True
