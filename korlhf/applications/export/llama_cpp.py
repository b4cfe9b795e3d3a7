"""The way to a GGUF file: the converter, then llama.cpp's own reading of it, compared with the trained model's.

By the package xllamacpp, because it has wheels for CPUs; llama-cpp-python has to be compiled."""

import os
import sys
from pathlib import Path

import httpx2

from korlhf.applications.export import check, folder, model, ollama, to_gguf
from korlhf.core import program, progress
from korlhf.core.errors import InputError
from korlhf.core.files import write_json
from korlhf.llm.checkpoint import Checkpoint

INSTALL = "pip install xllamacpp"


def run(args):
    """Convert and check. args: flags of the program. Exit code: 1 if llama.cpp writes prompts otherwise."""
    source, target = Path(args.model_name_or_path).expanduser(), Path(args.output_dir).expanduser()
    if not (source / "config.json").is_file():
        raise InputError(f"--model_name_or_path {source}: no whole model; make one with applications/export/export.py")
    checkpoint = Checkpoint(str(source), "--model_name_or_path", "chat", "fp32", args.trust_remote_code)
    settings = {"model": checkpoint.fingerprint, "outtype": args.outtype}
    if not folder.claim(target, str(source), settings, args.overwrite):
        return 0
    with folder.part_of(target) as part:
        name = f"{target.resolve().name}-{args.outtype}.gguf"
        to_gguf.convert(source, part / name, args.outtype)
        result = compare(part / name, checkpoint, args)
        if result and result["same_ids"] < result["n"]:
            print(f"error: llama.cpp cuts prompts into other tokens; the file is left in {part}", file=sys.stderr)
            return 1
        licence = source / "LICENSE"
        text = licence.read_text(encoding="utf-8").strip() if licence.is_file() else ""
        tokenizer = checkpoint.codec.tokenizer
        stop = tokenizer.convert_ids_to_tokens(checkpoint.codec.eos_token_id)
        made = ollama.modelfile(name, tokenizer.chat_template, stop, checkpoint.positions, text)
        (part / "Modelfile").write_text(made, encoding="utf-8")
        write_json(part / folder.MARK, {"settings": settings, "check": result, "versions": program.versions()})
        folder.finish(part, target)
    print(f"written: {target / name}; for Ollama: ollama create NAME -f {target}/Modelfile")
    return 0


def compare(path, checkpoint, args):
    """What llama.cpp makes of prompts of --check_data_path: {"n", "same_ids": prompts that it writes out and cuts into
    the trained model's tokens, "same": greedy answers that are transformers' (fp32), token by token}; None without
    llama.cpp."""
    try:
        import xllamacpp  # noqa: F401
    except ImportError:
        print(f"WARNING: not checked, for llama.cpp is not installed; {INSTALL}, and run this again with --overwrite")
        return None
    conversations, codec = check.draw(args, checkpoint), checkpoint.codec
    ids, end = [codec.prompt(messages).ids for messages in conversations], codec.eos_token_id
    lm = model.load(checkpoint.path, checkpoint, "fp32")
    expected = check.plain_greedy(lm, ids, args.max_new_tokens, "transformers, fp32")
    engine = Engine(path, max(map(len, ids)) + args.max_new_tokens + 8)
    read = [engine.prompt(messages) for messages in conversations]
    with progress.bar(ids, desc="llama.cpp", unit="answers") as bar:
        found = [engine.greedy(tokens, args.max_new_tokens) for tokens in bar]
    same = sum(_without(a, end) == _without(b, end) for a, b in zip(found, expected, strict=True))
    result = {"n": len(ids), "same_ids": sum(a == b for a, b in zip(read, ids, strict=True)), "same": same}
    print("prompts that llama.cpp writes and tokenises as in training: {same_ids} of {n}".format(**result))
    print(f"greedy answers ({args.outtype}) equal to transformers' in fp32: " + "{same} of {n}".format(**result))
    return result


def _without(ids, end):
    return ids[: ids.index(end)] if end in ids else ids


class Engine:
    """A GGUF file in llama.cpp's server, in this process, on the CPU. positions: tokens that fit at once."""

    def __init__(self, path, positions):
        import xllamacpp

        params = xllamacpp.CommonParams()
        params.model.path, params.n_ctx, params.n_parallel = str(path), positions, 1
        params.warmup, params.n_gpu_layers, params.verbosity = False, 0, -1
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = int(os.environ.get("OMP_NUM_THREADS", 0)) or -1
        self._server = xllamacpp.Server(params)

    def _ask(self, what, values):
        reply = httpx2.post(f"{self._server.listening_address}/{what}", json=values, timeout=None)
        return reply.raise_for_status().json()

    def prompt(self, messages):
        """The ids of a conversation, written out by the template in the file as for /v1/chat/completions."""
        text = self._ask("apply-template", {"messages": messages})["prompt"]
        return self._ask("tokenize", {"content": text, "add_special": True, "parse_special": True})["tokens"]

    def greedy(self, ids, max_new_tokens):
        """The ids of a greedy answer to a prompt of ids."""
        said = {"prompt": ids, "n_predict": max_new_tokens, "temperature": 0, "return_tokens": True}
        return self._ask("completion", {**said, "cache_prompt": False})["tokens"]
