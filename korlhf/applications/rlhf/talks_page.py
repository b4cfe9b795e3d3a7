"""talks.json as a page for people, in English and Korean."""

from typing import Any

from korlhf.applications.rlhf.budget import LAST, SHARES
from korlhf.core.ai_mark import NOTICE
from korlhf.core.texts import read_yaml
from korlhf.rl.prompt_eval import cell, marked

TEXTS = read_yaml("korlhf.applications.rlhf", "talks.yaml")
LABELS = {"base": "base", "sft": "SFT", **{name: name.upper() for name in LAST}}


def page(result: dict[str, Any], language: str) -> str:
    """The Markdown document of a result of talks.py."""
    text = TEXTS[language]
    base = result["models"]["base"]["model"]
    how = {**result["sampling"], "seed": result["seed"], "dtype": result["dtype"]}
    template = result["template"].replace("\n", "\\n").replace("`", "'")
    trained = ", ".join(LABELS[name] for name in result["models"] if name != "base")
    parts = [
        f"# {text['title']}",
        text["other"],
        f"> {NOTICE[language]}",
        text["what"].format(base=base, trained=trained, n=len(result["talks"])),
    ]
    parts += [text["how"].format(**how, template=template), f"## {text['figures']}", table(result, language)]
    parts += [text["interval"], *_training(result["training"], text), f"## {text['talks']}"]
    for number, talk in enumerate(result["talks"], 1):
        lines = [f"**{text['roles'][m['role']]}** {cell(m['content'])}" for m in talk["messages"]]
        said = [f"- **{LABELS[name]}** {cell(marked(answer))}" for name, answer in talk["answers"].items()]
        parts += [f"### {number} ({talk['category']})", "  \n".join(lines), "\n".join(said)]
    return "\n\n".join(parts) + "\n"


def table(result: dict[str, Any], language: str) -> str:
    """The figures as a Markdown table, one column per model."""
    text, models = TEXTS[language], result["models"]
    lines = [text["head"].format(models=" | ".join(LABELS[name] for name in models)), "|---" * (len(models) + 2) + "|"]
    for key, title in text["rows"].items():
        found = [m[key]["value"] if key == "perplexity" else m[key] for m in models.values()]
        n = [m[key]["n"] if key == "perplexity" else m["n"] for m in models.values()][0]
        digits = 1 if key in ("perplexity", "tokens") else 2
        lines.append(f"| {title} | {' | '.join(_value(value, digits) for value in found)} | {n} |")
    return "\n".join(lines)


def _value(value, digits):
    if not isinstance(value, list):
        return f"{value:.{digits}f}"
    middle, low, high = (f"{x:.{digits}f}" for x in value)
    return f"{middle} ({low}-{high})"


def _training(training, text):
    """Steps and minutes of the trainings that are finished, what the reward model and the last one reached."""
    order = [name for name in SHARES if name in training]
    if not order:
        return []
    seconds = training.get("seconds", {})
    rows = []
    for name in order:
        of = training[name]
        took = f"{seconds[name]['seconds'] / 60:.0f}" if name in seconds else ""
        cells = [
            text["names"].get(name) or LABELS[name],
            of["steps"],
            of.get("batch") or "",
            of.get("rate") or "",
            took,
        ]
        rows.append("| " + " | ".join(map(str, cells)) + " |")
    parts = [f"## {text['training']}", "\n".join([text["steps"], "|---" * 5 + "|", *rows])]
    if after := training.get("reward", {}).get("heldout_after"):
        rule, share = max(training["reward"]["trivial_rules"].items(), key=lambda item: item[1])
        low, high = after["ci95"]
        figures = {"accuracy": after["accuracy"], "n": after["n"], "low": low, "high": high}
        parts.append(text["reward"].format(**figures, rule=rule, share=share))
    for name in LAST:
        before, after = (training.get(name, {}).get(f"heldout_{when}") for when in ("before", "after"))
        if not after or "score" not in after:  # DPO has no score
            continue
        figures = {"before": before["score"], "after": after["score"], "std": before["score_std"]}
        parts.append(text["last"].format(name=LABELS[name], **figures, n=after["n"]))
        if "kl" in after:
            parts[-1] += " " + text["kl"].format(kl=after["kl"])
    return parts
