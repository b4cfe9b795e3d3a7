"""What every program of eval/ does around its figures: which prompts, and files that the report can read.

A result is OUTPUT_DIR/PROGRAM.json (warnings, tables, how it was measured, figures, settings, what was read) and OUTPUT_DIR/PROGRAM.jsonl
(one line an item). A line that shows answers has {"id", "category", "messages", "answers": {model: [{"text", ...}]}}: lines of several
programs with the same id are shown as one.
"""

import dataclasses
import fcntl
import json
import os
import time
from pathlib import Path

from korlhf.core import tables
from korlhf.core.errors import InputError
from korlhf.core.files import fingerprint, write_json
from korlhf.core.flags import check_positive
from korlhf.core.program import exit_code
from korlhf.data import record as records
from korlhf.llm import checkpoint as local
from korlhf.llm import client as llm
from korlhf.llm import responders
from korlhf.llm.cache import Cache

MUCH_EMPTY, MUCH_CUT = 0.05, 0.1  # share of a model's answers


def check(flags, parser):
    """Refuse values of flags.AnswerFlags that cannot work; exits like argparse does."""
    check_positive({name: getattr(flags, name) for name in ("num_answers", "top_p", "max_new_tokens")}, parser)
    if flags.temperature < 0 or not 0 <= flags.max_failed <= 1 or flags.max_prompts < 0:
        parser.error("--temperature and --max_prompts must be 0 or above, --max_failed a share from 0 to 1")
    if flags.num_answers > 1 and flags.temperature == 0:
        parser.error(f"--num_answers {flags.num_answers}: greedy answers are all the same; set --temperature, e.g. 0.7")


def baseline(name, answered):
    """The responder that the others are compared with: `name`, or the first. Raises InputError if there is none of that name."""
    if name and name not in answered:
        raise InputError(f"--baseline {name}: no such responder; there are {', '.join(answered)}")
    return name or next(iter(answered))


def open_cache(llm_flags, output_dir):
    """The Cache of a run: the one that --cache names, else cache.sqlite in the result's folder, which all programs of that folder share."""
    return Cache(llm_flags.cache or Path(output_dir).expanduser() / "cache.sqlite")


def answers(result, found, flags, sampler, llm_flags, cache):
    """Answers of every --responder to the records `found`, their settings noted in the result's protocol.

    flags: flags.AnswerFlags; sampler: flags.SamplerFlags. Returns {name: for each record a list of llm.Reply or llm.Failure}; with failures
    among them the result warns. Raises InputError for responders that cannot be had.
    """
    who = responders.read_responders(flags.responder, llm_flags.base_url)
    seed = result.settings["seed"]
    sampling = local.Sampling(flags.temperature, flags.top_p, flags.max_new_tokens, seed)
    system = responders.read_system(flags.system, "--system") if flags.system else ""
    setup = responders.Setup(sampling, flags.num_answers, sampler, llm_flags, cache, result.usage)
    out, how = responders.answers(who, found, setup, system)
    result.inputs += [r.model for r in who if r.kind != "server"]
    result.figures["responders"] = how
    result.protocol["prompts"] = tables.both(
        f"{len(found)} of {', '.join(flags.data_path)}, the same for every model",
        f"{', '.join(flags.data_path)}의 {len(found)}개, 모든 모델에 똑같이",
    )
    result.protocol["decoding"] = _decoding(flags)
    files = ", ".join(r.name for r in who if r.kind == "file")
    if files:
        result.protocol["from files"] = tables.both(
            f"{files}: decoding and template not known", f"{files}: 디코딩과 템플릿을 알 수 없음"
        )
    templates = {name: json.dumps(h["template"], ensure_ascii=False) for name, h in how.items() if "template" in h}
    if templates:
        alike = len(set(templates.values())) == 1
        result.protocol["template"] = (
            next(iter(templates.values())) if alike else "; ".join(f"{n}: {t}" for n, t in templates.items())
        )
    if system:
        result.protocol["system"] = system
    result.protocol["seed"] = seed
    for name, of_model in out.items():
        result.attempted += sum(map(len, of_model))
        result.lost(name, [reply for replies in of_model for reply in replies if isinstance(reply, llm.Failure)])
        arrived = [reply for replies in of_model for reply in replies if isinstance(reply, llm.Reply)]
        _warn_of_empty_and_cut(result, name, arrived, flags.max_new_tokens)
    return out


def _warn_of_empty_and_cut(result, name, replies, max_new_tokens):
    """Warn of answers that are empty, or end where --max_new_tokens does."""
    n, empty, cut = len(replies), sum(not r.text for r in replies), sum(r.finish_reason == "length" for r in replies)
    if empty > MUCH_EMPTY * n:
        result.warn(
            f"{name}: {empty} of {n} answers are empty; they count as they are",
            f"{name}: 답변 {n}개 가운데 {empty}개가 비어 있으며, 빈 채로 평가했습니다",
        )
    if cut > MUCH_CUT * n:
        result.warn(
            f"{name}: {cut} of {n} answers did not end within --max_new_tokens {max_new_tokens}; they count as they are, cut off",
            f"{name}: 답변 {n}개 가운데 {cut}개가 --max_new_tokens {max_new_tokens} 안에 끝나지 않았으며, 잘린 채로 평가했습니다",
        )


def _decoding(flags):
    drawn = "greedy" if flags.temperature == 0 else f"temperature {flags.temperature:g}, top-p {flags.top_p:g}"
    return tables.both(
        f"{drawn}, at most {flags.max_new_tokens} tokens, answers a prompt: {flags.num_answers}",
        f"{'탐욕적 디코딩' if flags.temperature == 0 else drawn.replace('temperature', '온도')}, 최대 {flags.max_new_tokens}토큰, "
        f"프롬프트마다 답변 {flags.num_answers}개",
    )


def rows(found, answered, **more):
    """Lines that show answers (see above): one a record. more: {key: {name: for each record a list}}, put beside each answer's text."""
    out = []
    for i, record in enumerate(found):
        of_models = {}
        for name, of_model in answered.items():
            of_models[name] = [
                {**_shown(reply), **{key: by_model[name][i][k] for key, by_model in more.items()}}
                for k, reply in enumerate(of_model[i])
            ]
        out.append(
            {
                "id": record["id"],
                "category": record["category"],
                "messages": records.messages(record),
                "answers": of_models,
            }
        )
    return out


def _shown(reply):
    if isinstance(reply, llm.Failure):
        return {"text": None, "failed": f"{reply.kind}: {reply.reason}"}
    return {"text": reply.text, "finish_reason": reply.finish_reason, "tokens": reply.answer_tokens}


class Result:
    """The output of one evaluation program; a context manager that writes both files when the program is done, or nothing.

    Raises InputError, before anything is computed or paid for, if the folder cannot be written or the same program is at work in it.

    program: its name; settings: a dict, or dataclasses of flags; inputs: files and model folders that were read.
    Filled in by the program: `figures` (a dict, for other programs), `tables` (by `table`, for people), `protocol` (how it was measured:
    pairing, interval, seed, template, decoding, judge ...; name -> text, number or tables.both), `rows` (one dict an item), warnings.
    """

    def __init__(self, program, output_dir, settings, inputs=()):
        self.program, self.folder = program, Path(output_dir).expanduser()
        self.settings = _settings(settings)
        self.inputs, self.figures, self.rows = list(inputs), {}, []
        self.tables, self.protocol, self.warnings = [], {}, []
        self.attempted = self.failed = 0
        self.usage = llm.new_usage()  # of all servers, responders and judges together
        if self.folder.exists() and not self.folder.is_dir():
            raise InputError(f"--output_dir {self.folder}: is a file; give a folder")

    def __enter__(self):
        self.began = time.time()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._rows = open(self.folder / f"{self.program}.part", "a", encoding="utf-8")
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            fcntl.flock(self._rows, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._rows.close()
            raise InputError(
                f"--output_dir {self.folder}: another {self.program} is writing there; wait for it, or give another "
                "folder"
            ) from error
        except OSError as error:  # a file system without locks, where the cache would not work either
            self._rows.close()
            raise self._unwritable(error) from error
        return self

    def _unwritable(self, error):
        return InputError(
            f"--output_dir {self.folder}: cannot be written: {error.strerror or error}; make room there, or give another"
        )

    def warn(self, en, ko, first=False):
        """One line, in both languages, that a reader must see before the figures; first: above those that are there already."""
        line = tables.both(en, ko)
        if line not in self.warnings:
            self.warnings.insert(0 if first else len(self.warnings), line)

    def lost(self, what, failures):
        """Count llm.Failures of `what` (a model, the judge; text or tables.both), and warn of them; figures are over the others."""
        if not failures:
            return
        self.failed += len(failures)
        reason = f"{failures[0].kind}: {failures[0].reason}"
        self.warn(
            f"{tables.words(what, 'en')}: {len(failures)} failed and are in no figure, e.g. {reason}",
            f"{tables.words(what, 'ko')}: {len(failures)}개가 실패하여 어떤 수치에도 들어가지 않았습니다. 예: {reason}",
        )

    def code(self, max_failed):
        """Exit code: 3 if more than the share `max_failed` of what was attempted failed, else 0."""
        return exit_code(self.failed, self.attempted, max_failed)

    def table(self, title, columns, rows, notes=()):
        """A table for the terminal and the report; see tables.table."""
        self.tables.append(tables.table(title, columns, rows, notes))

    def __exit__(self, kind, error, trace):
        if kind is not None:
            Path(self._rows.name).unlink(missing_ok=True)
            self._rows.close()
            return
        rows = self.folder / f"{self.program}.jsonl"
        try:
            self._write(rows)
        except OSError as error:
            raise self._unwritable(error) from error
        for found in self.tables:
            print(f"\n{tables.plain(found)}", flush=True)
        for name, how in self.protocol.items():
            print(f"{name}: {tables.words(how, 'en')}", flush=True)
        if self._from_cache():
            print(f"cache: {self._from_cache()['en']}", flush=True)
        for line in self.warnings:
            print(f"WARNING: {line['en']}", flush=True)
        print(f"written: {self.folder / self.program}.json, {rows.name}", flush=True)

    def _from_cache(self):
        """What a server once answered stays its answer: nothing shows whether other weights answer under its name by now."""
        kept = self.usage["cached"]
        return kept and tables.both(
            f"{kept} answers of servers were asked for earlier; delete the cache if other weights serve under the same name by now",
            f"서버의 답변 {kept}개는 전에 받아 둔 것. 같은 이름으로 다른 가중치를 서빙하고 있다면 캐시를 지울 것",
        )

    def _write(self, rows):
        with self._rows as out:
            out.truncate(0)  # what a killed run left
            for row in self.rows:
                print(json.dumps(row, ensure_ascii=False), file=out)
            out.flush()
            os.replace(out.name, rows)
        write_json(
            self.folder / f"{self.program}.json",
            {
                "program": self.program,
                "warnings": self.warnings,
                "tables": self.tables,
                "protocol": self.protocol,
                "figures": self.figures,
                "settings": self.settings,
                "usage": self.usage,
                "from_cache": self._from_cache(),
                "inputs": [_input(path) for path in self.inputs],
                "rows": {"file": rows.name, "n": len(self.rows)},
                "versions": _versions(),
                "seconds": round(time.time() - self.began, 2),
                "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            },
        )


def _settings(settings):
    """A dict of what was set; of several dataclasses of flags all of theirs together."""
    if isinstance(settings, dict):
        return settings
    parts = settings if isinstance(settings, (list, tuple)) else [settings]
    return {name: value for part in parts for name, value in dataclasses.asdict(part).items()}


def _versions():
    from korlhf.core.program import versions  # imports torch

    return versions()


def _input(path):
    path = Path(path)
    return {"path": str(path), **({"sha256": fingerprint(path)} if path.is_file() else {})}
