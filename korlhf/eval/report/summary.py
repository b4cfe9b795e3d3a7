"""A run in a few figures and sentences, and what each stage was trained on."""

from pathlib import Path

from korlhf.core.tables import both
from korlhf.eval.report.charts import finite, minus
from korlhf.eval.report.words import TITLES, rule_name


def number(value, digits=3):
    """A measured number as text, "–" if there is none."""
    return minus(f"{value:.{digits}f}") if finite(value) else "–"


def count(value):
    """A number of things as text, "?" if it is not known."""
    return f"{value:,}" if finite(value) else "?"


def cards(run):
    """One card a stage that measured something: {"stage", "label", "before", "after", "details": [both], "sentence": both}."""
    return [CARDS[s.step](s) for s in run.stages if s.done and s.step in CARDS and s.finished.get("heldout_after")]


def _measured(stage):
    return stage.finished.get("heldout_before") or {}, stage.finished["heldout_after"]


def _sft(stage):
    before, after = _measured(stage)
    old, new, n = number(before.get("loss")), number(after.get("loss")), count(after.get("n"))
    fewer = both("lower is better", "낮을수록 좋음")
    return {
        "stage": stage,
        "label": both("held-out loss (nats per token)", "평가용 손실 (토큰당 nat)"),
        "before": old,
        "after": new,
        "details": [
            both(
                f"perplexity {number(before.get('perplexity'), 1)} → {number(after.get('perplexity'), 1)}",
                f"퍼플렉시티 {number(before.get('perplexity'), 1)} → {number(after.get('perplexity'), 1)}",
            ),
            both(f"n {n}", f"{n}개"),
            fewer,
        ],
        "sentence": both(
            f"the loss on {n} held-out examples went from {old} to {new}",
            f"평가용 예시 {n}개의 손실은 {old} → {new}입니다",
        ),
    }


def _reward(stage):
    _, after = _measured(stage)
    low, high = (number(x) for x in after.get("ci95") or (None, None))
    new, n = number(after.get("accuracy")), count(after.get("n"))
    details = [both(f"95 % interval {low}–{high}", f"95 % 구간 {low}–{high}"), both(f"n {n} pairs", f"{n}쌍")]
    rules = stage.finished.get("trivial_rules") or {}
    told = both("", "")
    if rules:
        rule, share = max(rules.items(), key=lambda item: item[1])
        name = rule_name(rule)
        details.append(
            both(
                f"best trivial rule {number(share)} ({name['en']})",
                f"가장 나은 단순 규칙 {number(share)} ({name['ko']})",
            )
        )
        told = both(
            f"; the best rule that reads no sense gets {number(share)}",
            f" 뜻을 읽지 않는 규칙 가운데 가장 나은 것은 {number(share)}입니다",
        )
    return {
        "stage": stage,
        "label": both("held-out accuracy", "평가용 정확도"),
        "before": None,
        "after": new,
        "details": details,
        "sentence": both(
            f"it ranks {new} of {n} held-out pairs right ({low}–{high}){told['en']}",
            f"평가용 {n}쌍에서 정확도가 {new} ({low}–{high})입니다{'.' + told['ko'] if rules else ''}",
        ),
    }


def _ppo(stage):
    before, after = _measured(stage)
    old, new, n = number(before.get("score"), 2), number(after.get("score"), 2), count(after.get("n"))
    pairs = [
        (both("EOS rate", "EOS 비율"), "eos_rate", 3),
        (both("length", "길이"), "length", 1),
        (both("friendly share", "친절한 답변"), "friendly", 3),
    ]
    details = [both(f"KL {number(after.get('kl'), 1)} nats per answer", f"KL 답변당 {number(after.get('kl'), 1)} nat")]
    for name, key, digits in pairs:
        change = f"{number(before.get(key), digits)} → {number(after.get(key), digits)}"
        details.append(both(f"{name['en']} {change}", f"{name['ko']} {change}"))
    details.append(both(f"n {n}", f"{n}개"))
    return {
        "stage": stage,
        "label": both("held-out score of the reward model", "평가용 보상 모델 점수"),
        "before": old,
        "after": new,
        "details": details,
        "sentence": both(
            f"the reward model's score of answers to {n} held-out prompts went from {old} to {new}. It was trained to "
            "raise that score, so this alone does not show better answers",
            f"평가용 프롬프트 {n}개에 대한 답변의 보상 모델 점수는 {old} → {new}입니다. 이 점수를 높이도록 학습했으므로 이것만으로 답변이 "
            "나아졌다고 할 수는 없습니다",
        ),
    }


CARDS = {1: _sft, 2: _reward, 3: _ppo}


def duration(seconds):
    """Seconds as text in both languages."""
    if not finite(seconds):
        return None
    total = round(seconds)
    hours, minutes, rest = total // 3600, total % 3600 // 60, total % 60
    if hours:
        return both(f"{hours} h {minutes} min", f"{hours}시간 {minutes}분")
    if minutes:
        return both(f"{minutes} min {rest} s", f"{minutes}분 {rest}초")
    return both(f"{rest} s", f"{rest}초")


def memory(megabytes):
    """MiB as text."""
    if not finite(megabytes):
        return None
    return f"{megabytes / 1024:.1f} GiB" if megabytes >= 1024 else f"{megabytes:.0f} MiB"


def facts(stage, folder):
    """What was trained on what: [(tables.both, text or tables.both)] of a stage, unknown ones left out. folder: of the run."""
    get = stage.settings.get
    rows = [(both("base", "바탕 모델"), place(stage.base, folder))]
    if stage.step == 3:
        rows.append(
            (
                both("reward model", "보상 모델"),
                place(get("reward_model_name_or_path") or get("critic_model_name_or_path"), folder),
            )
        )
    rows += [
        (both("data", "데이터"), _data(stage)),
        (both("held out", "평가용 데이터"), _heldout(stage)),
        (
            both("template", "템플릿"),
            {"own": both("the tokenizer's own", "토크나이저 자체 템플릿")}.get(stage.template, stage.template or None),
        ),
        (both("training", "학습"), _training(stage)),
        (both("learning rate", "학습률"), _rates(stage)),
        (both("LoRA", "LoRA"), _lora(stage)),
    ]
    if stage.step == 3:
        rows += [(both("sampling", "생성"), _sampling(stage)), (both("PPO", "PPO"), _ppo_settings(stage))]
    took = duration(stage.seconds)
    if took and not stage.clocked:
        took = both(f"{took['en']} (pauses included)", f"{took['ko']} (멈춘 시간 포함)")
    rows += [
        (
            both("precision", "정밀도"),
            _joined(get("dtype"), _prefixed("ZeRO ", get("zero_stage", get("actor_zero_stage")))),
        ),
        (both("seed", "시드"), get("seed")),
        (both("took", "걸린 시간"), took),
        (both("peak memory", "최대 메모리"), memory(stage.memory)),
    ]
    return [(name, value) for name, value in rows if value not in (None, "", [])]


def _joined(*parts):
    return ", ".join(str(p) for p in parts if p not in (None, ""))


def _prefixed(prefix, value):
    return f"{prefix}{value}" if value is not None else None


def _data(stage):
    names = [*stage.settings.get("data_path", []), *stage.settings.get("sft_only_data_path", [])]
    n = stage.finished.get("examples", stage.settings.get("examples"))
    split = stage.settings.get("data_split", "")
    told = ", ".join(map(str, names))
    if n is not None:
        return both(
            f"{told}: {n:,} {'prompts' if stage.step != 1 else 'examples'} (split {split})",
            f"{told}: {'프롬프트' if stage.step != 1 else '예시'} {n:,}개 (분할 {split})",
        )
    return told


def _heldout(stage):
    after = stage.finished.get("heldout_after") or stage.finished.get("heldout_before") or {}
    names = ", ".join(map(str, stage.settings.get("eval_data_path", [])))
    share = stage.settings.get("eval_share")
    en = names or (f"the set's own, else {share:.0%} of the data" if finite(share) else "")
    ko = names or (f"데이터 자체의 평가용, 없으면 {share:.0%}" if finite(share) else "")
    n = f": {after['n']:,}" if after.get("n") is not None else ""
    return both(en + n, ko + (n + "개" if n else "")) if en else None


def _training(stage):
    get, steps = stage.settings.get, stage.finished.get("steps")
    batch = get("per_device_train_batch_size", get("per_device_generation_batch_size"))
    repeats = (get("generation_batches" if stage.step == 3 else "gradient_accumulation_steps") or 1) * (
        get("processes") or 1
    )
    epochs = get("num_train_epochs")
    if batch is None:
        return f"{steps:,}" if steps else None
    size = batch * repeats
    en = [f"{steps:,} steps" if steps else "", plural(epochs, "epoch") if epochs else "", f"{size:,} a step"]
    ko = [f"{steps:,}스텝" if steps else "", f"{epochs}에폭" if epochs else "", f"스텝당 {size:,}개"]
    length = get("max_seq_len")
    if length:
        en.append(f"at most {length:,} tokens")
        ko.append(f"최대 {length:,}토큰")
    return both(_joined(*en), _joined(*ko))


def plural(n, noun):
    """1 epoch, 2 epochs"""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def _rates(stage):
    get = stage.settings.get
    if stage.step == 3:
        return both(
            f"actor {get('actor_learning_rate')}, critic {get('critic_learning_rate')} ({get('lr_scheduler_type')})",
            f"액터 {get('actor_learning_rate')}, 크리틱 {get('critic_learning_rate')} ({get('lr_scheduler_type')})",
        )
    return f"{get('learning_rate')} ({get('lr_scheduler_type')})" if get("learning_rate") is not None else None


def _lora(stage):
    get = stage.settings.get
    ranks = {"": get("lora_dim"), "actor": get("actor_lora_dim"), "critic": get("critic_lora_dim")}
    used = [f"{who} {rank}".strip() for who, rank in ranks.items() if rank]
    if used:
        return both(f"rank {', '.join(used)}", f"랭크 {', '.join(used)}")
    return (
        both("no, all weights", "사용 안 함(모든 가중치 학습)") if any(rank == 0 for rank in ranks.values()) else None
    )


def _sampling(stage):
    get = stage.settings.get
    how, prompt, answer = (
        f"{get('temperature')}, top-p {get('top_p')}",
        get("max_prompt_seq_len"),
        get("max_answer_seq_len"),
    )
    return both(
        f"temperature {how}, prompts up to {prompt} and answers up to {answer} tokens",
        f"온도 {how}, 프롬프트 최대 {prompt}토큰, 답변 최대 {answer}토큰",
    )


def _ppo_settings(stage):
    get = stage.settings.get
    kl, clip, gamma, lam, epochs = (get(name) for name in ("kl_coef", "cliprange", "gamma", "lam", "ppo_epochs"))
    target = get("kl_target")
    steered = (
        both(
            f" at first, steered to a KL of {target:g} nats per answer",
            f"에서 시작해 KL을 답변당 {target:g} nat에 맞춤",
        )
        if target
        else both("", "")
    )
    return both(
        f"KL coefficient {kl}{steered['en']}, clip {clip}, gamma {gamma}, lambda {lam}, {plural(epochs, 'epoch')} a batch",
        f"KL 계수 {kl}{steered['ko']}, 클립 {clip}, 감마 {gamma}, 람다 {lam}, 배치마다 {epochs}에폭",
    )


def sentences(run, warnings):
    """The run in a few plain sentences: [{"name": of a stage or "", "text": both}]."""
    done = [s for s in run.stages if s.done]
    named = ", ".join(s.name for s in done)
    out = []
    if run.stages:
        ended = (
            "의 학습이 모두 끝났습니다"
            if len(done) == len(run.stages)
            else f" 가운데 {len(done)}개의 학습이 끝났습니다"
        )
        out.append(
            {
                "name": "",
                "text": both(
                    f"{len(done)} of {len(run.stages)} models are finished{f' ({named})' if done else ''}. There are {len(run.results)} "
                    f"evaluations and {len(warnings)} warnings; the warnings stand above.",
                    f"모델 {len(run.stages)}개{ended}{f'({named})' if done else ''}. 평가 결과는 {len(run.results)}개, "
                    f"경고는 {len(warnings)}개이며 경고는 위에 있습니다.",
                ),
            }
        )
    for card in cards(run):
        stage = card["stage"]
        names = ", ".join(map(str, stage.settings.get("data_path", []))) or "?"
        title, base = TITLES[stage.step], place(stage.base, run.folder) or "?"
        out.append(
            {
                "name": stage.name,
                "text": both(
                    f"{title['en']}, from {base}, on {names}: {card['sentence']['en']}.",
                    f"{title['ko']}, 바탕 모델 {base}, 데이터 {names}. {card['sentence']['ko']}.",
                ),
            }
        )
    return out


def place(path, folder):
    """A path as it is shown: one within the run without the run's own folder."""
    try:
        return str(Path(path).resolve().relative_to(folder.resolve())) if path else ""
    except ValueError:
        return path
