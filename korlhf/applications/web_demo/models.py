"""The models of a demo, by the names that visitors see, and what visitors are told of them: no path of this machine."""

import re
from pathlib import Path

from korlhf.applications.chat.bots import open_bot
from korlhf.applications.guard import helplines
from korlhf.core.ai_mark import MARK
from korlhf.core.errors import InputError, told
from korlhf.core.files import read_json
from korlhf.llm.responders import NAMED
from korlhf.training import provenance

SERVER_NAME = re.compile(r"openai:(?P<name>[^@]*)")
EXPORT = "export.json"  # of an exported folder, which has no trainings beside it any more


def named(texts):
    """--model -> {name: model}. Raises InputError for two of the same name."""
    models = {}
    for text in texts:
        match = NAMED.fullmatch(text)
        name, model = (match["name"].strip(), match["model"]) if match else ("", text)
        of_server = SERVER_NAME.match(model)
        name = name or (of_server["name"] if of_server else Path(model).expanduser().resolve().name)
        if name in models:
            first = next(iter(models.values()))
            raise InputError(f"--model: two are called {name!r}; name each, e.g. --model first={first} second={model}")
        models[name] = model
    return models


def find_report(given, models):
    """The report's path, or None. models: {name: model}. Raises InputError if one is given that cannot be read."""
    first = Path(next(iter(models.values()))).expanduser()
    next_to_it = first.resolve().parent / "report.html"
    if not given:
        return next_to_it if first.is_dir() and next_to_it.is_file() else None
    path = Path(given).expanduser()
    with told(f"--report {path}: cannot be read", "make it with eval/report.py, or omit the flag"):
        path.read_bytes()
    return path.resolve()


def open_bots(models, limits, flags, stack):
    """{name: bot}, closed with the ExitStack. models: {name: model}; limits: limits.Limits; flags: of open_bot.

    Raises InputError."""
    bots = {}
    for name, model in models.items():
        print(f"opening {name} ({model})", flush=True)
        bot = open_bot(model, flags, limits.context_tokens, limits.max_new_tokens)
        bots[name] = stack.enter_context(bot)
    return bots


def about(model):
    """{"base", "trainings": those of provenance.trainings, "licence"} of a model folder, LoRA folder
    or hub name; what is not known is "" or []. Of a server nothing is known: {}. Nothing is fetched."""
    if model.startswith("openai:"):
        return {}
    exported = Path(model).expanduser() / EXPORT
    if exported.is_file():
        with told(f"{exported}: cannot be read", "export the model again", (OSError, ValueError)):
            found = read_json(exported)
        settings = found.get("settings", {})
        known = {"base": settings.get("base_model", ""), "licence": settings.get("license", "")}
        return {**known, "trainings": found.get("trainings", [])}
    origins = provenance.chain(model)
    try:
        licence = provenance.licence(origins, fetch=False)[0]
    except InputError:
        licence = ""
    return {"base": origins[-1].name, "trainings": provenance.trainings(origins), "licence": licence}


def settings(models, service, language, notice):
    """What the page is told when it is opened. models: {name: model}; service: service.Service; notice: language ->
    what people are told of AI, or None."""
    names = ("temperature", "max_temperature", "top_p", "max_new_tokens", "max_characters", "max_messages")
    told = {name: getattr(service.limits, name) for name in names}
    if not service.system.fixed:
        told["system"] = service.system.text
    return {
        "models": list(models),
        "about": {name: about(model) for name, model in models.items()},
        "scores": service.scorer is not None,
        "ratings": service.rating_file is not None,
        "language": language,
        "mark": MARK,
        "notice": notice,
        "helplines": helplines(),
        **told,
    }
