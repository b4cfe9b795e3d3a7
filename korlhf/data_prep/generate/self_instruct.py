"""New everyday instructions after the pattern of seed tasks. The program is data_prep/self_instruct.py."""

import random
import re

from korlhf.core.errors import InputError
from korlhf.data import record as records
from korlhf.data.example import RowError
from korlhf.data_prep.generate.common import PROMPTS, Novelty, read_instructions, request
from korlhf.korean.friendly import is_korean
from korlhf.llm.client import Failure

GENERATED_SHARE = 0.25  # of the examples, as in the paper: two of eight; the rest are seeds

_ITEM = re.compile(r"(\d{1,3})[.)](?!\d)\s*(\S.*)")
_GIVE = r"(?:줘|줄래|줄 수|다오|달라(?!고|는|던|며|면)|주(?:라|렴|세요|시|실|십|겠)|부탁)"
_LITTLE = r"(?:(?:좀|하나|한 장|몇 장|한번|한 번|다시|바로|같이) )*"
_VISIBLE = r"사진|그림|이미지|짤|(?:동)?영상"
CANNOT = re.compile(
    "|".join(
        (
            rf"(?:{_VISIBLE}|음성|음악|노래|파일|엑셀|PDF|PPT|링크|그래프|차트|지도)(?:을|를|도|로|으로)? {_LITTLE}"
            rf"(?:그려|보여|찾아|만들어|찍어|보내|틀어|들려|재생해|편집해|보정해|합성해|"
            rf"분석해|올려|열어|첨부해) ?{_GIVE}",
            r"(?<![가-힣])(?:아래|위|다음|여기|이|저|첨부한|첨부된|올린|보낸)(?:의|에|에 있는)? "
            rf"(?:{_VISIBLE}|파일|링크|그래프|차트|지도)",
            r"첨부 ?(?:파일|했|합니다|할게)",
            rf"(?:알람|타이머|리마인더|일정)(?:을|를|도)? ?[가-힣0-9 ]{{0,12}}"
            rf"(?:맞춰|설정해|등록해|추가해|켜|꺼) ?{_GIVE}",
            rf"(?:예약|예매|주문|결제|송금|이체|배달)(?:을|를|도)? ?{_LITTLE}(?:해 ?{_GIVE}|부탁)",
            rf"(?:전화|통화)(?:를|을)? ?{_LITTLE}(?:걸어|해) ?{_GIVE}",
            rf"(?:문자|메일|이메일|메시지|카톡)(?:을|를|도)? {_LITTLE}보내 ?{_GIVE}",
            rf"(?:불|에어컨|보일러|텔레비전|티브이|티비|TV|전등|조명|음량|볼륨)(?:을|를|도)? ?{_LITTLE}"
            rf"(?:켜|꺼|올려|낮춰|줄여|키워) ?{_GIVE}",
            rf"(?:인터넷|웹|구글|네이버|유튜브)(?:에서|으로|에)? ?{_LITTLE}(?:검색해|찾아|틀어) ?{_GIVE}",
            rf"검색해 ?{_GIVE}",
            r"(?:지금|현재) ?(?:은|이|시간이)? ?몇 시|오늘(?:이|은)? ?(?:며칠|무슨 요일|몇 월)",
            r"(?:오늘|지금|현재|내일|이번 주)[^.?!\n]{0,8}(?:날씨|기온|미세먼지|환율|주가)[^.?!\n]{0,6}"
            r"(?:어때|어떻|알려|몇)",
        )
    )
)
ABSENT = re.compile(
    r"(?<![가-힣])(?:다음|아래|위|위의|아래의|주어진|제시된)(?:에 있는)? "
    r"(?:문장|글|단어|낱말|텍스트|지문|문단|표현|내용|대화|목록|기사|질문)"
)
GIVEN = re.compile(r"[:\"'“‘「『\n]")  # the text that an instruction speaks of, in itself
NOT_EVERYDAY = re.compile(
    r"(?<!십)시오[.!]?$|(?:하|설명|서술|논|나열|비교|구|쓰|고르|답)(?:하|여)?라[.!]?$|(?:할|쓸|될|적을) 것[.]?$|"
    r"(?:하기|작성|생성|분류|서술|기술|분석|요약|번역)[.]?$|파이썬|자바스크립트|SQL|HTML|CSS|JSON|정규식|소스 ?코드|"
    r"(?:코드|함수|프로그램|알고리즘)[를을] ?(?:짜|작성|구현|설계)|방정식|미분|적분"
)


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
    if not min_chars <= chars <= max_chars:
        return "too short" if chars < min_chars else "too long"
    if not text[0].isalpha():
        return "starts with a number or punctuation"
    if not is_korean(text):
        return "not Korean"
    if CANNOT.search(text):
        return "asks for what a text bot cannot do"
    if ABSENT.search(text) and not GIVEN.search(text):
        return "speaks of a text that is not there"
    return "not everyday talk" if NOT_EVERYDAY.search(text) else None


def read_seeds(paths, out):
    """{id: text}, each on one line, an input after its instruction."""
    found = read_instructions(paths, "seed", out)
    out.count("seeds", len(found))
    return {i: " ".join(f"{record['prompt']} {record.get('input', '')}".split()) for i, record in found.items()}


def examples(rng, seeds, generated, count):
    """`count` texts in random order: a quarter of them generated ones, as far as there are any, the rest seeds."""
    wanted = min(int(count * GENERATED_SHARE), len(generated))
    wanted = max(wanted, min(count - len(seeds), len(generated)))  # few seeds: more generated ones
    chosen = rng.sample(generated, wanted) + rng.sample(seeds, min(count - wanted, len(seeds)))
    rng.shuffle(chosen)
    return chosen


class Harvest:
    """The instructions that grow from the seeds. seeds: {id: text}; args: flags of the program; out: the Stage."""

    def __init__(self, args, model, seeds, out):
        self.args, self.model, self.out, self.texts = args, model, out, []
        self.shown = [text for text in seeds.values() if len(text) <= 2 * args.max_chars]
        if not self.shown:
            raise InputError(
                f"--input: every seed is longer than {2 * args.max_chars} characters, too long to be shown; "
                "give shorter ones, or raise --max_chars"
            )
        self.novelty = Novelty(seeds.values(), seeds, args.max_similarity)

    def request(self, number):
        """Request `number`, from 0 on; its examples depend on the seed, its number, and what earlier rounds brought."""
        rng = random.Random(f"{self.args.seed} {number}")
        shown = examples(rng, self.shown, self.texts, self.args.seeds_per_request)
        lines = "\n".join(f"{i}. {text}" for i, text in enumerate(shown, 1))
        user = PROMPTS["self_instruct_request"].format(examples=lines, count=self.args.new_per_request)
        return request(self.args, self.model, PROMPTS["self_instruct"], user, self.args.seed + number)

    def grow(self, client):
        """Rounds until --num_instructions are written, or --max_rounds_without_new of them brought nothing."""
        number = round_number = without = 0
        wanted = self.args.num_instructions
        while len(self.texts) < wanted and without < self.args.max_rounds_without_new:
            round_number += 1
            before = len(self.texts)
            asked = [self.request(number + i) for i in range(self.args.requests_per_round)]
            replies = client.ask(asked, check=parse_list, desc=f"round {round_number}: {before}/{wanted}")
            for i, (reply, texts) in enumerate(replies):
                if isinstance(reply, Failure):
                    self.out.fail({"request": number + i, "round": round_number}, reply.reason, kind=reply.kind)
                for text in texts or ():
                    self.take(text, round_number)
            number += len(asked)
            without = 0 if len(self.texts) > before else without + 1
        self.out.count("rounds", round_number)

    def take(self, text, round_number):
        """Write the instruction as a record, or drop it with a reason."""
        if len(self.texts) >= self.args.num_instructions:
            return self.out.count("more than was wanted")
        if reason := unfit(text, self.args.min_chars, self.args.max_chars):
            return self.out.drop(reason, {"prompt": text})
        try:
            record = records.make(text, "self_instruct", "self_instruct")
        except RowError as error:
            return self.out.drop("not text", {"reason": str(error)})
        if shown := self.novelty.repeats(record):
            return self.out.drop("too similar to a seed or an earlier one", {"prompt": text, **shown})
        self.texts.append(record["prompt"])
        return self.out.write(records.step(record, "self_instruct", model=self.model, round=round_number))
