"""More varied and harder instructions from given ones: each is rewritten by a mutation; what went wrong is eliminated.

Rounds: a success is what the next round evolves; where the evolution failed, the parent tries another mutation in the
next round. Which mutation a record meets depends on its id, the round and the seed, not on its place in the file. How a
mutation is asked for is in mutations.yaml. Source: WizardLM, Evol-Instruct (arXiv 2304.12244, section 3). Left out: its
judge of equal difficulty, a second request for every instruction, for which ROUGE-L with the parent stands in. Answers
are respond.py's part.
"""

from dataclasses import dataclass
from pathlib import Path

from korlhf.core import program
from korlhf.core.files import fingerprint
from korlhf.core.flags import REQUIRED, flag, parse, seed_flag
from korlhf.data import stage
from korlhf.data_prep.generate import common, evolve
from korlhf.data_prep.generate.elimination import MAX_GROWTH, MUTATIONS, SPARE_CHARS
from korlhf.llm.flags import LlmFlags

WORDING = Path(__file__).with_name("mutations.yaml")


@dataclass(frozen=True, kw_only=True)
class EvolFlags:
    """evolution"""

    generator: str = flag(REQUIRED, "openai:MODEL, the model that rewrites them")
    rounds: int = flag(
        1, "rounds; each evolves what the last one brought, and tries other mutations where it failed", above=0
    )
    num_evolved: int = flag(0, "stop at this many, spread over the rounds; 0 = one try per record and round", low=0)
    mutations: list[str] = flag(list(MUTATIONS), "which mutations are used", choices=MUTATIONS, metavar="MUTATION")
    max_similarity: float = flag(
        0.7, "eliminated from this ROUGE-L on with another instruction, given or evolved", above=0, high=1
    )
    max_parent_similarity: float = flag(
        0.9, "eliminated from this ROUGE-L on with its parent or an earlier ancestor", above=0, high=1
    )
    max_chars: int = flag(
        600,
        f"longest instruction in characters; never over {MAX_GROWTH} times its parent and {SPARE_CHARS} more",
        above=0,
    )
    temperature: float = flag(1.0, "sampling temperature", low=0)
    top_p: float = flag(1.0, "nucleus sampling; 1 = off", above=0, high=1)
    max_new_tokens: int = flag(512, "longest answer to a request in tokens; one that is cut off is eliminated", above=0)
    seed: int = seed_flag("seed of the choice of mutations and of the requests")


def main(argv=None):
    groups = stage.StageFlags, EvolFlags, LlmFlags
    files, args, llm = parse(argv, "Evolve instructions into more varied and harder ones", *groups)
    model = common.openai_model("--generator", args.generator)
    with common.asking("evol_instruct", files, args, llm, wording=fingerprint(WORDING)) as (out, client):
        wording, lines = evolve.load_wording(WORDING), evolve.read_lines(files.input, out)
        evolution = evolve.Evolution(args, wording, model, lines, out)
        evolution.run(client)
        out.extra.update(evolution.report())
    for name, outcomes in out.extra["mutations"].items():
        print(f"  {name:<19} {outcomes.get('evolved', 0):>7,} of {outcomes['asked']:,} evolved")
    if out.rows < max(args.num_evolved, 1):
        why = "the reasons are above and in the report. Give more --input, more --rounds, or another --seed"
        return common.too_few("--num_evolved", args.num_evolved, out.rows, why)
    return 0


if __name__ == "__main__":
    program.run(main, stage.RESUMES)
