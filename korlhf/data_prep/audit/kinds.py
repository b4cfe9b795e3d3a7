"""The kinds of findings: what they are called, how bad they are, what --fix does about them."""

from typing import NamedTuple


class Kind(NamedTuple):
    """severity: high, medium or low. fix: "clean" the text, "remove" the row, or "report" only (removed when named in --remove)."""

    title: str
    severity: str
    fix: str
    why: str


KINDS = {
    "unusable_row": Kind("Rows that cannot be read", "high", "remove", "training stops at the first of them"),
    "empty": Kind(
        "Empty texts",
        "high",
        "remove",
        "nothing to learn from; an empty rejected answer makes every other one look good",
    ),
    "special_token": Kind(
        "Literal special tokens",
        "high",
        "clean",
        "the model learns to write the token's letters, or the token twice, instead of ending its answer",
    ),
    "template_marker": Kind(
        "Pieces of prompt templates", "high", "report", "the model learns to go on with the next turn by itself"
    ),
    "mojibake": Kind("Wrongly decoded characters", "high", "report", "letters are lost; decode the source anew"),
    "personal_data": Kind(
        "Personal data", "high", "report", "phone and resident numbers, cards, e-mail must not be learnt or passed on"
    ),
    "control": Kind("Control characters", "medium", "clean", "no person types them; they become tokens of their own"),
    "invisible": Kind(
        "Zero-width and invisible characters",
        "medium",
        "clean",
        "they split words for the tokenizer and hide that two texts are the same, or that one is empty",
    ),
    "carriage_return": Kind(
        "Carriage returns", "low", "clean", "they tell where a text comes from, which a reward model will use"
    ),
    "not_nfc": Kind(
        "Decomposed characters (not NFC)", "medium", "clean", "Hangul in separate Jamo costs three times the tokens"
    ),
    "trailing_space": Kind(
        "Blanks at the end", "medium", "clean", "one blank tells human from machine: reward models find it at once"
    ),
    "leading_space": Kind("Blanks at the beginning", "low", "clean", "the same, at the other end"),
    "doubled_space": Kind("Doubled spaces", "low", "clean", "traces of deleted words; the model learns them"),
    "mark": Kind(
        "Anonymisation and transcription marks",
        "high",
        "report",
        "the bot will call people name1; collect anew from the original form",
    ),
    "self_description": Kind(
        "The answer calls itself an AI",
        "medium",
        "report",
        "in chosen answers and references it teaches the bot to refuse everyday talk",
    ),
    "short_answer": Kind("Very short answers", "medium", "report", "backchannels, or what a filter left over"),
    "not_korean": Kind(
        "Texts that are not Korean", "medium", "report", "untranslated, or a bot that falls into another language"
    ),
    "cut_off": Kind("Answers cut off in mid-sentence", "medium", "report", "the model learns to stop anywhere"),
    "loop": Kind("Answers that go round in circles", "medium", "report", "the model learns to repeat itself"),
    "identical_pair": Kind("Chosen and rejected are the same", "high", "remove", "a pair without a preference"),
    "near_identical_pair": Kind("Chosen and rejected are nearly the same", "medium", "report", "what differs is noise"),
    "contradiction": Kind(
        "Contradicting labels", "high", "report", "the same two answers to the same prompt, once this way and once that"
    ),
    "both_sides": Kind(
        "An answer both chosen and rejected",
        "low",
        "report",
        "against different answers: right in a ranking, suspicious in single choices",
    ),
    "label_flip": Kind(
        "Suspicious labels", "medium", "report", "a quick model that never saw the pair is sure of the opposite"
    ),
    "duplicate_row": Kind("Exact copies of an earlier row", "medium", "remove", "counted several times in the loss"),
    "duplicate_prompt": Kind(
        "Prompts that an earlier row has too", "low", "report", "fine if the answers differ on purpose"
    ),
    "near_duplicate_prompt": Kind(
        "Prompts near-same to an earlier one", "low", "report", "a test set split off at random will leak"
    ),
    "test_overlap": Kind(
        "Training prompts that the test set has too, equal or near-same",
        "high",
        "report",
        "the test figures will be too good",
    ),
}
BIT = {name: 1 << i for i, name in enumerate(KINDS)}
ALWAYS_REMOVED = tuple(name for name, kind in KINDS.items() if kind.fix == "remove")
REMOVABLE = tuple(name for name, kind in KINDS.items() if kind.fix == "report")
GOOD_ONLY = (
    "short_answer",
    "self_description",
    "not_korean",
    "cut_off",
    "loop",
)  # in a rejected answer they are as they should be
SEVERITIES = ("high", "medium", "low")


def names(bits):
    """The kinds whose bits are set."""
    return [name for name, bit in BIT.items() if bits & bit]
