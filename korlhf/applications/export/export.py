"""The way of an export: the trained model's answers, the new folder, the same questions to it, its card, its name,
the hub."""

import sys
from dataclasses import asdict
from pathlib import Path

from korlhf import __version__
from korlhf.applications.export import card, check, folder, hub, model
from korlhf.core import program
from korlhf.core.files import write_json
from korlhf.llm.checkpoint import Checkpoint
from korlhf.training import provenance


def run(args, push):
    """Export, and push if wanted. args, push: flags of the program. Exit code: 1 if the exported model does not
    answer as the trained one."""
    if push.push_to_hub:
        hub.check_ready(push.push_to_hub)
    source, target = model.source_of(args.model_name_or_path), Path(args.output_dir).expanduser()
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
    if folder.claim(target, source, settings, args.overwrite):
        print(f"licence {licence_id} (from {where}); base model {settings['base_model']}", flush=True)
        if not export(args, checkpoint, target, origins, settings):
            return 1
        print(f"exported: {target} ({settings['dtype']}, licence {licence_id})", flush=True)
    if push.push_to_hub:
        ask = (lambda _: True) if push.yes else confirmed
        address = hub.push(target, push.push_to_hub, push.public, licence_id, ask)
        print(f"uploaded: {address}" if address else "nothing was uploaded", flush=True)
    return 0


def export(args, checkpoint, target, origins, settings):
    """Whether the folder is written: only if it answers as the trained model does."""
    part, dtype = folder.begin(target), settings["dtype"]
    questions = check.draw(args, checkpoint)
    trained = check.trained_answers(checkpoint, dtype, questions)
    with folder.room(part):
        model.write(checkpoint, part, dtype)
    result = check.check(part, checkpoint, dtype, questions, trained)
    result.show()
    if not result.good:
        print(
            f"error: the exported model does not answer as the trained one does; it is left in {part}",
            file=sys.stderr,
            flush=True,
        )
        return False
    with folder.room(part):
        describe(part, target.resolve().name, checkpoint.codec, origins, settings, result)
    folder.finish(part, target)
    return True


def describe(part, title, codec, origins, settings, result):
    """Card, licence, and the record by which the same export is known again."""
    prompt = [{"role": "user", "content": "{prompt}"}]
    template = codec.tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
    versions, base, licence_id = program.versions(), settings["base_model"], settings["license"]
    libraries = {name: versions[name] for name in ("torch", "transformers", "peft")}
    how = {"weights": settings["dtype"], "KoRLHF": __version__, **libraries, **result.lines()}
    card.card(title, origins, base, licence_id, template, how).save(part / "README.md")
    (part / "LICENSE").write_text(card.licence_note(licence_id, base, origins) + "\n", encoding="utf-8")
    write_json(part / folder.MARK, {"settings": settings, "check": asdict(result), "versions": versions})


def confirmed(question):
    """Whether the user says yes; no answer is no."""
    try:
        return input(question).strip().lower() in ("y", "yes", "예", "네", "ㅇ")
    except EOFError:
        return False
