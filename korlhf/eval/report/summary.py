"""A run in a few figures and sentences, and what each stage was trained on."""

from dataclasses import dataclass
from pathlib import Path

from korlhf.core.tables import both, joined
from korlhf.eval.report.charts import finite, minus
from korlhf.eval.report.gather import Stage
from korlhf.eval.report.words import STEPS, say
from korlhf.eval.texts import rule_name
from korlhf.training.reward_flags import reward_model_of


@dataclass
class Card:
    """What a stage measured; label, details and sentence in both languages. before: None if only the end counts."""

    stage: Stage
    label: dict
    before: str | None
    after: str
    details: list
    sentence: dict


def number(value, digits=3):
    """A measured number as text, "–" if there is none."""
    return minus(f"{value:.{digits}f}") if finite(value) else "–"


def count(value):
    """A number of things as text, "?" if it is not known."""
    return f"{value:,}" if finite(value) else "?"


def cards(run):
    """A Card per stage that measured something."""
    draw = {1: _sft, 2: _reward, 3: _ppo}
    return [draw[s.step](s) for s in run.stages if s.done and s.step in STEPS and s.finished.get("heldout_after")]


def best_rule(stage):
    """(trivial rule or n-gram classifier, its accuracy) of a reward model, the best one; None without any."""
    return max((stage.finished.get("trivial_rules") or {}).items(), key=lambda rule: rule[1], default=None)


def title(stage):
    """What a stage is: PPO, reward model ..."""
    return both(stage.algorithm, stage.algorithm) if stage.algorithm else say(f"titles.{stage.step}")


def _change(stage, name, digits=3):
    before, after = (stage.finished.get(f"heldout_{when}") or {} for when in ("before", "after"))
    return number(before.get(name), digits), number(after.get(name), digits)


def _arrow(stage, name, digits=3):
    return say(f"cards.{name}", change=" → ".join(_change(stage, name, digits)))


def _sft(stage):
    before, after = _change(stage, "loss")
    n = count(stage.heldout.get("n"))
    details = [_arrow(stage, "perplexity", 1), say("cards.n", n=n), say("cards.lower_is_better")]
    sentence = say("cards.sft", n=n, before=before, after=after)
    return Card(stage, say("cards.loss"), before, after, details, sentence)


def _reward(stage):
    low, high = (number(x) for x in stage.heldout.get("ci95") or (None, None))
    after, n = number(stage.heldout.get("accuracy")), count(stage.heldout.get("n"))
    details = [say("cards.interval", low=low, high=high), say("cards.pairs", n=n)]
    key, values = "cards.reward", {"after": after, "n": n, "low": low, "high": high}
    if best := best_rule(stage):
        key, values["share"] = "cards.reward_and_rule", number(best[1])
        details.append(say("cards.best_rule", share=values["share"], rule=rule_name(best[0])))
    return Card(stage, say("cards.accuracy"), None, after, details, say(key, **values))


def _ppo(stage):
    before, after = _change(stage, "score", 2)
    n = count(stage.heldout.get("n"))
    details = [say("cards.kl", kl=number(stage.heldout.get("kl"), 1))]
    shown = {"eos_rate": 3, "length": 1, "friendly": 3, "sense": 3, "ref_nll": 2}
    details += [_arrow(stage, name, digits) for name, digits in shown.items() if name in stage.heldout]
    details.append(say("cards.n", n=n))
    return Card(stage, say("cards.score"), before, after, details, say("cards.ppo", n=n, before=before, after=after))


def duration(seconds):
    """Seconds as text in both languages."""
    if not finite(seconds):
        return None
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    unit = "hours" if hours else "minutes" if minutes else "seconds"
    return say(f"facts.{unit}", hours=hours, minutes=minutes, seconds=seconds)


def memory(megabytes):
    """MiB as text."""
    if not finite(megabytes):
        return None
    return f"{megabytes / 1024:.1f} GiB" if megabytes >= 1024 else f"{megabytes:.0f} MiB"


def facts(stage, folder):
    """What was trained on what: [(tables.both, text or tables.both)], unknown ones left out. folder: of the run."""
    get = stage.settings.get
    reward = ", ".join(get("reward") or ()) or reward_model_of(stage.settings)
    took = duration(stage.seconds)
    zero = get("zero_stage", get("actor_zero_stage"))
    values = {
        "base": place(stage.base, folder),
        "reward_model": place(reward, folder) if stage.step == 3 else "",
        "data": _data(stage),
        "heldout": _heldout(stage),
        "template": say("facts.own_template") if stage.template == "own" else stage.template,
        "training": _training(stage),
        "learning_rate": _rates(stage),
        "lora": _lora(stage),
        "sampling": _sampling(stage),
        "ppo": _ppo_settings(stage),
        "precision": ", ".join(filter(None, (get("dtype"), f"ZeRO {zero}" if zero is not None else ""))),
        "seed": get("seed"),
        "took": took if stage.clocked or not took else say("facts.with_pauses", time=took),
        "peak_memory": memory(stage.finished.get("peak_memory_mb")),
    }
    labels = {"ppo": both(stage.algorithm, stage.algorithm)}
    return [(labels.get(name) or say(f"facts.{name}"), v) for name, v in values.items() if v not in (None, "")]


def _data(stage):
    names = ", ".join(map(str, stage.settings.get("data_path", []) + stage.settings.get("sft_only_data_path", [])))
    n = stage.finished.get("examples", stage.settings.get("examples"))
    if n is None:
        return names
    key = "facts.examples" if stage.step == 1 else "facts.prompts"
    return say(key, names=names, n=count(n), split=stage.settings.get("data_split", ""))


def _heldout(stage):
    names = ", ".join(map(str, stage.settings.get("eval_data_path", [])))
    share = stage.settings.get("eval_share")
    if not names and finite(share):
        names = say("facts.default_share", share=f"{share:.0%}")
    n = stage.heldout.get("n")
    return names if n is None or not names else say("facts.heldout_of", names=names, n=count(n))


def _training(stage):
    get, steps = stage.settings.get, stage.finished.get("steps")
    batch = get("per_device_train_batch_size", get("per_device_generation_batch_size"))
    repeats = get("generation_batches" if stage.step == 3 else "gradient_accumulation_steps") or 1
    parts = [say("facts.steps", n=count(steps))] if steps else []
    if batch is not None:
        parts += [_epochs(epochs)] if (epochs := get("num_train_epochs")) else []
        parts.append(say("facts.per_step", n=count(batch * repeats * (get("processes") or 1))))
        parts += [say("facts.tokens", n=count(length))] if (length := get("max_seq_len")) else []
    return joined(parts) if parts else None


def _epochs(n):
    return say("facts.epoch" if n == 1 else "facts.epochs", n=n)


def _rates(stage):
    get = stage.settings.get
    schedule = get("lr_scheduler_type")
    if stage.step == 3:
        actor, critic = get("actor_learning_rate"), get("critic_learning_rate")
        return say("facts.rates", actor=actor, critic=critic, schedule=schedule)
    return f"{get('learning_rate')} ({schedule})" if get("learning_rate") is not None else None


def _lora(stage):
    ranks = {who: stage.settings.get(f"{who} lora_dim".strip().replace(" ", "_")) for who in ("", "actor", "critic")}
    used = [f"{who} {rank}".strip() for who, rank in ranks.items() if rank]
    if used:
        return say("facts.rank", ranks=", ".join(used))
    return say("facts.all_weights") if 0 in ranks.values() else None


def _sampling(stage):
    if stage.step != 3:
        return None
    names = {
        "temperature": "temperature",
        "top_p": "top_p",
        "prompt": "max_prompt_seq_len",
        "answer": "max_answer_seq_len",
    }
    return say("facts.sampled", **{hole: stage.settings.get(name) for hole, name in names.items()})


def _ppo_settings(stage):
    if stage.step != 3:
        return None
    get = stage.settings.get
    kl, target = get("kl_coef"), get("kl_target")
    first = say("facts.kl_controlled", kl=kl, target=f"{target:g}") if target else say("facts.kl_fixed", kl=kl)
    values = {"clip": get("cliprange"), "gamma": get("gamma"), "lam": get("lam"), "epochs": _epochs(get("ppo_epochs"))}
    return joined([first, say("facts.update", **values)])


def sentences(run, warnings):
    """The run in a few plain sentences: [(name of a stage or "", tables.both)]."""
    done = [s.name for s in run.stages if s.done]
    names = say("sentences.names", names=", ".join(done)) if done else ""
    counts = {"done": len(done), "all": len(run.stages), "results": len(run.results), "warnings": len(warnings)}
    lines = [("", say("sentences.finished", names=names, **counts))] if run.stages else []
    for card in cards(run):
        stage = card.stage
        data = ", ".join(map(str, stage.settings.get("data_path", []))) or "?"
        values = {"title": title(stage), "base": place(stage.base, run.folder) or "?", "data": data}
        lines.append((stage.name, say("sentences.stage", sentence=card.sentence, **values)))
    return lines


def place(path, folder):
    """A path as it is shown: one within the run without the run's own folder."""
    try:
        return str(Path(path).resolve().relative_to(folder.resolve())) if path else ""
    except ValueError:
        return path
