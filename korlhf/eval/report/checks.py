"""Warnings of the report's own: what was not evaluated, what does not fit together, and what has changed since it was measured.

A warning is {"about": the gather.Results and gather.Stages that it is about, none for the run as a whole; "text": tables.both}.
"""

import shlex
from datetime import datetime
from pathlib import Path

from korlhf.core.errors import InputError
from korlhf.core.files import fingerprint
from korlhf.core.tables import both, words
from korlhf.eval.report import gather
from korlhf.eval.report.words import PROGRAMS, PROTOCOL, STEPS, rule_name
from korlhf.llm import checkpoint as local

WEIGHTS = (
    "*.safetensors",
    "pytorch_model*.bin",
    "adapter_config.json",
    "config.json",
    "chat_template*",
    "tokenizer*.json",
)
SMALL = 2**30  # bytes: folders and files up to this are always compared by content
SLACK = 2.0  # seconds by which clocks of files may differ
COMPARED = ("seed", "decoding", "template", "system")  # lines of a protocol; prompts differ by design
JUDGED = (
    "geval",
    "win_rate",
    "harmlessness",
)  # judge the answers by something else than the reward model of the training
SCRIPTS = {1: "step1_supervised_finetuning", 2: "step2_reward_model_finetuning", 3: "step3_rlhf_finetuning"}


def missing(run):
    """[(tables.both, command)] of the stages and results that the run does not have."""
    folder, out = shlex.quote(str(run.folder)), []
    steps = {s.step for s in run.stages if s.done}
    for step, name in STEPS.items():
        if step not in steps:
            script = f"training/{SCRIPTS[step]}/training_scripts/polyglot_ko/run_1.3b.sh"
            paths = {1: f"{folder}/sft", 2: f"{folder}/reward", 3: f"{folder}/sft {folder}/reward 2 2 {folder}/ppo"}[
                step
            ]
            quick = f"bash quickstart.sh --output_dir {folder}"
            out.append((name, quick if (run.folder / "base_init").is_dir() else f"bash {script} {paths}"))
    made = {r.program for r in run.results}
    for program, name in PROGRAMS.items():
        if program not in made:
            out.append((name, f"RUN={folder} bash eval/run_{program}.sh"))
    return out


def warnings(run):
    """All warnings, those of the results first, then the report's own; what several results say alike is one."""
    found = {}
    for result in run.results:
        for line in result.found["warnings"]:
            found.setdefault((words(line, "en"), words(line, "ko")), []).append(result)
    for check in (
        _not_evaluated,
        _stages,
        _trained_anew,
        _unlike_settings,
        _unlike_models,
        _older,
        _changed_inputs,
        _rows,
        _versions,
    ):
        for about, en, ko in check(run):
            found.setdefault((en, ko), []).extend([about] if about else [])
    return [{"about": about, "text": both(en, ko)} for (en, ko), about in found.items()]


def _not_evaluated(run):
    made = {r.program for r in run.results}
    without = [name for program, name in PROGRAMS.items() if program not in made]
    if without:
        yield (
            None,
            f"not evaluated: {', '.join(n['en'] for n in without)}. This page says nothing about that; the commands are listed "
            "below",
            f"평가하지 않은 것: {', '.join(n['ko'] for n in without)}. 이 보고서로는 알 수 없으며, 명령은 아래에 있습니다",
        )
    ppo = [s for s in run.stages if s.step == 3 and s.done]
    if ppo and not made & set(JUDGED):
        yield (
            ppo[-1],
            "whether its answers are better is known only from the score it was trained to raise: nothing else has judged them",
            "답변이 나아졌는지를 학습 목표였던 점수로만 알 수 있습니다. 다른 방법으로 평가한 결과가 없습니다",
        )


def _stages(run):
    for step, name in STEPS.items():
        if not any(s.step == step for s in run.stages):
            yield None, f"no model of {name['en']} in this run", f"이 실행에는 {name['ko']} 모델이 없습니다"
    for s in run.stages:
        if not s.done:
            at = max((row["step"] for row in s.metrics), default=0)
            yield (
                s,
                f"not finished: its last step is {at:,}. Start the same command again to go on",
                f"끝나지 않았습니다(마지막 스텝 {at:,}). 같은 명령을 다시 실행하면 이어집니다",
            )
        elif not s.finished.get("heldout_after"):
            yield (
                s,
                "trained without held-out examples, so nothing was measured",
                "평가용 데이터 없이 학습하여 측정한 값이 없습니다",
            )
        yield from _trivial(s)


def _trivial(s):
    after, rules = s.finished.get("heldout_after") or {}, s.finished.get("trivial_rules") or {}
    if s.step != 2 or not rules or not after.get("ci95"):
        return
    rule, share = max(rules.items(), key=lambda item: item[1])
    low, high = after["ci95"]
    if low <= share:
        measured = f"{after['accuracy']:.3f} ({low:.3f}–{high:.3f}, n {after['n']})"
        yield (
            s,
            f"its accuracy {measured} is not clearly above the rule “{rule}” ({share:.3f}): it may have learned no more than that",
            f"정확도 {measured}가 단순 규칙 ‘{rule_name(rule)['ko']}’({share:.3f})보다 뚜렷이 높지 않습니다. 그 규칙만 배웠을 수 있습니다",
        )


def _made(folder):
    """When a model folder was last changed, in seconds; None if it is not there."""
    times = [p.stat().st_mtime for pattern in WEIGHTS for p in folder.glob(pattern)] if folder.is_dir() else []
    return max(times, default=None)


def _trained_anew(run):
    for s in run.stages:
        base = gather.before(s, run.stages)
        if base and s.done and (_made(base.folder) or 0) > (s.folder / "finished.json").stat().st_mtime + SLACK:
            yield (
                s,
                f"{base.name} was trained again after {s.name} was made from it",
                f"{s.name}의 바탕인 {base.name}이(가) 그 뒤에 다시 학습되었습니다",
            )


def _responders(result):
    found = result.found["figures"].get("responders") if isinstance(result.found["figures"], dict) else None
    return found if isinstance(found, dict) else {}


def _unlike_settings(run):
    """Results that show answers of the same model, but were made in different ways."""
    for what in COMPARED:
        of_models = {}  # model -> way in words -> results
        for result in run.results:
            for name, how in _responders(result).items():
                way = _way(result, how, what)
                if way is not None:
                    of_models.setdefault(name, {}).setdefault(words(way, "en"), []).append((result.name, way))
        ways = {}
        for found in of_models.values():
            for way, results in found.items() if len(found) > 1 else ():  # a model that was asked in several ways
                ways.setdefault(way, {}).update(results)
        if ways:
            en, ko = (_told(ways, language) for language in ("en", "ko"))
            yield (
                None,
                f"the {PROTOCOL[what]['en']} differs between results, so do not compare their figures: {en}",
                f"결과마다 {PROTOCOL[what]['ko']} 설정이 다르므로 수치를 서로 비교하지 마세요. {ko}",
            )


def _way(result, how, what):
    """How a result asked one responder, in one respect; None where that is not known. A template is each model's own."""
    if what == "template":
        return how.get("template") if isinstance(how, dict) else None
    if what == "decoding" and isinstance(how, dict) and how.get("kind") == "file":
        return None
    return result.found["protocol"].get(what)


def _told(ways, language):
    """Which results were made in which way. ways: way in words -> {result's name: way}."""
    return "; ".join(
        f"{', '.join(results)}: {_short(words(next(iter(results.values())), language))}" for results in ways.values()
    )


def _short(value):
    text = " ".join(str(value).split())
    return text if len(text) <= 70 else text[:67] + "…"


def _unlike_models(run):
    """One name for different models in different results."""
    known = {}
    for result in run.results:
        for name, how in _responders(result).items():
            mark = how.get("fingerprint") or how.get("model") if isinstance(how, dict) else None
            known.setdefault(name, {}).setdefault(mark, []).append(result.name)
    for name, marks in known.items():
        if len(marks) > 1:
            who = "; ".join(", ".join(programs) for programs in marks.values())
            yield (
                None,
                f"{name} is not the same model in all results ({who} differ): it was trained again or is another folder",
                f"{name}이(가) 결과마다 같은 모델이 아닙니다({who}). 다시 학습했거나 다른 폴더입니다",
            )


def _older(run):
    """Results of model folders that have changed since. Small ones are compared byte for byte where the result has their fingerprint."""
    now = {}
    for result in run.results:
        prints = {
            how["model"]: how.get("fingerprint")
            for how in _responders(result).values()
            if isinstance(how, dict) and how.get("model")
        }
        folders = dict.fromkeys([*prints, *(i["path"] for i in result.found["inputs"] if "sha256" not in i)])
        for path in folders:
            if _differs(Path(path).expanduser(), prints.get(path), result.found["finished"], now):
                yield (
                    result,
                    f"{path} has changed since this was measured: run it again",
                    f"측정한 뒤에 {path} 폴더가 바뀌었습니다. 다시 평가하세요",
                )


def _differs(folder, fingerprint, finished, now):
    """now: fingerprints of folders that were looked at already."""
    made = _made(folder)
    if made is None:
        return False
    later = made > _seconds(finished) + SLACK
    small = sum(p.stat().st_size for p in folder.glob("*.safetensors")) <= SMALL
    if not fingerprint or not (later or small):
        return later
    try:
        now[folder] = now.get(folder) or local.fingerprint(folder)
    except InputError:  # an adapter whose base is not here
        return later
    return now[folder] != fingerprint


def _seconds(finished):
    try:
        return datetime.strptime(str(finished), "%Y-%m-%dT%H:%M:%S%z").timestamp()
    except ValueError:
        return float("inf")


def _changed_inputs(run):
    for result in run.results:
        for read in result.found["inputs"]:
            path = Path(read["path"]).expanduser()
            if (
                "sha256" in read
                and path.is_file()
                and path.stat().st_size <= SMALL
                and fingerprint(path) != read["sha256"]
            ):
                yield (
                    result,
                    f"{path} has changed since this was measured: run it again",
                    f"측정한 뒤에 {path} 파일이 바뀌었습니다. 다시 평가하세요",
                )


def _rows(run):
    for result in run.results:
        wanted = result.found["rows"]
        if result.rows is None:
            yield (
                result,
                f"{wanted['file']} is not there: its answers are not shown",
                f"{wanted['file']} 파일이 없어 답변을 보여 줄 수 없습니다",
            )
        elif len(result.rows) != wanted["n"]:
            yield (
                result,
                f"{wanted['file']} has {len(result.rows):,} lines, and had {wanted['n']:,} when the figures were made",
                f"{wanted['file']} 파일은 {len(result.rows):,}줄이지만 수치를 낼 때는 {wanted['n']:,}줄이었습니다",
            )


def _versions(run):
    ways = {}
    for result in run.results:
        ways.setdefault(tuple(sorted(result.found["versions"].items())), []).append(result.name)
    if len(ways) > 1:
        first, *others = ways
        apart = sorted({name for other in others for name, version in set(first) ^ set(other)})
        who = "; ".join(", ".join(programs) for programs in ways.values())
        yield (
            None,
            f"the results were made with different versions of {', '.join(apart)} ({who})",
            f"결과를 낸 패키지 버전이 서로 다릅니다({', '.join(apart)}: {who})",
        )
