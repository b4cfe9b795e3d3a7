"""What PPO breaks first: varied answers, answers that end, Korean that is still likely, and staying near the model that it came from.

Of answers (of checkpoints, servers, files): distinct n-grams, phrases that come again under other prompts, repetition, length, EOS. Of
checkpoints: KL to a reference model on their own answers, and how likely held-out talk still is to them.
Left out: whether an answer is any good (geval.py, win_rate.py).
"""

import math
from dataclasses import dataclass
from pathlib import Path

from korlhf.core import flags, program
from korlhf.core.errors import InputError
from korlhf.core.tables import both, column, estimate
from korlhf.data import record as records
from korlhf.data.prompts import prompts
from korlhf.eval import diversity_report
from korlhf.eval import result as evaluation
from korlhf.eval import weights as regression
from korlhf.eval.diversity_report import ALPHA, MODEL, P_VALUE, Comparison, cell, difference_column, in_words
from korlhf.eval.flags import AnswerFlags, ResultFlags
from korlhf.llm import checkpoint as local
from korlhf.llm import client as llm
from korlhf.llm import responders
from korlhf.llm.flags import LlmFlags, SamplerFlags
from korlhf.training import provenance

FEW = 30  # prompts, below which a bootstrap interval is too narrow
KINDS = {"answers": both("answers", "답변"), "documents": both("documents", "문서")}
HELDOUT_NOTE = both(
    "The difference is in bits per character. Perplexity and nats per token compare only between models of one tokenizer, bits per "
    "character between all.",
    "차이는 글자당 비트로 나타냅니다. 퍼플렉시티와 토큰당 nat은 토크나이저가 같은 모델끼리만, 글자당 비트는 모든 모델끼리 비교할 수 있습니다.",
)
KL_NOTE = both(
    "k1 = mean of log p(model) - log p(reference); k3 adds p(reference) / p(model) - 1 at each token, which is never negative and varies "
    "less while the KL is small. Both estimate the same KL. One answer a prompt, drawn at temperature 1 and top-p 1, up to --max_new_tokens.",
    "k1은 log p(모델) - log p(기준 모델)의 평균이고, k3은 토큰마다 p(기준 모델) / p(모델) - 1을 더한 것으로 음수가 되지 않고 KL이 작을 때 덜 "
    "흔들립니다. 둘 다 같은 KL의 추정값입니다. 프롬프트마다 온도 1, top-p 1로 --max_new_tokens까지 뽑은 답변 하나로 쟀습니다.",
)


@dataclass(frozen=True, kw_only=True)
class DiversityFlags:
    """comparison"""

    reference: str = flags.flag(
        "",
        "the model that the others are compared with: a responder's name or folder, or the folder of another checkpoint (for KL and "
        "held-out talk only); not given = the responder called sft, else the first. No warning says that a responder before the "
        "reference, or a model that it was trained from, has drifted from it",
    )
    heldout_data_path: list[str] = flags.flag(
        ["sample/heldout_sft"],
        "held-out answers, or plain documents, whose perplexity is measured: dataset names or files; of one that "
        "has an evaluation split, that split",
    )
    max_heldout: int = flags.flag(0, "at most this many of those, drawn with the categories' shares kept; 0 = all")
    max_seq_len: int = flags.flag(
        1024, "longest held-out example in tokens of any model; longer ones are left out and counted"
    )
    forward_batch_size: int = flags.flag(16, "sequences in a forward pass of KL and perplexity")
    max_kl: float = flags.flag(20.0, "warn above this KL per answer (nats)")


def parse(argv=None):
    """[ResultFlags, DiversityFlags, AnswerFlags, SamplerFlags, LlmFlags]"""
    parser = flags.Parser(description="Diversity of answers, KL and perplexity: what PPO breaks first")
    groups = (ResultFlags, DiversityFlags, AnswerFlags, SamplerFlags, LlmFlags)
    for group in groups:
        flags.add(parser, group)
    space = parser.parse_args(argv)
    found = [flags.read(space, group) for group in groups]
    evaluation.check(found[2], parser)
    flags.check_positive(
        {name: getattr(found[1], name) for name in ("max_seq_len", "forward_batch_size", "max_kl")}, parser
    )
    if found[1].max_heldout < 0:
        parser.error(f"--max_heldout {found[1].max_heldout}: must be 0 (all) or above")
    return found


def compare_with(text, who):
    """--reference -> (Comparison, the folder or hub name if it is no responder, else "")."""
    names = [r.name for r in who]
    same = [r.name for r in who if text and r.kind == "checkpoint" and _resolved(r.model) == _resolved(text)]
    name = text if text in names else same[0] if same else "" if text else "sft" if "sft" in names else names[0]
    if not name and "/" not in text and not Path(text).expanduser().exists():
        raise InputError(
            f"--reference {text}: no responder of this name (there are {', '.join(names)}), and no folder; give one of them"
        )
    if name:
        after = who[names.index(name) + 1 :]
        return Comparison(name, True, _not_ancestors(next(r.model for r in who if r.name == name), after)), ""
    name = _resolved(text).name
    return Comparison(f"{name} ({text})" if name in names else name, False, _not_ancestors(text, who)), text


def _not_ancestors(reference, who):
    """Names of the responders that the reference was not trained from, as far as its settings.json tells."""
    origins = {_resolved(origin.path) for origin in provenance.chain(reference)[1:]}
    return tuple(r.name for r in who if r.kind != "checkpoint" or _resolved(r.model) not in origins)


def _resolved(path):
    return Path(path).expanduser().resolve()


def compare_answers(result, answered, comparison):
    """Everything that texts tell."""
    models, seed = diversity_report.collect(answered), result.settings["seed"]
    if comparison.answers and comparison.reference not in models:
        raise InputError(
            f"--reference {comparison.reference}: none of its answers arrived; start again, or give another reference"
        )
    by_model = [
        part(result, models, comparison)
        for part in (diversity_report.distinct_table, diversity_report.phrases_table, diversity_report.frequent_table)
    ]
    by_model.append(diversity_report.answer_tables(result, models, seed))
    within = diversity_report.within_table(result, models, seed)
    figures = {
        "models": {name: {k: v for part in by_model for k, v in part[name].items()} for name in models},
        "differences": diversity_report.difference_table(result, models, comparison, seed),
        "within_prompt": within,
    }
    result.figures.update(figures)
    diversity_report.warn(result, figures, comparison)


def kl_figures(answers, pairs, seed):
    """{"n", "tokens", "k1_per_answer", ...} of Drawn answers and their (k1, k3), estimates as cells."""
    groups, lengths, ones = [d.prompt for d in answers], [len(d.answer) for d in answers], [1] * len(answers)
    means = {
        f"{key}_per_{what}": cell(regression.ratio(values, counts, groups, seed))
        for key, values in zip(("k1", "k3"), zip(*pairs))
        for what, counts in (("answer", ones), ("token", lengths))
    }
    return {"n": len(answers), "tokens": sum(lengths), **means}


def kl_table(result, drawn, pairs, comparison, max_kl):
    """KL to the reference, and the warnings about it. drawn, pairs: of regression.measure."""
    result.figures["kl"] = found = {
        name: kl_figures(answers, pairs[name], result.settings["seed"]) for name, answers in drawn.items()
    }
    for name in filter(comparison.later.__contains__, found):
        kl = found[name]["k1_per_answer"]
        if kl["mean"] > max_kl:
            value, between = f"{kl['mean']:.1f}", f"{kl['low']:.1f}–{kl['high']:.1f}"
            result.warn(
                f"{name}: KL of {value} nats per answer to {comparison.reference} ({between}), above --max_kl {max_kl:g}: "
                "it may please the reward model rather than people; read its answers",
                f"{name}: {comparison.reference} 대비 KL이 답변당 {value} nat({between})입니다(--max_kl {max_kl:g} 초과). "
                "사람이 아니라 보상 모델에 맞춘 답변일 수 있으니 답변을 직접 읽어 보세요",
            )
    if found:
        result.table(
            both(
                f"KL to {comparison.reference} on a model's own answers (nats)",
                f"모델 자신의 답변에서 잰 {comparison.reference} 대비 KL (nat)",
            ),
            [
                MODEL,
                column("answers", "답변 수"),
                column("tokens", "토큰 수"),
                column("k1, per answer", "k1, 답변당", 2),
                column("k1, per token", "k1, 토큰당"),
                column("k3, per answer", "k3, 답변당", 2),
                column("k3, per token", "k3, 토큰당"),
            ],
            [[name, *of_model.values()] for name, of_model in found.items()],
            [KL_NOTE],
        )


def heldout_figures(examples, logps, base, seed):
    """Figures of one model on some held-out examples. logps, base: log-probabilities by token, of the model and the reference (or None)."""
    groups, chars, tokens = (
        list(range(len(examples))),
        [regression.characters(e) for e in examples],
        [len(of_one) for of_one in logps],
    )
    nats = [-math.fsum(of_one) for of_one in logps]
    bits = [n / math.log(2) for n in nats]
    loss, per_char = regression.ratio(nats, tokens, groups, seed), regression.ratio(bits, chars, groups, seed)
    difference, p = None, None
    if base is not None:
        difference, p = regression.ratio_difference(
            bits, [-math.fsum(of_one) / math.log(2) for of_one in base], chars, groups, seed
        )
    return {
        "n": len(examples),
        "tokens": sum(tokens),
        "nats_per_token": cell(loss),
        "perplexity": estimate(math.exp(loss.mean), math.exp(loss.low), math.exp(loss.high)),
        "bits_per_character": cell(per_char),
        "difference": cell(difference),
        "p": p,
    }


def heldout_tables(result, examples, logps, comparison):
    """Perplexity and bits per character of every model, of answers and of documents, and the warnings if they rose."""
    by_kind, by_category = {}, {}
    for i, example in enumerate(examples):
        by_kind.setdefault("documents" if example.text else "answers", []).append(i)
        by_category.setdefault(regression.category(example), []).append(i)
    seed, parts = result.settings["seed"], {"all": by_kind, "by_category": dict(sorted(by_category.items()))}
    figures = {
        title: {part: heldout_part(examples, logps, places, comparison.reference, seed) for part, places in of.items()}
        for title, of in parts.items()
    }
    result.figures["heldout"] = figures
    columns = [
        MODEL,
        column("examples", "개수"),
        column("tokens", "토큰 수"),
        column("nats per token", "토큰당 nat"),
        column("perplexity", "퍼플렉시티", 2),
        column("bits per character", "글자당 비트"),
        difference_column(comparison),
        P_VALUE,
    ]
    rows = {
        title: [
            [KINDS.get(part, part), name, *row.values()]
            for part, by_model in of.items()
            for name, row in by_model.items()
        ]
        for title, of in figures.items()
    }
    result.table(
        both("How likely held-out talk is (lower = likelier)", "평가용 대화의 그럴듯함(낮을수록 그럴듯함)"),
        [column("what", "대상"), *columns],
        rows["all"],
        [HELDOUT_NOTE],
    )
    if len(by_category) > len(by_kind):
        result.table(
            both("The same by category", "범주별 그럴듯함"), [column("category", "범주"), *columns], rows["by_category"]
        )
    for part, by_model in figures["all"].items():
        for name in filter(comparison.later.__contains__, by_model):
            _warn_unlikely(
                result, name, KINDS[part], by_model[name], by_model.get(comparison.reference), comparison.reference
            )


def heldout_part(examples, logps, places, reference, seed):
    """{name: heldout_figures} of the examples at `places`."""
    base = [logps[reference][i] for i in places] if reference in logps else None
    return {
        name: heldout_figures(
            [examples[i] for i in places], [of_model[i] for i in places], None if name == reference else base, seed
        )
        for name, of_model in logps.items()
    }


def _warn_unlikely(result, name, kind, row, of_reference, reference):
    difference = row["difference"]
    if difference is None or row["p"] >= ALPHA or difference["mean"] <= 0:
        return
    now, before = row["bits_per_character"]["mean"], of_reference["bits_per_character"]["mean"]
    how_sure = in_words(difference, row["p"])
    result.warn(
        f"{name}: held-out {kind['en']} have become less likely: {now:.3f} bits per character, {before:.3f} with {reference} "
        f"({how_sure['en']})",
        f"{name}: 평가용 {kind['ko']}의 그럴듯함이 떨어졌습니다. 글자당 {now:.3f}비트이며, {reference}에서는 {before:.3f}비트입니다 "
        f"({how_sure['ko']})",
    )


def questions(opened, answered, talks, comparison, max_new_tokens, result):
    """{name: regression.Questions for the KL} of the checkpoints that share the reference's vocabulary; why others have none is noted."""
    reference = opened.get(comparison.reference)
    if reference is None:
        result.protocol["KL"] = both(
            f"none: {comparison.reference} is no checkpoint; name one by --reference",
            f"없음: {comparison.reference}의 가중치가 없습니다. --reference로 체크포인트를 지정하세요",
        )
        return {}
    same = [name for name, c in opened.items() if regression.same_vocabulary(c, reference)]
    if len(same) < len(opened):
        others = ", ".join(name for name in opened if name not in same)
        result.protocol["KL"] = both(
            f"none for {others}: another vocabulary than {comparison.reference}'s",
            f"{others}: {comparison.reference}의 어휘와 달라 재지 않음",
        )
    out = {}
    for name in same:
        if name == comparison.reference:
            continue
        positions = [c.positions - max_new_tokens for c in (opened[name], reference) if c.positions]
        places = [i for i, replies in enumerate(answered[name]) if not any(isinstance(r, llm.Failure) for r in replies)]
        out[name] = regression.questions(
            opened[name], talks, places, min(positions, default=None), result.settings["seed"]
        )
    return {name: asked for name, asked in out.items() if asked}


def compare_weights(result, opened, examples, asked, comparison, args, max_new_tokens, cache):
    """KL and perplexity: tables, and beside the answers what was drawn for the KL."""
    jobs = {name: regression.encode_heldout(c, examples, "--heldout_data_path") for name, c in opened.items()}
    kept = regression.within_all(jobs, opened, args.max_seq_len)
    logps, drawn, pairs = regression.measure(
        opened,
        {name: [of_model[i] for i in kept] for name, of_model in jobs.items()},
        asked,
        comparison.reference,
        max_new_tokens,
        cache,
        args.forward_batch_size,
    )
    kl_table(result, drawn, pairs, comparison, args.max_kl)
    heldout_tables(result, [examples[i] for i in kept], {name: logps[name] for name in opened}, comparison)
    for name, answers in drawn.items():
        for d, (k1, k3) in zip(answers, pairs[name]):
            result.rows[d.prompt].setdefault("kl", {})[name] = {
                "text": opened[name].codec.decode(d.answer),
                "tokens": len(d.answer),
                "k1": k1,
                "k3": k3,
            }
    names = ", ".join(args.heldout_data_path)
    result.protocol["held-out talk"] = both(
        f"{len(kept)} of {names}: the answer with its end, given the prompt; a document after BOS, or EOS",
        f"{names}의 {len(kept)}개. 프롬프트가 주어졌을 때의 답변(끝 토큰 포함), 문서는 BOS(없으면 EOS) 다음부터",
    )
    result.protocol["precision"] = ", ".join(sorted({c.dtype for c in opened.values()}))


def note_comparison(result, comparison, n_prompts):
    """What the differences and intervals are."""
    how = (
        both(", on the same prompts and held-out examples", ", 같은 프롬프트와 같은 평가용 대화에서")
        if comparison.answers
        else both(", which gave no answers: KL and held-out talk only", " (답변은 하지 않음: KL과 평가용 대화만 비교)")
    )
    result.protocol["reference"] = both(f"{comparison.reference}{how['en']}", f"{comparison.reference}{how['ko']}")
    result.protocol["intervals"] = both(
        "95 %, over prompts: jackknife for figures of a whole set of answers, Wilson for shares of answers, bootstrap (2,000) for means "
        "and paired differences; p two-sided, by the jackknife's t or by flipping signs",
        "95 %, 프롬프트 기준: 답변 전체의 지표는 잭나이프, 답변의 비율은 윌슨, 평균과 짝지은 차이는 부트스트랩 2,000회. p는 양측이며 잭나이프의 t "
        "또는 부호 뒤집기로 구함",
    )
    if n_prompts < FEW:
        result.warn(
            f"only {n_prompts} prompts: the intervals are too narrow; give at least {FEW}",
            f"프롬프트가 {n_prompts}개뿐이어서 구간이 실제보다 좁게 나옵니다. {FEW}개 이상을 주세요",
        )


def main(argv=None):
    result_flags, args, answer_flags, sampler, llm_flags = every = parse(argv)
    who = responders.read_responders(answer_flags.responder, llm_flags.base_url)
    comparison, outside = compare_with(args.reference, who)
    opened = responders.open_checkpoints(who, sampler)
    if outside:
        opened[comparison.reference] = local.Checkpoint(
            outside, "--reference", sampler.prompt_template, sampler.dtype, sampler.trust_remote_code
        )
    found = prompts(answer_flags.data_path, answer_flags.max_prompts, result_flags.seed)
    examples = regression.load_heldout(args.heldout_data_path, args.max_heldout, result_flags.seed) if opened else []
    system = responders.read_system(answer_flags.system, "--system") if answer_flags.system else ""
    talks = [responders.with_system(records.messages(r), system) for r in found]
    with (
        evaluation.Result("diversity", result_flags.output_dir, every, [outside] if outside else []) as result,
        evaluation.open_cache(llm_flags, result_flags.output_dir) as cache,
    ):
        answered = evaluation.answers(result, found, answer_flags, sampler, llm_flags, cache)
        note_comparison(result, comparison, len(found))
        compare_answers(result, answered, comparison)
        result.rows = evaluation.rows(
            found, answered, **{key: diversity_report.beside(answered, key) for key in ("repetition", "looping")}
        )
        if opened:
            asked = questions(opened, answered, talks, comparison, answer_flags.max_new_tokens, result)
            compare_weights(result, opened, examples, asked, comparison, args, answer_flags.max_new_tokens, cache)
    return result.code(answer_flags.max_failed)


if __name__ == "__main__":
    program.run(main, "stopped; start the same command again to resume: answers that arrived are in the cache")
