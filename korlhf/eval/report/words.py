"""Names of steps, programs and lines of a protocol in both languages."""

import re

from korlhf.core.tables import both
from korlhf.eval import reward_tables

STEPS = {
    1: both("step 1 (supervised fine-tuning)", "1단계(지도 미세 조정)"),
    2: both("step 2 (reward model)", "2단계(보상 모델)"),
    3: both("step 3 (PPO)", "3단계(PPO)"),
}
TITLES = {
    0: both("model", "모델"),
    1: both("supervised fine-tuning", "지도 미세 조정"),
    2: both("reward model", "보상 모델"),
    3: both("PPO", "PPO"),
}
PROGRAMS = {  # what a run should have, in the order in which it is worth reading
    "reward_accuracy": both("reward-model accuracy", "보상 모델 정확도"),
    "geval": both("G-Eval", "G-Eval"),
    "win_rate": both("win rate", "승률"),
    "harmlessness": both("harmlessness", "무해성"),
    "diversity": both("diversity and regression", "다양성과 퇴행"),
    "kobest": both("KoBEST", "KoBEST"),
}
ABOUT = {  # one sentence below a result's heading
    "reward_accuracy": both(
        "Does the reward model tell the better answer from the worse, and by more than a trivial rule?",
        "보상 모델이 더 나은 답변을 가려내는지, 단순한 규칙보다 나은지 봅니다.",
    ),
    "geval": both("How good does a judge find each model's answers?", "심판이 모델마다 답변을 채점합니다."),
    "win_rate": both(
        "Which of two models' answers does a judge prefer?", "심판이 두 모델의 답변 가운데 어느 쪽을 고르는지 봅니다."
    ),
    "harmlessness": both(
        "Does the model go along with harmful requests, and does it refuse harmless ones?",
        "해로운 요청에 동조하는지, 무해한 요청을 거절하는지 봅니다.",
    ),
    "diversity": both(
        "What PPO breaks first: variety, length, ends of answers, distance to the SFT model.",
        "PPO가 먼저 망가뜨리는 것, 곧 표현의 다양성, 길이, 끝맺음, SFT 모델과의 거리를 봅니다.",
    ),
    "kobest": both(
        "What a standard Korean benchmark says of the model's abilities.",
        "표준 한국어 벤치마크로 모델의 능력을 봅니다.",
    ),
}
PROTOCOL = {  # names below `protocol`
    "pairing": both("pairing", "짝짓기"),
    "interval": both("interval", "구간"),
    "intervals": both("intervals", "구간"),
    "seed": both("seed", "시드"),
    "template": both("template", "템플릿"),
    "chat template": both("chat template", "채팅 템플릿"),
    "decoding": both("decoding", "디코딩"),
    "judge": both("judge", "심판"),
    "judge's noise": both("judge's noise", "심판의 흔들림"),
    "scores by": both("scores by", "채점 방법"),
    "verdicts by": both("verdicts by", "판정 방법"),
    "order": both("order", "순서"),
    "prompts": both("prompts", "프롬프트"),
    "pairs": both("pairs", "쌍"),
    "items": both("items", "문항"),
    "system": both("system message", "시스템 메시지"),
    "n": both("n", "개수"),
    "precision": both("precision", "정밀도"),
    "reference": both("reference", "기준 모델"),
    "held-out talk": both("held-out talk", "평가용 대화"),
    "shots": both("shots", "예시 수"),
    "data": both("data", "데이터"),
    "harness": both("harness", "평가 도구"),
    "batch size": both("batch size", "배치 크기"),
    "rubric": both("rubric", "채점 기준표"),
    "threshold": both("threshold", "문턱값"),
    "first prompt": both("first prompt", "첫 프롬프트"),
    "doc_to_text": both("doc_to_text", "doc_to_text"),
    "baseline": both("baseline", "비교 기준"),
    "from files": both("from files", "파일의 답변"),
    "cache": both("cache", "캐시"),
}
NOTES = {  # Korean for what the programs say of single answers, part by part
    "score": "점수",
    "scores": "기준별 점수",
    "friendly": "친근함",
    "harmless": "무해함",
    "intelligible": "이해 가능성",
    "natural": "자연스러움",
    "context": "맥락 유지",
    "truthful": "진실성",
    "overall": "전반적인 품질",
    "against": "상대",
    "won": "승",
    "tie": "무",
    "lost": "패",
    "verdict": "판정",
    "rules": "규칙",
    "goes_along": "동조",
    "corrects": "바로잡음",
    "refuses": "거절",
    "accuses": "몰아세움",
    "unclear": "알 수 없음",
    "above": "선택된 답변과 비슷한 점수",
    "below": "탈락한 답변과 비슷한 점수",
    "kind": "종류",
    "harmful": "해로움",
    "lookalike": "해로워 보이기만 함",
    "repetition": "되풀이된 3-gram",
    "looping": "같은 말을 맴돎",
    "kl": "KL",
    "yes": "예",
    "no": "아니요",
    "user": "사용자",
    "assistant": "챗봇",
    "system": "시스템",
}
_OF = re.compile(r"(?P<what>.+?) of (?P<whose>.+)", re.DOTALL)


def name_of(program):
    """A program's name for people."""
    return PROGRAMS.get(program, both(program, program))


def rule_name(rule):
    """A trivial rule of korlhf/korean/trivial_rules.py in both languages; one that is not known by its own name."""
    known = rule in reward_tables.RULES or rule.startswith(tuple(reward_tables.STARTS))
    return reward_tables.baseline_label(rule) if known else both(rule, rule)


def protocol_name(name):
    """The name of a line of a protocol: as in PROTOCOL, also in "rubric of harmful" and "judge openai:x"."""
    if name in PROTOCOL:
        return PROTOCOL[name]
    found = _OF.fullmatch(name)
    if found and found["what"] in PROTOCOL:
        return both(name, f"{PROTOCOL[found['what']]['ko']}: {found['whose']}")
    first, _, rest = name.partition(" ")
    return both(name, f"{PROTOCOL[first]['ko']} {rest}") if first in PROTOCOL else both(name, name)
