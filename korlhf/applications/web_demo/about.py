"""What visitors are told of a model: its base, the trainings behind it, its licence. No path of this machine."""

from pathlib import Path

from korlhf.core.errors import InputError
from korlhf.core.files import read_json
from korlhf.training import provenance

EXPORT = "export.json"  # of an exported folder, which has no trainings beside it any more


def about(model):
    """{"base", "trainings": those of provenance.trainings, "licence"} of a model folder, LoRA folder
    or hub name; what is not known is "" or []. Of a server nothing is known: {}. Nothing is fetched."""
    if model.startswith("openai:"):
        return {}
    exported = Path(model).expanduser() / EXPORT
    if exported.is_file():
        try:
            found = read_json(exported)
        except (OSError, ValueError) as error:
            raise InputError(f"{exported}: cannot be read: {error}; export the model again") from error
        settings = found.get("settings", {})
        known = {"base": settings.get("base_model", ""), "licence": settings.get("license", "")}
        return {**known, "trainings": found.get("trainings", [])}
    origins = provenance.chain(model)
    try:
        licence = provenance.licence(origins, fetch=False)[0]
    except InputError:
        licence = ""
    return {"base": origins[-1].name, "trainings": provenance.trainings(origins), "licence": licence}
