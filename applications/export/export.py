"""A trained model -> a folder that others can use: LoRA merged, one dtype, safetensors, card, licence, template,
generation settings.

The folder takes its name only after a check: its greedy answers must be those of the trained model, token by token,
by the sampler of the trainings and by plain transformers. `--push_to_hub` then uploads it, private unless told
otherwise, after it has shown what and asked. Left out: other formats than safetensors
(to_gguf.py makes GGUF of such a folder)."""

from dataclasses import dataclass

from korlhf.applications.export.folder import source_of
from korlhf.core import flags, program
from korlhf.core.ai_mark import CARD, NoticeFlags
from korlhf.models.folders import check_inputs

STOPPED = "stopped; the same command starts over, but does not make a finished export again"


@dataclass(frozen=True, kw_only=True)
class ExportFlags:
    """export"""

    model_name_or_path: str = flags.flag(
        flags.REQUIRED, "a folder of step 1 or 3, or a LoRA folder (a step's adapter/, or of peft)"
    )
    output_dir: str = flags.flag(
        flags.REQUIRED, "where the exported model goes: a new or empty folder", output="folder"
    )
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
    check_data_path: list[str] = flags.flag(
        ["sample/heldout_prompts"],
        "datasets whose prompts the check asks; three of them, with their answers, go on the card",
    )
    check_prompts: int = flags.flag(20, "how many prompts the check asks, drawn at random", above=0)
    max_new_tokens: int = flags.flag(64, "longest answer of the check", above=0)
    seed: int = flags.seed_flag("seed of the draw of prompts")
    trust_remote_code: bool = flags.flag(False, "run Python code that comes with a hub model")


@dataclass(frozen=True, kw_only=True)
class PushFlags:
    """upload to the hub"""

    push_to_hub: str = flags.flag(
        "", "OWNER/NAME of a repository, made if there is none, that the exported folder is uploaded to"
    )
    public: bool = flags.flag(False, "let everyone read it; not given = private")
    yes: bool = flags.flag(False, "upload without asking")

    def check(self, parser):
        if (self.public or self.yes) and not self.push_to_hub:
            parser.error("--public and --yes are for an upload: give --push_to_hub OWNER/NAME, or delete them")


def main(argv=None):
    args, notice, push = flags.parse(argv, "Export a trained model", ExportFlags, NoticeFlags, PushFlags)
    told = notice.told(CARD)
    check_inputs(args.check_data_path, [("--model_name_or_path", source_of(args.model_name_or_path))])
    from korlhf.applications.export import export

    return export.run(args, push, told)


if __name__ == "__main__":
    program.run(main, STOPPED)
