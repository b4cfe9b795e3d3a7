"""Records with prompts -> the same records with answers of one or more models, side by side as `candidates`, or one as
`output`.

Servers are asked through korlhf/llm/client.py, local checkpoints sample through korlhf/llm/checkpoint.py; both keep
every answer in the cache. The text of an answer is stripped and otherwise left as it is.
Left out: judging the answers (score.py) and choosing among them (rank.py).
"""

from dataclasses import asdict, dataclass, replace

from korlhf.core import flags, program
from korlhf.core.errors import InputError
from korlhf.core.flags import REQUIRED, flag, seed_flag
from korlhf.data import stage
from korlhf.data_prep import respond
from korlhf.llm import checkpoint, client, responders
from korlhf.llm.flags import LlmFlags, SamplerFlags


@dataclass(frozen=True, kw_only=True)
class RespondFlags:
    """answers"""

    responder: list[str] = flag(
        REQUIRED,
        "who answers: [NAME=]openai:MODEL[@BASE_URL], or [NAME=]FOLDER or hub name of a checkpoint; "
        "NAME is recorded with the answers (default: MODEL, or the folder's name)",
    )
    num_answers: int = flag(0, "answers per prompt and responder; 0 = 2, or 1 with --as_output", low=0)
    as_output: bool = flag(False, "the one responder's one answer becomes `output`, for SFT; earlier outputs stay")
    temperature: float = flag(0.7, "sampling temperature; 0 = greedy", low=0)
    top_p: float = flag(1.0, "nucleus sampling; 1 = off", above=0, high=1)
    max_new_tokens: int = flag(256, "longest answer in tokens; one that is cut off has finish_reason length", above=0)
    seed: int = seed_flag("seed of the answers; each request to a server carries one of its own")
    system: str = flag("", "system message, a text or a UTF-8 file, for prompts that have none of their own")
    system_by_category: list[str] = flag([], "system messages of single categories instead: CATEGORY=FILE")
    max_failed: float = flag(
        0.05, "if a larger share of the answers failed, exit with code 3 after writing everything", low=0, high=1
    )

    @property
    def answers(self):
        """To each prompt, by each responder."""
        return self.num_answers or (1 if self.as_output else 2)

    def check(self, parser):
        if self.as_output and (self.num_answers > 1 or len(self.responder) > 1):
            parser.error("--as_output takes one answer of one responder; give one --responder and no --num_answers")
        if self.answers > 1 and self.temperature == 0:
            n = f"--num_answers {self.answers}"
            parser.error(f"{n}: greedy answers are all the same; set --temperature, e.g. 0.7")


def main(argv=None):
    groups = (stage.StageFlags, RespondFlags, SamplerFlags, LlmFlags)
    files, args, sampler, llm = flags.parse(argv, "Answers of models to the prompts of records", *groups)
    args = replace(args, num_answers=args.answers)
    who = responders.read_responders(args.responder, llm.base_url)
    for r in who:
        if r.kind == "file":
            raise InputError(f"--responder {r.model}: a file writes no answers; give openai:MODEL, or a checkpoint")
    found = respond.read_records(files.input)
    categories = list(dict.fromkeys(record["category"] for record in found))
    systems = respond.read_systems(args.system, args.system_by_category, categories)
    sampling = checkpoint.Sampling(args.temperature, args.top_p, args.max_new_tokens, args.seed)
    answers = respond.Answers(who, args.as_output, sampling, systems)
    talks = [answers.messages(record) for record in found if not answers.left_alone(record)]
    local = responders.open_checkpoints(who, sampler)
    settings = {**asdict(args), **asdict(sampler), "base_url": llm.base_url}
    with stage.Stage("respond", files.output, settings, files.input) as out, client.open_cache(llm, out.path) as cache:
        servers = responders.open_clients(llm, list(dict.fromkeys(r.url for r in who if r.url)), cache)
        replies = responders.ask_servers(servers, who, talks, sampling, args.num_answers)
        for name, model in local.items():
            replies[name] = checkpoint.answers(
                model, talks, cache, sampling, args.num_answers, sampler.batch_size, name
            )
        answers.write(found, replies, out)
        out.extra["usage"] = next((server.usage for server in servers.values()), {})
        out.extra["responders"] = {r.name: {"model": r.model, "url": r.url} for r in who if r.url} | {
            name: {"model": c.path, "fingerprint": c.fingerprint, "dtype": c.dtype} for name, c in local.items()
        }
        out.extra["systems"] = {respond.system_sha(t): t[0]["content"] for t in talks if respond.system_sha(t)}
    return program.exit_code(out.failures, len(talks) * len(who) * args.num_answers, args.max_failed)


if __name__ == "__main__":
    program.run(main, stage.RESUMES)
