"""What PPO breaks first: varied answers, answers that end, Korean that is still likely, and staying near the model that
it came from.

Of answers (of checkpoints, servers, files): distinct n-grams, phrases that come again under other prompts, repetition,
length, EOS. Of checkpoints: KL to a reference model on their own answers, and how likely held-out text still is to
them. Left out: whether an answer is any good (geval.py, win_rate.py).
"""

from dataclasses import dataclass

from korlhf.core import program
from korlhf.core.flags import flag, parse
from korlhf.data import load, record
from korlhf.data.prompts import prompts
from korlhf.eval import reference
from korlhf.eval.flags import AnswerFlags, ResultFlags
from korlhf.eval.session import session
from korlhf.eval.texts import say
from korlhf.llm import responders
from korlhf.llm.checkpoint import Checkpoint
from korlhf.llm.flags import LlmFlags, SamplerFlags


@dataclass(frozen=True, kw_only=True)
class DiversityFlags:
    """comparison"""

    reference: str = flag(
        "",
        "the model that the others are compared with: a responder's name or folder, or the folder of another "
        "checkpoint (for KL and held-out text only); not given = the responder called sft, else the first. No warning "
        "says that a responder before the reference, or a model that it was trained from, has drifted from it",
    )
    heldout_data_path: list[str] = flag(
        ["sample/heldout_sft"],
        "held-out answers, or plain documents, whose perplexity is measured: dataset names or files; of one that "
        "has an evaluation split, that split",
    )
    max_heldout: int = flag(0, "at most this many of those, drawn with the categories' shares kept; 0 = all", low=0)
    max_seq_len: int = flag(
        1024, "longest held-out example in tokens of any model; longer ones are left out and counted", above=0
    )
    forward_batch_size: int = flag(16, "sequences in a forward pass of KL and perplexity", above=0)
    max_kl: float = flag(20.0, "warn above this KL per answer (nats)", above=0)


def main(argv=None):
    groups = ResultFlags, DiversityFlags, AnswerFlags, SamplerFlags, LlmFlags
    settings = parse(argv, "Diversity of answers, KL and perplexity: what PPO breaks first", *groups)
    files, args, asked, sampler, llm_flags = settings
    who = responders.read_responders(asked.responder, llm_flags.base_url)
    other = reference.find(args.reference, who)
    load.check_names([*asked.data_path, *args.heldout_data_path])
    opened = responders.open_checkpoints(who, sampler)
    if other.folder:
        how = sampler.prompt_template, sampler.dtype, sampler.trust_remote_code
        opened[other.name] = Checkpoint(other.folder, "--reference", *how)
    from korlhf.eval import comparison, diversity_report, weights, weights_report

    records = prompts(asked.data_path, asked.max_prompts, files.seed)
    examples = weights.load_heldout(args.heldout_data_path, args.max_heldout, files.seed) if opened else []
    system = responders.read_system(asked.system, "--system") if asked.system else ""
    talks = [responders.with_system(record.messages(r), system) for r in records]
    with session("diversity", settings, records, inputs=filter(None, [other.folder])) as s:
        how = say("diversity.reference_answers" if other.answers else "diversity.reference_outside")
        s.result.protocol["reference"] = say("diversity.reference", name=other.name, how=how)
        s.result.protocol["intervals"] = say("diversity.intervals")
        if len(records) < comparison.FEW:
            s.result.warn(say("diversity.few", n=len(records), least=comparison.FEW))
        diversity_report.tables(s.result, s.answers, other)
        s.result.rows = diversity_report.rows(s)
        if opened:
            weights_report.tables(s, opened, examples, talks, other, args)
    return s.result.code()


if __name__ == "__main__":
    program.run(main, "stopped; start the same command again to resume: answers that arrived are in the cache")
