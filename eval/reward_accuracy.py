"""What reward models are worth on pairs of answers, beside what knows nothing: trivial rules and a bag of words.

Accuracy by category with its intervals, calibration, what the scores owe to length, how far several models agree; and whether a model beats
the best trivial rule and a classifier of words and letters that were fitted to its training pairs. Prompts that a model was trained on are
in no figure. Left out: several GPUs, and figures that need more than an order of answers (rubrics: geval.py).
"""

import json
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from korlhf.core import flags, program
from korlhf.core.errors import InputError
from korlhf.core.tables import both
from korlhf.data import load
from korlhf.data import record as records
from korlhf.data.prompts import draw
from korlhf.eval import result as evaluation
from korlhf.eval import reward_figures, reward_tables, reward_warnings, trained_on
from korlhf.eval.flags import ResultFlags
from korlhf.judges.reward import RewardJudge
from korlhf.llm import client as llm
from korlhf.llm import responders
from korlhf.llm.cache import Cache
from korlhf.llm.flags import CheckpointFlags
from korlhf.training import pairs


@dataclass(frozen=True, kw_only=True)
class RewardAccuracyFlags:
    """reward models and pairs"""

    model_name_or_path: list[str] = flags.flag(
        flags.REQUIRED,
        "reward models: [NAME=]FOLDER of step 2 or of a DeepSpeed-Chat checkpoint, or a hub name; NAME stands in the "
        "tables",
    )
    data_path: list[str] = flags.flag(
        flags.REQUIRED,
        "pairs, named as in training: registered names, files or folders with chosen + rejected or ranked answers; of a "
        "dataset that has an evaluation split, that split",
    )
    train_data_path: list[str] = flags.flag(
        [],
        "pairs that the models were trained on: rules and classifier are fitted to them, and prompts that are there too are left out; "
        "not given = as settings.json in the models' folders says, else a random half of --data_path (compared on the other half)",
    )
    max_pairs: int = flags.flag(
        0, "about so many pairs at most: whole prompts are drawn, with the categories' shares kept; 0 = all"
    )
    max_seq_len: int = flags.flag(
        512, "longest prompt + answer in tokens; pairs with a longer one are left out and counted"
    )
    batch_size: int = flags.flag(16, "answers in a forward pass")


def parse(argv=None):
    """[ResultFlags, RewardAccuracyFlags, CheckpointFlags]"""
    parser = flags.Parser(description="What reward models are worth on pairs, beside what knows nothing")
    groups = (ResultFlags, RewardAccuracyFlags, CheckpointFlags)
    for group in groups:
        flags.add(parser, group)
    space = parser.parse_args(argv)
    found = [flags.read(space, group) for group in groups]
    flags.check_positive({name: getattr(found[1], name) for name in ("max_seq_len", "batch_size")}, parser)
    if found[1].max_pairs < 0:
        parser.error(f"--max_pairs {found[1].max_pairs}: give 0 (all) or a number above")
    return found


def open_models(args, checkpoint):
    """{name: RewardJudge}. Raises InputError for two of one name, and for what is no reward model."""
    out = {}
    for text in args.model_name_or_path:
        named = responders.NAMED.fullmatch(text)
        path = str(Path(named["model"] if named else text).expanduser())
        judge = RewardJudge(path, "--model_name_or_path", checkpoint, args.max_seq_len, args.batch_size)
        name = named["name"] if named else judge.name
        if name in out:
            raise InputError(
                f"--model_name_or_path: two are called {name!r}; name each, e.g. --model_name_or_path first=... second=..."
            )
        out[name] = judge
    return out


def load_examples(args, seed):
    """Ranked examples, each once; at most about --max_pairs pairs."""
    found, _ = pairs.load_heldout(args.data_path)
    found = pairs.once(found)
    n = sum(len(e.answers) * (len(e.answers) - 1) // 2 for e in found)
    most = max(1, len(found) * args.max_pairs // n) if args.max_pairs else 0
    return draw(found, most, seed, key=lambda e: e.category)


def training_data(args, judges, result):
    """{name: examples that the model was trained on, or None if that is not known}"""
    if args.train_data_path:
        found = [e for name in args.train_data_path for e in load.load_examples(name, 2)]
        return dict.fromkeys(judges, found)
    out = {}
    for name, judge in judges.items():
        why = both("its folder has no settings.json of step 2", "모델 폴더에 2단계의 settings.json이 없어")
        try:
            out[name] = trained_on.training_of(judge.path)
        except InputError as error:
            out[name], why = (
                None,
                both(f"its training data cannot be read ({error})", f"학습 데이터를 읽을 수 없어({error})"),
            )
        if out[name] is None:
            reward_warnings.unknown_training(result, name, why)
    return out


def score(judges, examples, cache, result):
    """(pairs that every model scored, {name: (N, 2) scores of the better and the worse answer}); warns of the others."""
    found = reward_figures.all_pairs(examples, [records.record_id(e.messages) for e in examples])
    talks, texts = [list(e.messages) for e in examples], [e.answers for e in examples]
    scores = {name: judge.scores(talks, texts, cache) for name, judge in judges.items()}
    for name, of_model in scores.items():
        all_scores = [s for of_example in of_model for s in of_example]
        reward_warnings.unscored(result, name, [s for s in all_scores if isinstance(s, llm.Failure)], len(all_scores))
    whole = [
        p
        for p in found
        if not any(isinstance(s[p.example][k], llm.Failure) for s in scores.values() for k in (p.better, p.worse))
    ]
    if not whole:
        raise InputError(
            f"none of the {len(found)} pairs has a score of every model for both answers: {result.warnings[-1]['en']}"
        )
    if len(whole) < len(found):
        result.warn(
            f"{len(found) - len(whole)} of {len(found)} pairs have an answer without a score and are in no figure of any model",
            f"{len(found)}쌍 가운데 {len(found) - len(whole)}쌍은 점수를 매기지 못한 답변이 있어 어느 모델의 수치에도 들어가지 않았습니다",
        )
    return whole, {
        name: np.array([[s[p.example][p.better], s[p.example][p.worse]] for p in whole]) for name, s in scores.items()
    }


def leave_out_seen(examples, training, found, scores, result):
    """(N,) whether a pair is in the figures: its prompt is in no model's training data, unless all are. Warns, and notes the counts."""
    keys = [load.prompt_key(examples[p.example]) for p in found]
    asked = [examples[i] for i in sorted({p.example for p in found})]
    of_data = {
        id(train): trained_on.seen(train, asked)
        for train in {id(t): t for t in training.values() if t is not None}.values()
    }
    seen = {name: of_data[id(train)] for name, train in training.items() if train is not None}
    fresh = np.array([not any(key in same for same, _ in seen.values()) for key in keys])
    for name, (same, near) in seen.items():
        of = reward_figures.results(scores[name][:, 0] - scores[name][:, 1])
        here = np.array(["same" if key in same else "near" if key in near else "rest" for key in keys])
        places = {"same": here == "same", "new": here != "same", "near": here == "near", "rest": here == "rest"}
        counts = {
            "n": len(set(keys)),
            "same": len(same),
            "near": len(near),
            **{f"on_{kind}": float(of[at].mean()) if at.any() else None for kind, at in places.items()},
        }
        reward_warnings.seen(result, name, counts, left_out=bool(fresh.any()))
        result.figures.setdefault("seen", {})[name] = counts
    return fresh if fresh.any() else np.ones(len(found), dtype=bool)


def measure(found, scores, seed, result):
    """Figures of the models by themselves -> {name: them}; warns where they are not what they seem."""
    figures = {}
    for name, s in scores.items():
        margins = s[:, 0] - s[:, 1]
        of = figures[name] = {
            "accuracy": reward_figures.accuracy(found, margins, seed),
            "length": reward_figures.length(found, s, seed),
            "calibration": reward_figures.calibration(margins, [p.prompt_id for p in found], seed),
            "spread": reward_figures.spread(found, s),
        }
        reward_warnings.length(result, name, of["length"])
        reward_warnings.spread(result, name, of["spread"])
        reward_warnings.chance(result, name, of["accuracy"])
    reward_warnings.few(result, of["accuracy"]["all"])
    result.figures["models"] = figures
    reward_tables.accuracy(result, {name: of["accuracy"] for name, of in figures.items()})
    return figures


def to_fit(args, examples, training, found, seed):
    """(pairs to fit rules and classifier to, (N,) whether a pair of `found` is compared with them, `both`: where and on what).

    found: the pairs in the figures; of a single prompt there is nothing to fit to: [].
    """
    known = pairs.apart(pairs.once(e for train in training.values() for e in train or ()), examples)
    if known:
        fit, compared = pairs.as_pairs(known), np.ones(len(found), dtype=bool)
        names = " ".join(args.train_data_path)
        there = both(names or "the training data that settings.json names", names or "settings.json에 적힌 학습 데이터")
        return (
            fit,
            compared,
            both(
                f"Rules and classifier were fitted to {len(fit):,} pairs of {there['en']} ({len(known):,} prompts).",
                f"규칙과 분류기는 {there['ko']}의 {len(fit):,}쌍(프롬프트 {len(known):,}개)에 맞추었습니다.",
            ),
        )
    kept = sorted({p.example for p in found})
    first, second = ({kept[i] for i in half} for half in pairs.halves([examples[i] for i in kept], seed))
    fit, compared = [p.texts for p in found if p.example in first], np.array([p.example in second for p in found])
    return (
        fit if second else [],
        compared,
        both(
            f"Rules and classifier were fitted to a random half of the prompts ({len(fit):,} pairs, seed {seed}); everything in this table, "
            f"the models' accuracies too, is measured on the other half ({int(compared.sum()):,} pairs).",
            f"규칙과 분류기는 무작위로 고른 절반의 프롬프트({len(fit):,}쌍, 시드 {seed})에 맞추었고, 이 표의 모든 값은 모델의 정확도까지 나머지 절반"
            f"({int(compared.sum()):,}쌍)에서 쟀습니다.",
        ),
    )


def beside(fit, found, scores, where, seed, result):
    """Models, classifier and rules on the same pairs; warns where a model does not beat them."""
    groups = [p.prompt_id for p in found]
    of_models = {name: reward_figures.results(s[:, 0] - s[:, 1]) for name, s in scores.items()}
    baselines = reward_figures.baselines(fit, [p.texts for p in found], seed)
    shares = [(b, reward_figures.share(b.of, groups, seed)) for b in baselines]
    compared = {
        name: [reward_figures.compare(of, b.of, groups, seed) for b in baselines] for name, of in of_models.items()
    }
    own = {name: reward_figures.share(of, groups, seed) for name, of in of_models.items()}
    for name in of_models:
        reward_warnings.beaten(result, name, own[name], shares, compared[name])
    if baselines[0].name:
        reward_warnings.no_classifier(result, len(fit))
    reward_tables.beside(result, own, shares, compared, where)
    result.figures["beside"] = {
        "models": own,
        "baselines": [
            {
                "rule": b.name or None,
                "fitted": b.fitted,
                **f,
                "against": {name: compared[name][k] for name in of_models},
            }
            for k, (b, f) in enumerate(shares)
        ],
    }


def between_models(found, scores, seed, result):
    """How far every two models agree."""
    of_pairs = {(a, b): reward_figures.agreement(found, scores[a], scores[b], seed) for a, b in combinations(scores, 2)}
    result.figures["agreement"] = [{"first": a, "second": b, **of} for (a, b), of in of_pairs.items()]
    if of_pairs:
        reward_tables.agreement(result, of_pairs)


def rows_of(examples, found, scores, keep, compared):
    """One dict a pair: both texts, their ranks and scores.

    id: of the prompt; right: None for equal scores; in_figures: not of a prompt that a model was trained on; compared: with the rules too.
    """
    out, compared = [], iter(compared)
    for k, p in enumerate(found):
        margins = {name: float(s[k, 0] - s[k, 1]) for name, s in scores.items()}
        out.append(
            {
                "id": p.prompt_id,
                "category": p.category,
                "messages": list(examples[p.example].messages),
                "ranks": [p.better + 1, p.worse + 1],
                "chosen": p.chosen,
                "rejected": p.rejected,
                "scores": {name: s[k].tolist() for name, s in scores.items()},
                "margin": margins,
                "right": {name: None if m == 0 else m > 0 for name, m in margins.items()},
                "in_figures": bool(keep[k]),
                "compared": bool(keep[k]) and bool(next(compared)),
            }
        )
    return out


def protocol(args, judges, kept, seed, result):
    """How it was measured."""
    names = ", ".join(args.data_path)
    result.protocol["pairs"] = both(
        f"{len(kept):,} of {names}, {len({p.prompt_id for p in kept}):,} prompts, the same for every model",
        f"{names}의 {len(kept):,}쌍, 프롬프트 {len({p.prompt_id for p in kept}):,}개, 모든 모델에 똑같이",
    )
    result.protocol["intervals"] = both(
        "95 %: Wilson over pairs, bootstrap over prompts", "95 %: 쌍에 대한 윌슨 구간, 프롬프트 부트스트랩"
    )
    templates = {
        name: json.dumps(
            judge.codec.tokenizer.apply_chat_template(
                [{"role": "user", "content": "{prompt}"}], tokenize=False, add_generation_prompt=True
            ),
            ensure_ascii=False,
        )
        for name, judge in judges.items()
    }
    alike = len(set(templates.values())) == 1
    result.protocol["template"] = (
        next(iter(templates.values())) if alike else "; ".join(f"{n}: {t}" for n, t in templates.items())
    )
    result.protocol["precision"] = ", ".join(
        f"{name}: {judge.dtype}, {judge.device.type}" for name, judge in judges.items()
    )
    result.protocol["seed"] = seed
    result.figures["reward_models"] = {
        name: {"path": judge.path, "fingerprint": judge.fingerprint, "dtype": judge.dtype}
        for name, judge in judges.items()
    }


def main(argv=None):
    files, args, checkpoint = parse(argv)
    judges, examples = open_models(args, checkpoint), load_examples(args, files.seed)
    inputs = [judge.path for judge in judges.values()] + [
        p for p in (*args.data_path, *args.train_data_path) if Path(p).exists()
    ]
    with (
        evaluation.Result("reward_accuracy", files.output_dir, [files, args, checkpoint], inputs) as result,
        Cache(result.folder / "cache.sqlite") as cache,
    ):
        training = training_data(args, judges, result)
        found, scores = score(judges, examples, cache, result)
        keep = leave_out_seen(examples, training, found, scores, result)
        kept, kept_scores = [p for p, k in zip(found, keep) if k], {name: s[keep] for name, s in scores.items()}
        protocol(args, judges, kept, files.seed, result)
        figures = measure(kept, kept_scores, files.seed, result)
        fit, compared, where = to_fit(args, examples, training, kept, files.seed)
        if fit:
            on = [p for p, c in zip(kept, compared) if c]
            beside(fit, on, {name: s[compared] for name, s in kept_scores.items()}, where, files.seed, result)
        else:
            reward_warnings.nothing_beside(result)
        reward_tables.length(result, {name: of["length"] for name, of in figures.items()})
        reward_tables.calibration(result, {name: of["calibration"] for name, of in figures.items()})
        between_models(kept, kept_scores, files.seed, result)
        result.rows = rows_of(examples, found, scores, keep, compared if fit else np.zeros(len(kept), dtype=bool))


if __name__ == "__main__":
    program.run(main, "stopped; start the same command again to resume: answers that arrived are in the cache")
