"""The way of every program that compares answers: its output is opened, then its judges, then every responder answers
every prompt.

with session("geval", settings, records, [judge]) as s:
    ...                                # from s.answers and s.judges to s.result's figures, tables and rows
return s.result.code()
"""

import dataclasses
import json
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from korlhf.core.errors import InputError
from korlhf.data import record
from korlhf.eval import conflicts
from korlhf.eval.flags import AnswerFlags, ResultFlags
from korlhf.eval.result import Result
from korlhf.eval.texts import say
from korlhf.judges import judge as judging
from korlhf.judges.flags import JudgeFlags, JudgingFlags
from korlhf.llm import checkpoint, responders
from korlhf.llm.cache import Cache
from korlhf.llm.flags import LlmFlags, SamplerFlags
from korlhf.llm.protocol import Failure, Reply

RULES = "rules"  # in place of a judge: the written check, which is no model
MUCH_EMPTY, MUCH_CUT = 0.05, 0.1  # share of a model's answers


@dataclass(frozen=True)
class Session:
    """records: of korlhf.data.record; answers: {responder: for each record a list of llm.Reply or llm.Failure}; judges:
    {--judge: of open_judge, None for the written rules}."""

    result: Result
    cache: Cache
    records: list
    answers: dict
    judges: dict

    @property
    def seed(self):
        return self.result.settings["seed"]

    def lost(self, what, verdicts):
        """Count what was asked of a judge, and warn of the llm.Failures among it."""
        self.result.attempted += len(verdicts)
        self.result.lost(what, [verdict for verdict in verdicts if isinstance(verdict, Failure)])

    def warn_of(self, judge):
        """What makes a judge doubtful; once it has judged."""
        for line in [*conflicts.of(judge, self.result.figures["responders"]), *judge.warnings()]:
            self.result.warn(line)


@contextmanager
def session(program, settings, records, judges=(), inputs=()):
    """A Session. settings: dataclasses of flags, of which the shared ones are read here; judges: texts of --judge;
    inputs: other files and folders that are read. Raises InputError for judges and responders that cannot be had,
    before anything is paid for."""
    files, asked, sampler, llm_flags = (_part(settings, k) for k in (ResultFlags, AnswerFlags, SamplerFlags, LlmFlags))
    of_judges = [path for text in judges if text != RULES for path in judging.inputs(text)]
    cache_path = llm_flags.cache or Path(files.output_dir).expanduser() / "cache.sqlite"  # shared in the folder
    with (
        Result(program, files.output_dir, settings, [*asked.data_path, *of_judges, *inputs]) as result,
        Cache(cache_path) as cache,
    ):
        opened = {}
        for text in judges:
            if text == RULES:
                opened[text] = None
                continue
            judging_flags = _part(settings, JudgingFlags)
            values = {f.name: getattr(judging_flags, f.name) for f in dataclasses.fields(JudgingFlags)}
            opened[text] = judging.open_judge(JudgeFlags(judge=text, **values), sampler, llm_flags, cache, result.usage)
        answers = _answers(result, records, asked, sampler, llm_flags, cache)
        yield Session(result, cache, records, answers, opened)


def _part(settings, kind):
    return next(one for one in settings if isinstance(one, kind))


def baseline(name, answers):
    """The responder that the others are compared with: `name`, or the first. Raises InputError if there is none of that
    name."""
    if name and name not in answers:
        raise InputError(f"--baseline {name}: no such responder; there are {', '.join(answers)}")
    return name or next(iter(answers))


def _answers(result, records, asked, sampler, llm_flags, cache):
    """Answers of every --responder, their settings noted in the result's protocol."""
    who = responders.read_responders(asked.responder, llm_flags.base_url)
    seed = result.settings["seed"]
    sampling = checkpoint.Sampling(asked.temperature, asked.top_p, asked.max_new_tokens, seed)
    system = responders.read_system(asked.system, "--system") if asked.system else ""
    setup = responders.Setup(sampling, asked.num_answers, sampler, llm_flags, cache, result.usage)
    answers, how = responders.answers(who, records, setup, system)
    result.inputs += [r.model for r in who if r.kind != "server"]
    result.figures["responders"] = how
    drawn = "result.greedy" if asked.temperature == 0 else "result.sampled"
    result.protocol.update(
        {
            "prompts": say("result.prompts", n=len(records), names=", ".join(asked.data_path)),
            "decoding": say(
                "result.decoding",
                drawn=say(drawn, temperature=asked.temperature, top_p=asked.top_p),
                tokens=asked.max_new_tokens,
                n=asked.num_answers,
            ),
        }
    )
    if files := ", ".join(r.name for r in who if r.kind == "file"):
        result.protocol["from files"] = say("result.from_files", names=files)
    if templates := {name: h["template"] for name, h in how.items() if "template" in h}:
        result.protocol["template"] = template_line(templates)
    if system:
        result.protocol["system"] = system
    result.protocol["seed"] = seed
    for name, by_record in answers.items():
        replies = [reply for of_record in by_record for reply in of_record]
        result.attempted += len(replies)
        result.lost(name, [reply for reply in replies if isinstance(reply, Failure)])
        _warn_of_empty_and_cut(result, name, [reply for reply in replies if isinstance(reply, Reply)])
    return answers


def open_models(texts, open_model):
    """{name: open_model(path)} of --model_name_or_path, [NAME=]FOLDER or hub name. Raises InputError for two alike."""
    models, flag = {}, "--model_name_or_path"
    for text in texts:
        named = responders.NAMED.fullmatch(text)
        path = str(Path(named["model"] if named else text).expanduser())
        name = named["name"] if named else Path(path).resolve().name if Path(path).is_dir() else path
        if name in models:
            raise InputError(f"{flag}: two are called {name!r}; name each, e.g. {flag} first=... second=...")
        models[name] = open_model(path)
    return models


def template_of(codec):
    """The chat template of a data.tokenize.Codec, as it writes out a prompt."""
    messages = [{"role": "user", "content": "{prompt}"}]
    return codec.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)


def template_line(templates):
    """{model: template_of} on one line, once if they are all alike."""
    shown = {name: json.dumps(template, ensure_ascii=False) for name, template in templates.items()}
    if len(set(shown.values())) == 1:
        return next(iter(shown.values()))
    return "; ".join(f"{name}: {template}" for name, template in shown.items())


def _warn_of_empty_and_cut(result, name, replies):
    """Warn of answers that are empty, or end where --max_new_tokens does."""
    n, empty, cut = len(replies), sum(not r.text for r in replies), sum(r.finish_reason == "length" for r in replies)
    if empty > MUCH_EMPTY * n:
        result.warn(say("result.empty", name=name, empty=empty, n=n))
    if cut > MUCH_CUT * n:
        result.warn(say("result.cut", name=name, cut=cut, n=n, tokens=result.settings["max_new_tokens"]))


def rows(session, **more):
    """Lines that show answers (korlhf/eval/result.py), one per record.

    more: {key: {responder: for each record a list with a value per answer}}, put next to each answer's text.
    """
    out = []
    for i, of_prompt in enumerate(session.records):
        shown = {
            name: [
                {**_shown(reply), **{key: values[name][i][k] for key, values in more.items()}}
                for k, reply in enumerate(by_record[i])
            ]
            for name, by_record in session.answers.items()
        }
        out.append(
            {
                "id": of_prompt["id"],
                "category": of_prompt["category"],
                "messages": record.messages(of_prompt),
                "answers": shown,
            }
        )
    return out


def _shown(reply):
    if isinstance(reply, Failure):
        return {"text": None, "failed": f"{reply.kind}: {reply.reason}"}
    return {"text": reply.text, "finish_reason": reply.finish_reason, "tokens": reply.answer_tokens}
