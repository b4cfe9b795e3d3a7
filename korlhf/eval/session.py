"""The way of every program that compares answers: its output is opened, then its judges, then every responder answers
every prompt.

with session("geval", settings, records, [judge]) as s:
    ...                                # from s.answers and s.judges to s.result's figures, tables and rows
return s.result.code()
"""

import json
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from korlhf.core.errors import InputError
from korlhf.data import record
from korlhf.eval import conflicts
from korlhf.eval.flags import AnswerFlags, ResultFlags
from korlhf.eval.result import Result
from korlhf.eval.texts import say
from korlhf.judges import judge as judging
from korlhf.judges.flags import JudgingFlags
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

    def warn_of(self, judge):
        """What makes a judge doubtful; once it has judged."""
        for line in [*conflicts.of(judge, self.result.figures["responders"]), *judge.warnings()]:
            self.result.warn(line)


@contextmanager
def session(program, settings, records, judges=(), inputs=(), name="", answer=responders.answers):
    """A Session. settings: dataclasses of flags, of which the shared ones are read here; judges: texts of --judge;
    inputs: other files and folders that are read; name: of the result's files; answer: what answers, as
    responders.answers does. Raises InputError for judges and responders that cannot be had, before anything is paid
    for."""
    files, asked, sampler, llm_flags = (_part(settings, k) for k in (ResultFlags, AnswerFlags, SamplerFlags, LlmFlags))
    of_judges = {text: judging.read_name(text) for text in judges if text != RULES}
    folders = [model for kind, model, _ in of_judges.values() if kind != "openai"]
    cache_path = llm_flags.cache or Path(files.output_dir).expanduser() / "cache.sqlite"  # shared in the folder
    with (
        Result(program, files.output_dir, settings, [*asked.data_path, *folders, *inputs], name) as result,
        Cache(cache_path) as cache,
    ):
        opened = dict.fromkeys(judges)
        for text in of_judges:
            flags = _part(settings, JudgingFlags)
            opened[text] = judging.open_judge(text, flags, sampler, llm_flags, cache, result.usage)
        who = responders.read_responders(asked.responder, llm_flags.base_url)
        setup = _setup(result, asked, sampler, llm_flags, cache)
        answers = _answers(result, records, asked, who, partial(answer, setup=setup))
        yield Session(result, cache, records, answers, opened)


def _part(settings, kind):
    return next(one for one in settings if isinstance(one, kind))


def baseline(name, answers):
    """The responder that the others are compared with: `name`, or the first. Raises InputError if there is none of that
    name."""
    if name and name not in answers:
        raise InputError(f"--baseline {name}: no such responder; there are {', '.join(answers)}")
    return name or next(iter(answers))


def _setup(result, asked, sampler, llm_flags, cache):
    sampling = checkpoint.Sampling(asked.temperature, asked.top_p, asked.max_new_tokens, result.settings["seed"])
    return responders.Setup(sampling, asked.num_answers, sampler, llm_flags, cache, result.usage)


def _answers(result, records, asked, who, answer):
    """Answers of every --responder, their settings noted in the result's protocol."""
    n, tokens = asked.num_answers, asked.max_new_tokens
    system = responders.read_system(asked.system, "--system") if asked.system else ""
    answers, how = answer(who, records, system=system)
    result.inputs += [r.model for r in who if r.kind != "server"]
    result.figures["responders"] = how
    drawn = "result.greedy" if asked.temperature == 0 else "result.sampled"
    drawn = say(drawn, temperature=asked.temperature, top_p=asked.top_p)
    result.protocol["prompts"] = say("result.prompts", n=len(records), names=", ".join(asked.data_path))
    result.protocol["decoding"] = say("result.decoding", drawn=drawn, tokens=tokens, n=n)
    if files := ", ".join(r.name for r in who if r.kind == "file"):
        result.protocol["from files"] = say("result.from_files", names=files)
    if templates := {name: h["template"] for name, h in how.items() if "template" in h}:
        result.protocol["template"] = template_line(templates)
    if system:
        result.protocol["system"] = system
    result.protocol["seed"] = result.settings["seed"]
    for name, by_record in answers.items():
        every = [reply for of_record in by_record for reply in of_record]
        result.lost(name, every)
        replies = [reply for reply in every if isinstance(reply, Reply)]
        empty, cut = sum(not r.text for r in replies), sum(r.finish_reason == "length" for r in replies)
        if empty > MUCH_EMPTY * len(replies):
            result.warn(say("result.empty", name=name, empty=empty, n=len(replies)))
        if cut > MUCH_CUT * len(replies):
            result.warn(say("result.cut", name=name, cut=cut, n=len(replies), tokens=tokens))
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


template_of = responders.template_of


def template_line(templates):
    """{model: template_of} on one line, once if they are all alike."""
    shown = {name: json.dumps(template, ensure_ascii=False) for name, template in templates.items()}
    if len(set(shown.values())) == 1:
        return next(iter(shown.values()))
    return "; ".join(f"{name}: {template}" for name, template in shown.items())


def rows(session, more=lambda place: {}, **columns):
    """Lines that show answers (korlhf/eval/result.py), one per record.

    Next to the text of the answer at a place, (responder, number of the record, of the answer), stand more(place), a
    dict, and of columns, {key: {responder: for each record a list with a value per answer}}, its values.
    """
    out = []
    for i, one in enumerate(session.records):
        answers = {
            name: [
                {**shown(reply), **{key: of[name][i][k] for key, of in columns.items()}, **more((name, i, k))}
                for k, reply in enumerate(by_record[i])
            ]
            for name, by_record in session.answers.items()
        }
        head = {"id": one["id"], "category": one["category"], "messages": record.messages(one)}
        out.append({**head, "answers": answers})
    return out


def shown(reply):
    if isinstance(reply, Failure):
        return {"text": None, "failed": f"{reply.kind}: {reply.reason}"}
    return {"text": reply.text, "finish_reason": reply.finish_reason, "tokens": reply.answer_tokens}
