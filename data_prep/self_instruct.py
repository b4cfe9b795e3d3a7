"""New everyday instructions from a few hand-written seed tasks: a model is shown some and writes more of the kind.

Rounds of a fixed number of requests. A request shows seeds and, from the second round on, some of what earlier rounds brought; its
numbered list is filtered, and what is left joins the pool that the next instruction is compared with. Nothing depends on the order in
which answers arrive, so a run that was killed goes on from the cache and ends with the same bytes.
Source: Self-Instruct (arXiv 2212.10560, section 3). Left out: answers (respond.py writes them) and classification tasks, which have no
place in everyday talk.
"""

import random
import re
import sys
from dataclasses import asdict, dataclass

from korlhf.core import flags, program
from korlhf.core.errors import InputError
from korlhf.data import example as rows
from korlhf.data import record as records
from korlhf.data import rouge as similar
from korlhf.data import stage
from korlhf.korean.friendly import is_korean
from korlhf.llm import client as llm
from korlhf.llm.flags import LlmFlags

GENERATED_SHARE = 0.25  # of the examples, as in the paper: two of eight; the rest are seeds

SYSTEM = """당신은 한국어 챗봇 학습에 쓸 사용자 발화를 쓰는 작가입니다. 사람들이 일상에서 챗봇에게 건넬 만한 말을 보기처럼 씁니다.

지킬 것:
- 소재와 말하는 사람의 처지, 문장 형식을 저마다 다르게 합니다. 고민, 자랑, 안부, 부탁, 추천, 의견 묻기, 짧은 글 부탁을 고루 섞습니다. 묻지 않고 털어놓기만 하는 말도 넣습니다.
- 실제로 입에서 나올 법한 말로 씁니다. 해요체와 반말을 섞고, 시험 문제나 보고서 같은 말은 쓰지 않습니다.
- 보기와 같거나 비슷한 말은 쓰지 않습니다.
- 글만 주고받는 챗봇이 그 말만 보고 답할 수 있어야 합니다. 사진, 소리, 파일, 검색, 예약, 알람이 필요한 말이나 다른 글을 봐야 하는 말은 쓰지 않습니다.
- 말 하나는 한두 문장입니다. 한 줄에 하나씩 번호를 붙여 목록만 씁니다. 대답이나 설명은 쓰지 않습니다."""
REQUEST = "보기:\n{examples}\n\n보기와 겹치지 않는 새 말 {count}개를 1번부터 번호를 붙여 쓰세요."

_ITEM = re.compile(r"(\d{1,3})[.)](?!\d)\s*(\S.*)")

_GIVE = r"(?:줘|줄래|줄 수|다오|달라(?!고|는|던|며|면)|주(?:라|렴|세요|시|실|십|겠)|부탁)"
_SEEN = r"(?:사진|그림|이미지|짤|(?:동)?영상|음성|음악|노래|파일|엑셀|PDF|PPT|링크|그래프|차트|지도)"
_LITTLE = r"(?:(?:좀|하나|한 장|몇 장|한번|한 번|다시|바로|같이) )*"
CANNOT = [
    re.compile(p)
    for p in (
        rf"{_SEEN}(?:을|를|도|로|으로)? {_LITTLE}(?:그려|보여|찾아|만들어|찍어|보내|틀어|들려|재생해|편집해|보정해|합성해|분석해|올려|열어|첨부해) ?{_GIVE}",
        r"(?<![가-힣])(?:아래|위|다음|여기|이|저|첨부한|첨부된|올린|보낸)(?:의|에|에 있는)? (?:사진|그림|이미지|짤|(?:동)?영상|파일|링크|그래프|차트|지도)",
        r"첨부 ?(?:파일|했|합니다|할게)",
        rf"(?:알람|타이머|리마인더|일정)(?:을|를|도)? ?[가-힣0-9 ]{{0,12}}(?:맞춰|설정해|등록해|추가해|켜|꺼) ?{_GIVE}",
        rf"(?:예약|예매|주문|결제|송금|이체|배달)(?:을|를|도)? ?{_LITTLE}(?:해 ?{_GIVE}|부탁)",
        rf"(?:전화|통화)(?:를|을)? ?{_LITTLE}(?:걸어|해) ?{_GIVE}|(?:문자|메일|이메일|메시지|카톡)(?:을|를|도)? {_LITTLE}보내 ?{_GIVE}",
        rf"(?:불|에어컨|보일러|텔레비전|티브이|티비|TV|전등|조명|음량|볼륨)(?:을|를|도)? ?{_LITTLE}(?:켜|꺼|올려|낮춰|줄여|키워) ?{_GIVE}",
        rf"(?:인터넷|웹|구글|네이버|유튜브)(?:에서|으로|에)? ?{_LITTLE}(?:검색해|찾아|틀어) ?{_GIVE}|검색해 ?{_GIVE}",
        r"(?:지금|현재) ?(?:은|이|시간이)? ?몇 시|오늘(?:이|은)? ?(?:며칠|무슨 요일|몇 월)",
        r"(?:오늘|지금|현재|내일|이번 주)[^.?!\n]{0,8}(?:날씨|기온|미세먼지|환율|주가)[^.?!\n]{0,6}(?:어때|어떻|알려|몇)",
    )
]
ABSENT = re.compile(
    r"(?<![가-힣])(?:다음|아래|위|위의|아래의|주어진|제시된)(?:에 있는)? (?:문장|글|단어|낱말|텍스트|지문|문단|표현|내용|대화|목록|기사|질문)"
)
GIVEN = re.compile(r"[:\"'“‘「『\n]")  # the text that an instruction speaks of, in itself
NOT_EVERYDAY = [
    re.compile(p)
    for p in (
        r"(?<!십)시오[.!]?$|(?:하|설명|서술|논|나열|비교|구|쓰|고르|답)(?:하|여)?라[.!]?$|(?:할|쓸|될|적을) 것[.]?$|(?:하기|작성|생성|분류|서술|기술|분석|요약|번역)[.]?$",
        r"파이썬|자바스크립트|SQL|HTML|CSS|JSON|정규식|소스 ?코드|(?:코드|함수|프로그램|알고리즘)[를을] ?(?:짜|작성|구현|설계)|방정식|미분|적분",
    )
]


@dataclass(frozen=True, kw_only=True)
class SelfInstructFlags:
    """generation"""

    num_instructions: int = flags.flag(flags.REQUIRED, "how many new instructions are wanted")
    generator: str = flags.flag(flags.REQUIRED, "openai:MODEL, the model that writes them")
    seeds_per_request: int = flags.flag(
        8, "examples shown in a request; a quarter of them from earlier rounds, as soon as there are any"
    )
    new_per_request: int = flags.flag(8, "new instructions asked for in a request")
    requests_per_round: int = flags.flag(16, "requests asked side by side; their examples come from earlier rounds")
    max_rounds_without_new: int = flags.flag(3, "give up after this many rounds in a row that brought nothing new")
    max_similarity: float = flags.flag(
        0.7, "an instruction whose ROUGE-L with a seed or an earlier one is this or more is left out"
    )
    min_chars: int = flags.flag(8, "shortest instruction, without spaces")
    max_chars: int = flags.flag(150, "longest instruction, without spaces")
    temperature: float = flags.flag(1.0, "sampling temperature")
    top_p: float = flags.flag(1.0, "nucleus sampling; 1 = off")
    max_new_tokens: int = flags.flag(1024, "longest answer to a request in tokens")
    seed: int = flags.flag(1234, "seed of the choice of examples; request n carries the seed SEED + n")


def parse(argv=None):
    """(StageFlags, SelfInstructFlags, LlmFlags) of a command line; exits like argparse does."""
    parser = flags.Parser(description="Write new everyday instructions after the pattern of seed tasks")
    parts = (stage.StageFlags, SelfInstructFlags, LlmFlags)
    for part in parts:
        flags.add(parser, part)
    found = parser.parse_args(argv)
    files, args, server = (flags.read(found, part) for part in parts)
    positive = (
        "num_instructions",
        "seeds_per_request",
        "new_per_request",
        "requests_per_round",
        "max_rounds_without_new",
        "max_similarity",
        "min_chars",
        "max_chars",
        "max_new_tokens",
    )
    flags.check_positive({k: getattr(args, k) for k in positive}, parser)
    if args.min_chars > args.max_chars:
        parser.error(
            f"--min_chars {args.min_chars}: is above --max_chars {args.max_chars}; nothing can be between them"
        )
    return files, args, server


def parse_list(reply):
    """The instructions of a numbered list, in order. A last one that was cut off by the token limit is left out.

    Raises ValueError if there is anything else in the reply, or the numbers are not 1, 2, 3, ...
    """
    found = []
    for line in filter(None, (line.strip() for line in reply.text.splitlines())):
        item = _ITEM.fullmatch(line)
        if item is None:
            raise ValueError(f"the line {line[:40]!r} is no numbered item")
        if int(item[1]) != len(found) + 1:
            raise ValueError(f"item {item[1]} stands where {len(found) + 1} was due")
        found.append(item[2])
    if reply.finish_reason == "length":
        found = found[:-1]
    if not found:
        raise ValueError("no numbered list in the answer")
    return found


def unfit(text, min_chars, max_chars):
    """Why `text` is no everyday instruction that a text-only chatbot can answer by itself, or None."""
    chars = len("".join(text.split()))
    if chars < min_chars:
        return "too short"
    if chars > max_chars:
        return "too long"
    if not text[0].isalpha():
        return "starts with a number or punctuation"
    if not is_korean(text):
        return "not Korean"
    if any(pattern.search(text) for pattern in CANNOT):
        return "asks for what a text bot cannot do"
    if ABSENT.search(text) and not GIVEN.search(text):
        return "speaks of a text that is not there"
    if any(pattern.search(text) for pattern in NOT_EVERYDAY):
        return "not everyday talk"
    return None


def read_seeds(paths, out):
    """Seed texts, each on one line, an input after its instruction; conversations and repeated ones are dropped and counted."""
    found = {}
    for _, record in records.read(paths):
        if "messages" in record:
            out.drop("seed: a conversation of several turns", record)
        elif record["id"] in found:
            out.drop("seed: the same as an earlier one", record)
        else:
            found[record["id"]] = " ".join(f"{record['prompt']} {record.get('input', '')}".split())
    out.count("seeds", len(found))
    return found


def examples(rng, seeds, generated, count):
    """`count` texts in random order: a quarter of them generated ones, as far as there are any, the rest seeds."""
    wanted = min(int(count * GENERATED_SHARE), len(generated))
    wanted = max(wanted, min(count - len(seeds), len(generated)))  # few seeds: more generated ones
    chosen = rng.sample(generated, wanted) + rng.sample(seeds, min(count - wanted, len(seeds)))
    rng.shuffle(chosen)
    return chosen


def request(args, model, number, seeds, generated):
    """Request number `number`, from 0 on; its examples depend on the seed, its number, and what earlier rounds brought."""
    shown = examples(random.Random(f"{args.seed} {number}"), seeds, generated, args.seeds_per_request)
    asked = REQUEST.format(
        examples="\n".join(f"{i}. {text}" for i, text in enumerate(shown, 1)), count=args.new_per_request
    )
    return llm.Request(
        {
            "model": model,
            "messages": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": asked}],
            "temperature": args.temperature,
            "top_p": args.top_p,
            "max_tokens": args.max_new_tokens,
            "seed": args.seed + number,
        }
    )


class Harvest:
    """What is accepted so far, and the pool that a new instruction must differ from."""

    def __init__(self, args, seeds, out):
        self.args, self.out = args, out
        self.pool = similar.Pool(seeds.values())
        self.ids = set(seeds)
        self.texts = []
        self.similarities = {"accepted": [], "all that were compared": []}

    def take(self, text, round_number, model):
        """Write the instruction as a record, or drop it with a reason."""
        if len(self.texts) >= self.args.num_instructions:
            return self.out.count("more than was wanted")
        reason = unfit(text, self.args.min_chars, self.args.max_chars)
        if reason:
            return self.out.drop(reason, {"prompt": text})
        try:
            record = records.make(text, "self_instruct", "self_instruct")
        except rows.RowError as error:
            return self.out.drop("not text", {"reason": str(error)})
        score, nearest = self.pool.nearest(record["prompt"])
        self.similarities["all that were compared"].append(score)
        if record["id"] in self.ids or score >= self.args.max_similarity:
            shown = {"prompt": text, "nearest": nearest, "rouge_l": round(score, 4)}
            return self.out.drop("too similar to a seed or an earlier one", shown)
        self.similarities["accepted"].append(score)
        self.pool.add(record["prompt"])
        self.ids.add(record["id"])
        self.texts.append(record["prompt"])
        return self.out.write(records.step(record, "self_instruct", model=model, round=round_number))


def grow(args, model, seeds, client, out):
    """Rounds until --num_instructions are written, or --max_rounds_without_new of them brought nothing: the Harvest."""
    harvest, shown = Harvest(args, seeds, out), [t for t in seeds.values() if len(t) <= 2 * args.max_chars]
    if not shown:
        raise InputError(
            f"--input: every seed is longer than {2 * args.max_chars} characters, too long to be shown; "
            "give shorter ones, or raise --max_chars"
        )
    number = round_number = without = 0
    while len(harvest.texts) < args.num_instructions and without < args.max_rounds_without_new:
        round_number += 1
        before = len(harvest.texts)
        asked = [request(args, model, number + i, shown, harvest.texts) for i in range(args.requests_per_round)]
        found = client.ask(asked, check=parse_list, desc=f"round {round_number}: {before}/{args.num_instructions}")
        for i, (reply, texts) in enumerate(found):
            if isinstance(reply, llm.Failure):
                out.fail({"request": number + i, "round": round_number}, reply.reason, kind=reply.kind)
                continue
            for text in texts:
                harvest.take(text, round_number, model)
        number += len(asked)
        without = 0 if len(harvest.texts) > before else without + 1
    out.count("rounds", round_number)
    return harvest


def main(argv=None):
    files, args, server = parse(argv)
    kind, _, model = args.generator.partition(":")
    if kind != "openai" or not model or "@http" in model:
        raise InputError(
            f"--generator {args.generator}: write openai:MODEL, e.g. openai:gpt-4o-mini; a server's address is --base_url"
        )
    settings = {**asdict(args), "base_url": server.base_url}
    with (
        stage.Stage("self_instruct", files.output, settings, files.input) as out,
        llm.open_cache(server, out.path) as cache,
    ):
        client = llm.Client(server, cache)
        harvest = grow(args, model, read_seeds(files.input, out), client, out)
        out.extra["similarity"] = {name: similar.spread(scores) for name, scores in harvest.similarities.items()}
        out.extra["usage"] = client.usage
    mean = out.extra["similarity"]["accepted"]["mean"]
    print(f"mean ROUGE-L to the nearest seed or earlier instruction: {mean}; the histogram is in the report")
    if len(harvest.texts) < args.num_instructions:
        print(
            f"error: --num_instructions {args.num_instructions}: {len(harvest.texts)} are written; {args.max_rounds_without_new} rounds "
            "in a row brought nothing new. Give more and more varied seeds, another --seed, or a higher --temperature",
            file=sys.stderr,
            flush=True,
        )
        return program.TOO_MANY_FAILED
    return 0


if __name__ == "__main__":
    program.run(main, "stopped; start the same command again to resume: answers that arrived are in the cache")
