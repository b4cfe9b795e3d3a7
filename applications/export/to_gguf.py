"""A model folder -> a GGUF file for llama.cpp and Ollama, with a Modelfile that carries template and stop token.

llama.cpp's own converter does the work (korlhf/applications/export/to_gguf.py). Where llama.cpp itself is installed it
reads the file, writes out prompts, cuts them into tokens and answers them, and the tokens are compared with the trained
model's: the folder takes its name only if the prompts are the same. Left out: quantisation below 8 bits."""

from dataclasses import dataclass

from korlhf.applications.export import to_gguf
from korlhf.core import flags, program
from korlhf.models.folders import check_inputs

STOPPED = "stopped; the same command starts over, but does not make a finished file again"


@dataclass(frozen=True, kw_only=True)
class GgufFlags:
    """GGUF"""

    model_name_or_path: str = flags.flag(
        flags.REQUIRED, "folder of a whole model: of export.py, or of step 1 or 3 (a LoRA folder has to be exported)"
    )
    output_dir: str = flags.flag(flags.REQUIRED, "where file and Modelfile go: a new or empty folder", output="folder")
    overwrite: bool = flags.flag(False, "replace an earlier GGUF in --output_dir")
    outtype: str = flags.flag("f16", "of the weights in the file", choices=to_gguf.OUTTYPES)
    check_data_path: list[str] = flags.flag(["sample/heldout_prompts"], "datasets whose prompts the check asks")
    check_prompts: int = flags.flag(20, "how many prompts the check asks, drawn at random", above=0)
    max_new_tokens: int = flags.flag(64, "longest answer of the check", above=0)
    seed: int = flags.seed_flag("seed of the draw of prompts")
    trust_remote_code: bool = flags.flag(False, "run Python code that comes with a model")


def main(argv=None):
    (args,) = flags.parse(argv, "A model as GGUF, for llama.cpp and Ollama", GgufFlags)
    check_inputs(args.check_data_path, [("--model_name_or_path", args.model_name_or_path)])
    to_gguf.check_installed()
    from korlhf.applications.export import llama_cpp

    return llama_cpp.run(args)


if __name__ == "__main__":
    program.run(main, STOPPED)
