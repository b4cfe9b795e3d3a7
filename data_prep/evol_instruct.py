"""More varied and harder instructions from given ones: each is rewritten by a mutation, and what went wrong is eliminated.

Rounds: a success is what the next round evolves; where the evolution failed, the parent tries another mutation in the next round.
Which mutation a record meets depends on its id, the round and the seed, not on its place in the file. How a mutation is asked for is
in mutations.yaml. Source: WizardLM, Evol-Instruct (arXiv 2304.12244, section 3). Left out: its judge of equal difficulty, a second
request for every instruction; ROUGE-L with the parent stands in for it. Answers are respond.py's part.
"""

import hashlib
import math
import re
import sys
from collections import Counter
from dataclasses import asdict, dataclass, field, fields
from itertools import islice
from pathlib import Path

import yaml

from korlhf.core import flags, program
from korlhf.core.errors import InputError
from korlhf.core.files import fingerprint
from korlhf.data import example as rows
from korlhf.data import record as records
from korlhf.data import rouge as similar
from korlhf.data_prep import stage
from korlhf.korean.friendly import is_korean
from korlhf.korean.speech_level import words
from korlhf.llm import client as llm
from korlhf.llm.flags import LlmFlags

MUTATIONS = (
    "FRESH_START",
    "ADD_CONSTRAINTS",
    "DEEPEN",
    "CONCRETIZE",
    "INCREASE_REASONING",
    "COMPLICATE",
    "SWITCH_TOPIC",
)
NEW_TOPIC = ("SWITCH_TOPIC",)  # the parent's topic is not the child's
WORDING = Path(__file__).with_name("mutations.yaml")
MAX_GROWTH = 10  # times its parent, and
SPARE_CHARS = 100  # so many more: the parent may be two words
LEAST_FENCE = 5

STOP_WORDS = frozenset(
    [
        "그",
        "이",
        "저",
        "것",
        "거",
        "이것",
        "그것",
        "저것",
        "이거",
        "그거",
        "저거",
        "여기",
        "거기",
        "저기",
        "나",
        "너",
        "저는",
        "나는",
        "내가",
        "제가",
        "네",
        "예",
        "응",
        "음",
        "어",
        "아",
        "아니",
        "아니요",
        "그래",
        "그래요",
        "그리고",
        "그런데",
        "그래서",
        "하지만",
        "또",
        "더",
        "다",
        "좀",
        "잘",
        "왜",
        "뭐",
        "무엇",
        "안녕",
        "안녕하세요",
        "감사합니다",
        "고마워요",
        "알겠습니다",
        "알겠어요",
        "없음",
        "없습니다",
        "해당",
        "내용",
    ]
)
_GIVE = r"(?:줘|줄래|줄 수|다오|달라|부탁|주(?:라|렴|세요|시기|시겠|실|십|겠))"
_WHAT = r"(?:뭐|뭘|무엇|무슨|어떻게|어떡|어디|언제|왜|누구|누가|얼마|어느|어떤|어때|어떨|몇)"
ASKS = re.compile(
    rf"\?|{_GIVE}|(?<!안녕하)(?:세요|시오)|(?:말해|봐)[.!~]*$|[하주쓰르지짓들]되,|{_WHAT}[^.!\n]*(?:까|지|나|니|냐|래|요|죠|데)[.!~…]*$",
    re.MULTILINE,
)
_SORRY = re.compile(r"\W*(?:정말 |대단히 |너무 )?(?:죄송|미안|유감|송구)")
_CANNOT = (
    r"(?:수 ?(?:가 |는 )?없(?:습니다|어요|네요|음)|어렵(?:습니다|네요)|어려워요|곤란(?:합니다|해요)|불가능(?:합니다|해요)|"
    r"부적절(?:합니다|해요)|않습니다)"
)
CANNOT = re.compile(_CANNOT)
REFUSAL = [
    re.compile(p, re.IGNORECASE)
    for p in (
        rf"(?:해당|이|그|요청하신|말씀하신|주신) (?:요청|질문|내용|주제|말|글|지시|작업)[^.?!\n]{{0,30}}"
        rf"(?:답변|응|제공|생성|작성|변형|처리|다루|적절)[^.?!\n]{{0,12}}{_CANNOT}",
        r"(?:도와|답해|답변해|말씀해|알려|써|지어|바꿔|만들어|제공해|작성해) ?드릴 수 ?(?:가 |는 )?없(?:습니다|어요|네요)",
        r"(?:도와|답해|답변해?|말씀해?|제공해|작성해) ?드리기(?:가|는)? ?(?:어렵|어려|힘들|곤란)",
        r"(?:AI|인공지능)(?: 언어)? ?모델(?:로서|이라|이기|인 저)|저는 (?:AI|인공지능)|언어 모델로서",
        r"\bI['’]?m sorry\b|^\W*I (?:cannot|can['’]t)\b|\bAs an AI\b",
    )
]
ANSWER = [
    re.compile(p)
    for p in (  # an assistant speaking, unless the parent speaks so too
        r"^\W*(?:네|예|물론(?:이죠|이지요|입니다|이에요)?|알겠습니다|알겠어요|당연하죠|좋은 질문(?:이네요|입니다|이에요))\s*[,.!]",
        r"^\W*다음은 [^?\n]{0,60}(?:입니다|이에요|예요|습니다)\s*[.:!]",
        r"요청하신 (?:대로|내용|말|글|질문)|도움이 (?:되(?:길|기를|시길|셨|었으면)|필요하시면)|도와 ?드리겠습니다",
        r"(?:알려|말씀해|설명해|추천해|소개해) ?드(?:릴게요|리겠습니다|리자면)",
        r"언제든지? (?:저에게 )?(?:말씀|질문|물어|문의)|더 (?:궁금|필요)하신|도움이 필요하신가요|도와 ?드릴까요|(?:말씀|공유|설명)해 주셔서 감사",
    )
]
ADVICE = [
    re.compile(p, re.MULTILINE)
    for p in (  # these too, in a text that asks for nothing
        r"(?:것이|것도|게|편이|방법도) (?:좋습니다|도움이 됩니다|도움이 돼요)|(?:으면|하면|해도|셔도|셔야) (?:좋습니다|됩니다|돼요)",
        r"(?:권합니다|권해요|권장합니다|추천합니다|추천해요|추천 ?드립니다|추천 ?드려요|바랍니다)[.!~]",
        r"(?s:^\s*(?:\d{1,2}[.)]|[-*•])\s.*\n\s*(?:\d{1,2}[.)]|[-*•])\s)",  # a list of two items or more
    )
]
_QUOTED = re.compile(r"([\"“‘'「『])([^\"“”‘’'「」『』]*)[\"”’'」』]")


@dataclass(frozen=True, kw_only=True)
class EvolFlags:
    """evolution"""

    generator: str = flags.flag(flags.REQUIRED, "openai:MODEL, the model that rewrites them")
    rounds: int = flags.flag(
        1, "rounds; each evolves what the one before brought, and tries another mutation where it failed"
    )
    num_evolved: int = flags.flag(
        0, "stop at this many evolved records, spread over the rounds; 0 = one try for every record and round"
    )
    mutations: list[str] = flags.flag(
        list(MUTATIONS), "which mutations are used", choices=MUTATIONS, metavar="MUTATION"
    )
    max_similarity: float = flags.flag(
        0.7, "eliminated from this ROUGE-L on with another instruction, given or evolved"
    )
    max_parent_similarity: float = flags.flag(
        0.9, "eliminated from this ROUGE-L on with its parent or an earlier ancestor"
    )
    max_chars: int = flags.flag(
        600,
        f"longest instruction in characters; nor may one be longer than {MAX_GROWTH} times its parent and "
        f"{SPARE_CHARS} more",
    )
    temperature: float = flags.flag(1.0, "sampling temperature")
    top_p: float = flags.flag(1.0, "nucleus sampling; 1 = off")
    max_new_tokens: int = flags.flag(512, "longest answer to a request in tokens; one that is cut off is eliminated")
    seed: int = flags.flag(1234, "seed of the choice of mutations and of the requests")


def parse(argv=None):
    """(StageFlags, EvolFlags, LlmFlags) of a command line; exits like argparse does."""
    parser = flags.Parser(description="Evolve instructions into more varied and harder ones")
    parts = (stage.StageFlags, EvolFlags, LlmFlags)
    for part in parts:
        flags.add(parser, part)
    found = parser.parse_args(argv)
    files, args, server = (flags.read(found, part) for part in parts)
    positive = ("rounds", "max_similarity", "max_parent_similarity", "max_chars", "max_new_tokens")
    flags.check_positive({k: getattr(args, k) for k in positive}, parser)
    if args.num_evolved < 0:
        parser.error(f"--num_evolved {args.num_evolved}: must be 0, for no limit, or above")
    return files, args, server


@dataclass(frozen=True)
class Wording:
    """What mutations.yaml holds; mutations: name -> {"korean", "task"}; leaks: compiled."""

    system: str
    request: str
    topic: str
    mutations: dict
    leaks: list

    def messages(self, mutation, text, topic):
        """The messages that ask for `mutation` of an instruction; topic: text or None."""
        fence = "=" * LEAST_FENCE
        while fence in text:
            fence += "="
        line = self.topic.format(topic=topic) if topic else ""
        asked = self.request.format(
            name=mutation, **self.mutations[mutation], topic=line, fence=fence, instruction=text
        )
        return [{"role": "system", "content": self.system.strip()}, {"role": "user", "content": asked.strip()}]


def load_wording(path=WORDING):
    """mutations.yaml -> Wording. Raises InputError that names the file and the key or line."""
    try:
        found = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        found["leaks"] = [re.compile(p, re.MULTILINE) for p in found["leaks"]]
        wording = Wording(**found)
        for name in MUTATIONS:
            wording.messages(name, "말", "화제")
    except yaml.YAMLError as error:
        raise InputError(f"{path}: broken YAML: {' '.join(str(error).split())}; correct it") from error
    except re.error as error:
        raise InputError(f"{path}: leaks: {error.pattern!r} is no regular expression: {error}; correct it") from error
    except KeyError as error:
        raise InputError(
            f"{path}: {error} is missing, or is no placeholder that the request may have; correct it"
        ) from error
    except (TypeError, AttributeError, ValueError) as error:
        raise InputError(f"{path}: {error}; it needs {', '.join(f.name for f in fields(Wording))}") from error
    return wording


def bare_reply(text):
    """The reply without blanks around it and without a pair of quotation marks around all of it."""
    quoted = _QUOTED.fullmatch(text.strip())
    return quoted[2].strip() if quoted else text.strip()


def failed_evolution(text, parent, wording, max_chars):
    """Why `text` is no evolution of the instruction `parent`, as far as the two alone can tell; or None."""
    said = words(text)
    if not any(char.isalpha() for char in text) or all(word in STOP_WORDS for word in said):
        return "nothing but punctuation or stop words"
    if any(p.search(text) for p in REFUSAL) or (_SORRY.match(text) and (CANNOT.search(text) or not ASKS.search(text))):
        return "refusal or apology"
    if (
        "=" * LEAST_FENCE in text
        or any(name in text for name in MUTATIONS)
        or any(p.search(text) for p in wording.leaks)
    ):
        return "words of the request copied"
    if not is_korean(text):
        return "not Korean"
    if len(text) > min(max_chars, MAX_GROWTH * len(parent) + SPARE_CHARS):
        return "too long"
    if is_answer(text, parent):
        return "an answer instead of an instruction"
    return None


def is_answer(text, parent):
    """Tell whether `text` speaks as an assistant does, unlike the instruction `parent`, or asks for nothing although `parent` does."""
    if any(p.search(text) and not p.search(parent) for p in ANSWER):
        return True
    return not ASKS.search(text) and (ASKS.search(parent) is not None or any(p.search(text) for p in ADVICE))


@dataclass
class Line:
    """One input record on its way through the rounds. texts: of the record and its ancestors, oldest first; failed: mutations of it."""

    record: dict
    texts: list
    failed: set = field(default_factory=set)


def read_lines(paths, out):
    """One Line a record; conversations and repeated instructions are dropped and counted. Raises InputError if none is left."""
    found = {}
    for _, record in records.read(paths):
        if "messages" in record:
            out.drop("input: a conversation of several turns", record)
        elif record["id"] in found:
            out.drop("input: the same as an earlier one", record)
        else:
            found[record["id"]] = Line(
                record, [f"{record['prompt']}\n{record['input']}" if record.get("input") else record["prompt"]]
            )
    if not found:
        raise InputError(
            f"--input {' '.join(paths)}: no instruction of a single turn in it; give records with a prompt"
        )
    out.count("instructions given", len(found))
    return list(found.values())


def draw(*parts):
    """A whole number of 60 bits that `parts` alone decide."""
    return int(hashlib.sha256(" ".join(map(str, parts)).encode("utf-8")).hexdigest()[:15], 16)


class Evolution:
    """The lines, the pool that an evolved instruction must differ from, and what became of every request."""

    def __init__(self, args, wording, model, lines, out):
        self.args, self.wording, self.model, self.out = args, wording, model, out
        self.lines = sorted(lines, key=lambda line: draw(args.seed, line.record["id"])) if args.num_evolved else lines
        self.mutations = sorted(set(args.mutations), key=MUTATIONS.index)
        self.pool = similar.Pool(line.texts[0] for line in lines)
        self.ids = {line.record["id"] for line in lines}
        self.outcomes = {name: Counter() for name in self.mutations}
        self.similarities = {
            "accepted, to the nearest other": [],
            "accepted, to the parent": [],
            "all that were compared, to the nearest other": [],
        }

    def request(self, line, round_number):
        """(mutation, Request) of a line in a round."""
        left = [name for name in self.mutations if name not in line.failed]
        number = draw(self.args.seed, round_number, line.record["id"])
        mutation = left[number % len(left)]
        topic = line.record.get("topic")
        messages = self.wording.messages(mutation, line.texts[-1], topic if isinstance(topic, str) else None)
        return mutation, llm.Request(
            {
                "model": self.model,
                "messages": messages,
                "temperature": self.args.temperature,
                "top_p": self.args.top_p,
                "max_tokens": self.args.max_new_tokens,
                "seed": number & 0x7FFFFFFF,
            }
        )

    def round(self, client, round_number):
        """Ask every line once, or, of --num_evolved, as many as this round's share needs."""
        rounds_left = self.args.rounds - round_number + 1
        wanted = (
            math.ceil((self.args.num_evolved - self.out.rows) / rounds_left)
            if self.args.num_evolved
            else len(self.lines)
        )
        goal = self.out.rows + wanted
        waiting = (line for line in self.lines if len(line.failed) < len(self.mutations))
        while batch := list(islice(waiting, goal - self.out.rows)):
            asked = [self.request(line, round_number) for line in batch]
            answers = client.ask([request for _, request in asked], desc=f"round {round_number}")
            for line, (mutation, _), (reply, _) in zip(batch, asked, answers):
                self.take(line, mutation, round_number, reply)

    def take(self, line, mutation, round_number, reply):
        """Write what became of a line, which goes on with it; or note why it failed, and the line keeps its parent."""
        if isinstance(reply, llm.Failure) and reply.kind != "refusal":
            self.outcomes[mutation][f"failed: {reply.kind}"] += 1
            return self.out.fail(line.record, reply.reason, kind=reply.kind, mutation=mutation, round=round_number)
        child, reason, more = self.judge(line, mutation, round_number, reply)
        if reason:
            line.failed.add(mutation)
            self.out.drop(reason, {"parent": line.record["id"], "mutation": mutation, "round": round_number, **more})
        else:
            line.record, line.failed = child, set()
            line.texts.append(child["prompt"])
            self.ids.add(child["id"])
            self.pool.add(child["prompt"])
            self.out.write(child)
        self.outcomes[mutation][reason or "evolved"] += 1
        return None

    def judge(self, line, mutation, round_number, reply):
        """(record, None, {}) of an evolution that succeeded, or (None, reason, what to show beside it)."""
        if isinstance(reply, llm.Failure):
            return None, "refusal or apology", {"reply": reply.reason}
        text, parent = bare_reply(reply.text), line.record
        reason = (
            "cut off"
            if reply.finish_reason == "length"
            else failed_evolution(text, line.texts[-1], self.wording, self.args.max_chars)
        )
        if reason:
            return None, reason, {"reply": text}
        topic = None if mutation in NEW_TOPIC else parent.get("topic")
        source = parent["source"] if parent["source"].startswith("evol/") else f"evol/{parent['source']}"
        try:
            child = records.make(
                text, "evol", source, parent=parent["id"], mutation=mutation, round=round_number, topic=topic
            )
        except rows.RowError as error:
            return None, "not text", {"reason": str(error)}
        child["history"] = parent["history"]
        to_family = max(similar.rouge_l(child["prompt"], own) for own in line.texts)
        if child["id"] == parent["id"] or to_family >= self.args.max_parent_similarity:
            return None, "the same as its parent, or nearly", {"reply": text, "rouge_l": round(to_family, 4)}
        score, nearest = self.pool.nearest(child["prompt"], but=line.texts)
        self.similarities["all that were compared, to the nearest other"].append(score)
        if child["id"] in self.ids or score >= self.args.max_similarity:
            return (
                None,
                "too similar to another instruction",
                {"reply": text, "nearest": nearest, "rouge_l": round(score, 4)},
            )
        self.similarities["accepted, to the nearest other"].append(score)
        self.similarities["accepted, to the parent"].append(similar.rouge_l(child["prompt"], line.texts[-1]))
        return records.step(child, "evol_instruct", model=self.model, mutation=mutation, round=round_number), None, {}

    def figures(self):
        """What the report says beside the counts of the stage."""
        return {
            "mutations": {
                name: {"asked": sum(found.values()), **dict(sorted(found.items()))}
                for name, found in self.outcomes.items()
            },
            "similarity": {name: similar.spread(scores) for name, scores in self.similarities.items()},
        }


def main(argv=None):
    files, args, server = parse(argv)
    kind, _, model = args.generator.partition(":")
    if kind != "openai" or not model or "@http" in model:
        raise InputError(
            f"--generator {args.generator}: write openai:MODEL, e.g. openai:gpt-4o-mini; a server's address is --base_url"
        )
    settings = {**asdict(args), "base_url": server.base_url, "wording": fingerprint(WORDING)}
    with (
        stage.Stage("evol_instruct", files.output, settings, files.input) as out,
        llm.open_cache(server, out.path) as cache,
    ):
        client = llm.Client(server, cache)
        evolution = Evolution(args, load_wording(), model, read_lines(files.input, out), out)
        for round_number in range(1, args.rounds + 1):
            evolution.round(client, round_number)
        out.count(
            "lines of which every mutation failed",
            sum(len(line.failed) == len(evolution.mutations) for line in evolution.lines),
        )
        out.extra.update(evolution.figures(), usage=client.usage)
    for name, found in out.extra["mutations"].items():
        print(f"  {name:<19} {found.get('evolved', 0):>7,} of {found['asked']:,} evolved")
    if out.rows < max(args.num_evolved, 1):
        print(
            f"error: --num_evolved {args.num_evolved}: {out.rows} are written; the reasons are above and in the report. "
            "Give more --input, more --rounds, or another --seed",
            file=sys.stderr,
            flush=True,
        )
        return program.TOO_MANY_FAILED
    return 0


if __name__ == "__main__":
    program.run(main, "stopped; start the same command again to resume: answers that arrived are in the cache")
