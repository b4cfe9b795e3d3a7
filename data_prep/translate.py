"""English records -> Korean ones: a server translates every text by itself; what is no translation is dropped.

A record is translated whole or not at all. Checked of every text: it is Korean, neither a refusal nor an answer to the
question in it, neither far shorter nor longer than the original; code, URLs and numbers are all there; nothing was put
around it. Left out: judging how well a translation reads (score.py does that for the answers).
"""

from dataclasses import dataclass

from korlhf.core import program
from korlhf.core.flags import REQUIRED, flag, parse, seed_flag
from korlhf.data import stage
from korlhf.data_prep.generate import common, translate
from korlhf.llm.flags import LlmFlags


@dataclass(frozen=True, kw_only=True)
class TranslateFlags:
    """translation"""

    translator: str = flag(REQUIRED, "openai:MODEL, the model that translates")
    temperature: float = flag(0.3, "sampling temperature", low=0)
    max_new_tokens: int = flag(2048, "longest translation in tokens; what is cut off there is dropped", above=0)
    attempts: int = flag(3, "tries in all at a translation that fails a check", above=0)
    seed: int = seed_flag("seed of the first attempt; each further one has the next")
    min_hangul: float = flag(0.5, "least share of Hangul among the letters outside code and URLs", low=0, high=1)
    min_length_ratio: float = flag(
        0.25, "least length, in characters outside code per character of the original", low=0
    )
    max_length_ratio: float = flag(1.2, "greatest length, likewise", above=0)
    length_slack: int = flag(15, "characters that a translation may lie beyond these lengths", low=0)
    max_failed: float = flag(
        0.05, "if a larger share of the records failed (dropped is not failed), exit with code 3", low=0, high=1
    )


def main(argv=None):
    groups = stage.StageFlags, TranslateFlags, LlmFlags
    files, args, llm = parse(argv, "Translate English records to Korean", *groups)
    model = common.openai_model("--translator", args.translator)
    found = translate.read_records(files.input)
    with common.asking("translate", files, args, llm) as (out, client):
        english = []
        for record in found:
            if reason := translate.not_english(record):
                out.drop(reason, record)
            else:
                english.append(record)
        translator = translate.Translator(args, model, client, out)
        translator.translate(text for record in english for text in translate.sources(record))
        for record in english:
            translator.finish(record)
    return program.exit_code(out.failures, len(english), args.max_failed)


if __name__ == "__main__":
    program.run(main, stage.RESUMES)
