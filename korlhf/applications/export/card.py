"""Card and licence of an exported model. The card is a template, card.md, that huggingface_hub fills in. It holds no
path of this machine."""

from pathlib import Path

from huggingface_hub import ModelCard, ModelCardData

from korlhf import __version__
from korlhf.core.ai_mark import CARD
from korlhf.models.card import KINDS, written

TEMPLATE = Path(__file__).with_name("card.md")
HELD_OUT = ("heldout before ", "heldout after ")  # of the figures that every step takes before and after it trains


def card(title, origins, names, template, export, samples=(), notice=CARD):
    """The ModelCard. origins: of training.provenance.chain; names: of the base model and of the licence; template: how
    a prompt is written out; export: name -> value, how it was exported and what the check found; samples: some of the
    answers of that check, models.card.Sample; notice: language -> what it says of AI, or
    None."""
    base, licence_id = names
    head = ModelCardData(
        license=licence_id,
        language=["ko"],
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=["korlhf"],
        base_model=base if base.count("/") == 1 else None,
    )
    figures = origins[0].figures
    before, after = (
        {k.removeprefix(start): v for k, v in figures.items() if k.startswith(start)} for start in HELD_OUT
    )
    return ModelCard.from_template(
        head,
        template_path=str(TEMPLATE),
        title=title,
        korlhf=__version__,
        base=base,
        trainings=origins[-2::-1],
        held_out=[(name, before.get(name, ""), after.get(name, "")) for name in {**before, **after}],
        kind=KINDS["ppo" if origins[0].reward else "sft"],
        notice=list(dict.fromkeys(notice.values())) if notice else [],
        samples=list(map(written, samples)),
        figures={k: v for k, v in figures.items() if not k.startswith(HELD_OUT)},
        template=template,
        export=export,
        licence=licence_note(licence_id, base, origins),
    )


def licence_note(licence_id, base, origins):
    """What LICENSE says."""
    data = list(dict.fromkeys(name for origin in origins for name in (*origin.data, *origin.reward_data)))
    return (
        f"These weights are published under: {licence_id}\n\nThey derive from {base}, whose licence holds for them too"
        + ", as do the terms of the data that they were trained on"
        + (f": {', '.join(data)}." if data else ".")
        + "\nRead those before you use, publish or sell anything."
    )
