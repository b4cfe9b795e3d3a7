"""A GGUF file (llama.cpp, LM Studio, Ollama) -> a model folder that every program here reads.

The quantised weights are made whole again, not better: what the quantisation lost stays lost. Left out: vision parts
(mmproj files), architectures that transformers does not read, files that llama-gguf-split cut (merge them with it).
"""

from dataclasses import dataclass

from korlhf.core import flags, program


@dataclass(frozen=True, kw_only=True)
class GgufFlags:
    """import"""

    gguf: list[str] = flags.flag(flags.REQUIRED, "a GGUF file, or its pieces in their order, which are joined")
    output_dir: str = flags.flag(flags.REQUIRED, "where the model goes: a new or empty folder", output="folder")
    dtype: str = flags.flag("fp32", "of the weights that are written", choices=["fp32", "bf16", "fp16"])


def main(argv=None):
    (args,) = flags.parse(argv, "Import a GGUF file", GgufFlags)
    from korlhf.applications.export import gguf

    paths, folder = gguf.check_files(args.gguf), gguf.check_target(args.output_dir)
    with program.slow_imports():
        from korlhf.applications.export import gguf_model

    gguf_model.run(paths, folder, args.dtype)


if __name__ == "__main__":
    program.run(main, "stopped; nothing is kept: the same command starts over")
