"""New everyday instructions from a few hand-written seed tasks: a model is shown some and writes more of the kind.

Rounds of a fixed number of requests. A request shows seeds and, from the second round on, some of what earlier rounds
brought; its numbered list is filtered, and what is left joins the pool that the next instruction is compared with.
Nothing depends on the order in which answers arrive, so a run that was killed resumes from the cache and ends with the
same bytes. Source: Self-Instruct (arXiv 2212.10560, section 3).
Left out: answers (respond.py writes them) and classification tasks, which have no place in everyday talk.
"""

from dataclasses import dataclass

from korlhf.core import program
from korlhf.core.flags import REQUIRED, flag, parse, seed_flag
from korlhf.data import stage
from korlhf.data_prep.generate import common, self_instruct
from korlhf.llm.flags import LlmFlags


@dataclass(frozen=True, kw_only=True)
class SelfInstructFlags:
    """generation"""

    num_instructions: int = flag(REQUIRED, "how many new instructions are wanted", above=0)
    generator: str = flag(REQUIRED, "openai:MODEL, the model that writes them")
    seeds_per_request: int = flag(
        8, "examples in a request; from the second round on a quarter are generated ones", above=0
    )
    new_per_request: int = flag(8, "new instructions asked for in a request", above=0)
    requests_per_round: int = flag(16, "requests asked side by side; their examples come from earlier rounds", above=0)
    max_rounds_without_new: int = flag(3, "give up after this many rounds in a row that brought nothing new", above=0)
    max_similarity: float = flag(
        0.7, "leave out an instruction from this ROUGE-L on with a seed or an earlier one", above=0, high=1
    )
    min_chars: int = flag(8, "shortest instruction, without spaces", above=0)
    max_chars: int = flag(150, "longest instruction, without spaces", above=0)
    temperature: float = flag(1.0, "sampling temperature", low=0)
    top_p: float = flag(1.0, "nucleus sampling; 1 = off", above=0, high=1)
    max_new_tokens: int = flag(1024, "longest answer to a request in tokens", above=0)
    seed: int = seed_flag("seed of the choice of examples; request n carries the seed SEED + n")

    def check(self, parser):
        if self.min_chars > self.max_chars:
            parser.error(
                f"--min_chars {self.min_chars}: is above --max_chars {self.max_chars}; nothing can be between them"
            )


def main(argv=None):
    groups = stage.StageFlags, SelfInstructFlags, LlmFlags
    files, args, llm = parse(argv, "Write new everyday instructions after the pattern of seeds", *groups)
    model = common.openai_model("--generator", args.generator)
    with common.asking("self_instruct", files, args, llm) as (out, client):
        harvest = self_instruct.Harvest(args, model, self_instruct.read_seeds(files.input, out), out)
        harvest.grow(client)
        out.extra["similarity"] = harvest.novelty.report()
    mean = out.extra["similarity"]["accepted"]["mean"]
    print(f"mean ROUGE-L to the nearest seed or earlier instruction: {mean}; the histogram is in the report")
    if out.rows < args.num_instructions:
        why = f"{args.max_rounds_without_new} rounds in a row brought nothing new"
        remedy = "Give more and more varied seeds, another --seed, or a higher --temperature"
        return common.too_few("--num_instructions", args.num_instructions, out.rows, f"{why}. {remedy}")
    return 0


if __name__ == "__main__":
    program.run(main, stage.RESUMES)
