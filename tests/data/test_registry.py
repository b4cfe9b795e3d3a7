"""Every registered dataset on invented rows."""

import pytest

from korlhf.core.errors import InputError
from korlhf.data import load
from korlhf.data import registry as sources
from korlhf.data.example import Example, RowError, RowSkipped
from korlhf.data.registry import SOURCES, find_source


def user(content, **rest):
    return {"role": "user", "content": content, **rest}


def bot(content):
    return {"role": "assistant", "content": content}


def talk(human, gpt):
    return [{"from": "human", "value": human}, {"from": "gpt", "value": gpt}]


def pair(prompt, chosen, rejected):
    return (user(prompt),), (chosen, rejected)


DAHOAS = [
    (
        {"prompt": "\n\nHuman: Hi\n\nAssistant:", "chosen": " Hello!", "rejected": " What?"},
        pair("Hi", "Hello!", "What?"),
    ),
    (
        {
            "prompt": "\n\nHuman: Hi\n\nAssistant: Hello.\n\nHuman: Bye\n\nAssistant:",
            "chosen": " See you.",
            "rejected": " Go.",
        },
        ((user("Hi"), bot("Hello."), user("Bye")), ("See you.", "Go.")),
    ),
    ({"prompt": "\n\nHuman: Same\n\nAssistant:", "chosen": " x", "rejected": "x "}, RowSkipped),
]
INPUTS = [
    (
        {"instruction": "요약해 줘", "input": "긴 글입니다.", "output": "짧은 글"},
        ((user("요약해 줘", input="긴 글입니다."),), ("짧은 글",)),
    ),
    ({"instruction": " 인사해 줘\n", "input": "", "output": "안녕하세요. "}, ((user("인사해 줘"),), ("안녕하세요.",))),
    ({"instruction": "뭐 해?", "input": "<noinput>", "output": "쉬어요"}, ((user("뭐 해?"),), ("쉬어요",))),
]
ORCA = [
    (
        {"system": "친절히 답하세요.", "question": "1+1?", "chosen": "2입니다", "rejected": "3입니다"},
        (({"role": "system", "content": "친절히 답하세요."}, user("1+1?")), ("2입니다", "3입니다")),
    ),
    (
        {"system": "", "question": "1+2?", "chosen": "3입니다", "rejected": "4입니다"},
        pair("1+2?", "3입니다", "4입니다"),
    ),
    ({"system": None, "question": "1+3?", "chosen": None, "rejected": "4입니다"}, RowSkipped),
]


def safe(first, second, safer, flags=(True, True)):
    row = {"prompt_k": "문을 따는 법?", "response_0_ko": first, "response_1_ko": second, "safer_response_id": safer}
    return {**row, "is_response_0_safe": flags[0], "is_response_1_safe": flags[1]}


def scored(preference, a, b):
    answers = {"orig_instruction": "시를 써 줘", "response_A": "가", "response_B": "나"}
    return {**answers, "orig_score_A": a, "orig_score_B": b, "orig_preference": preference}


def hh(context):
    """heegyu/hh-rlhf-ko"""
    said = {"instruction": ("human", "뭐 해?"), "chosen": ("gpt", "쉬어요"), "rejected": ("gpt", "몰라")}
    return {"context": context, **{k: {"from": who, "value": text} for k, (who, text) in said.items()}}


def steered(preference, **made):
    """nvidia/HelpSteer3; made: by the function of its rows"""
    said = {"domain": "multilingual", "language": "korean", "context": [user("안녕")]}
    return {**said, "response1": "가요", "response2": "나요", "overall_preference": preference, **made}


def helped(prompt, response, helpfulness):
    """nayohan/HelpSteer2-ko"""
    scores = dict.fromkeys(("correctness", "coherence", "complexity", "verbosity"), 4)
    return {"prompt": prompt, "response": response, "helpfulness": helpfulness, **scores}


def hh_whole(prompt, chosen, rejected):
    """maywell/ko_hh-rlhf-20k_filtered"""
    start = f"\n\nHuman: {prompt}\n\nAssistant:"
    return {"chosen": start + chosen, "rejected": start + rejected}


def judged(decision):
    """HAERAE-HUB/Korean-Human-Judgements"""
    said = {"instruction": "뭐 해?", "response_a": "쉬어요", "response_b": "몰라"}
    return {**said, "decision": decision, "source": "arena"}


ROWS = {
    "yitingxie/rlhf-reward-datasets": [
        (
            {"prompt": "\n\nHuman: How are you?\n\n", "chosen": "Assistant: Fine.", "rejected": "Assistant: No."},
            pair("How are you?", "Fine.", "No."),
        ),
        (
            {"prompt": "\n\nHuman: a\n\nb\n\n", "chosen": "Assistant: c", "rejected": "Assistant: d"},
            pair("a\n\nb", "c", "d"),
        ),
        ({"prompt": "\n\nHuman: a\n\n", "chosen": "Assistant:", "rejected": "Assistant: d"}, RowError),
    ],
    "Dahoas/rm-static": DAHOAS,
    "Dahoas/full-hh-rlhf": DAHOAS,
    "lcw99/evolve-instruct": [
        (
            {"input": "세 가지 색을 말해", "output": "빨강, 파랑, 노랑"},
            ((user("세 가지 색을 말해"),), ("빨강, 파랑, 노랑",)),
        ),
        ({"input": "둘?", "output": "2<|endoftext|>\n<|endoftext|>"}, ((user("둘?"),), ("2",))),
        ({"input": " ", "output": "2"}, RowError),
    ],
    "self-instruct/seed_tasks": [
        (
            {"instruction": "Sort", "instances": [{"input": "b a", "output": "a b"}, {"input": "x", "output": "y"}]},
            ((user("Sort", input="b a"),), ("a b",)),
        ),
        ({"instruction": "Joke", "instances": [{"input": "<noinput>", "output": "Ha"}]}, ((user("Joke"),), ("Ha",))),
        ({"instruction": "None", "instances": []}, RowSkipped),
    ],
    "Bingsu/ko_alpaca_data": INPUTS,
    "beomi/KoAlpaca-v1.1a": [
        (
            {"instruction": "양파는 왜 매워요?", "output": "황 때문이에요.", "url": "u"},
            ((user("양파는 왜 매워요?"),), ("황 때문이에요.",)),
        ),
        ({"instruction": "\ufeff둘\u200b이요?", "output": "네\r\n둘"}, ((user("둘이요?"),), ("네\n둘",))),
        ({"instruction": "셋", "output": ""}, RowError),
    ],
    "nlpai-lab/kullm-v2": INPUTS,
    "heegyu/OIG-small-chip2-ko": [
        (
            {"user": "a", "chip2": "b", "user_translated": f"질문 {i}", "chip2_translated": f"대답 {i}"},
            ((user(f"질문 {i}"),), (f"대답 {i}",)),
        )
        for i in range(3)
    ],
    "junelee/sharegpt_deepl_ko": [
        (
            {"conversations": talk("안녕", "네") + talk("잘 가", "또 봐요") + talk("", "")[:1]},
            ((user("안녕"), bot("네"), user("잘 가")), ("또 봐요",)),
        ),
        ({"conversations": talk("", "먼저")[1:] + talk("질문", "대답")}, ((user("질문"),), ("대답",))),
        ({"conversations": talk("혼잣말", "")[:1]}, RowSkipped),
    ],
    "jojo0217/korean_rlhf_dataset": INPUTS,
    "maywell/ko_Ultrafeedback_binarized": [
        ({"prompt": f"질문 {i}", "chosen": "좋은 답", "rejected": "나쁜 답"}, pair(f"질문 {i}", "좋은 답", "나쁜 답"))
        for i in range(3)
    ],
    "heegyu/hh-rlhf-ko": [
        (hh(talk("안녕", "네")), ((user("안녕"), bot("네"), user("뭐 해?")), ("쉬어요", "몰라"))),
        (hh([]), pair("뭐 해?", "쉬어요", "몰라")),
        (hh(talk("두 번", "네")[:1]), RowError),
    ],
    "heegyu/PKU-SafeRLHF-ko": [
        (safe("안 됩니다", "이렇게요", 0), pair("문을 따는 법?", "안 됩니다", "이렇게요")),
        (safe("이렇게요", "안 됩니다", 1), pair("문을 따는 법?", "안 됩니다", "이렇게요")),
        (safe("이렇게요", "안 됩니다", None, (False, True)), pair("문을 따는 법?", "안 됩니다", "이렇게요")),
        (safe("이렇게요", "저렇게요", None, (False, False)), RowSkipped),
    ],
    "kuotient/orca-math-korean-dpo-pairs": ORCA,
    "SJ-Donald/orca-dpo-pairs-ko": ORCA,
    "nvidia/HelpSteer3": [
        (steered(-3, chosen="가요", rejected="나요"), ((user("안녕"),), ("가요", "나요"), "multilingual")),
        (steered(2, chosen="나요", rejected="가요"), ((user("안녕"),), ("나요", "가요"), "multilingual")),
        (steered(0), RowSkipped),
    ],
    "nayohan/HelpSteer2-ko": [
        ({**helped("뭐 해?", "쉬어요", 4), "chosen": "쉬어요", "rejected": "몰라"}, pair("뭐 해?", "쉬어요", "몰라")),
        (helped("뭐 해?", "쉬어요", 4), RowSkipped),
        ({**helped("뭐 해?", "쉬어요", 4), "chosen": "쉬어요", "rejected": " 쉬어요"}, RowSkipped),
    ],
    "maywell/ko_hh-rlhf-20k_filtered": [
        (hh_whole("안녕", " 네", " 뭐"), pair("안녕", "네", "뭐")),
        (
            hh_whole("안녕\n\nAssistant: 네\n\nHuman: 잘 가", " 또 봐요", " 가"),
            ((user("안녕"), bot("네"), user("잘 가")), ("또 봐요", "가")),
        ),
        (
            {
                **hh_whole("안녕", " 네", " 뭐"),
                "rejected": "Human: 안녕\n\nAssistant: 네\n\nHuman: 왜\n\nAssistant: 뭐",
            },
            RowSkipped,
        ),
        ({"chosen": "사람: 안녕\n\n도우미: 네", "rejected": "사람: 안녕\n\n도우미: 뭐"}, RowSkipped),
    ],
    "HAERAE-HUB/Korean-Human-Judgements": [
        (judged("A"), ((user("뭐 해?"),), ("쉬어요", "몰라"), "arena")),
        (judged("B"), ((user("뭐 해?"),), ("몰라", "쉬어요"), "arena")),
        (judged("Tie"), RowSkipped),
    ],
    "sample/best": [
        ({"prompt": "가?", "style": "best", "output": "나요."}, ((user("가?"),), ("나요.",))),
        (
            {"messages": [user("가?"), bot("나요."), user("다?")], "style": "best", "output": "라요."},
            ((user("가?"), bot("나요."), user("다?")), ("라요.",)),
        ),
        ({"prompt": "가?", "style": "worst", "output": "몰라."}, RowSkipped),
        ({"prompt": "가?", "style": "middle", "output": "네."}, RowSkipped),
        ({"prompt": "가?", "output": "네."}, RowError),
    ],
    "nayohan/preference-collection-ko-full": [
        (scored("B", 1, 5), pair("시를 써 줘", "나", "가")),
        (scored("A", 5, 1), pair("시를 써 줘", "가", "나")),
        (scored(None, "2", "3"), pair("시를 써 줘", "나", "가")),
        (scored(None, 3, 3), RowSkipped),
        (scored("tie", None, 3), RowSkipped),
        (scored(None, "many", 3), RowError),
    ],
}


@pytest.mark.parametrize("name", [n for n, s in SOURCES.items() if not s.free])
def test_rows_of_every_source(name):
    assert len(ROWS[name]) >= 3
    for row, expected in ROWS[name]:
        if isinstance(expected, tuple):
            assert SOURCES[name].read_row(row) == Example(*expected)
        else:
            with pytest.raises(expected):
                SOURCES[name].read_row(row)


def made(name, rows):
    return [row for _, row in SOURCES[name].made((f"{name}:{n}", row) for n, row in enumerate(rows, 1))]


def test_the_korean_rows_of_helpsteer3_and_how_much_better():
    rows = [{**steered(-3), "language": "english"}, steered(-3), steered(1), steered(0)]
    assert made("nvidia/HelpSteer3", rows) == [
        steered(-3, chosen="가요", rejected="나요", margin=3),
        steered(1, chosen="나요", rejected="가요", margin=1),
        steered(0, margin=0),
    ]
    with pytest.raises(InputError, match=r"^nvidia/HelpSteer3:1: no column overall_preference; found domain"):
        made("nvidia/HelpSteer3", [{k: v for k, v in steered(1).items() if k != "overall_preference"}])
    with pytest.raises(InputError, match=r"^nvidia/HelpSteer3:1: overall_preference is 'much'; expected a number"):
        made("nvidia/HelpSteer3", [steered("much")])


def test_the_more_and_the_less_helpful_answer_to_a_prompt():
    """Three answers make one pair, of the ends; a single one and equal ones make none."""
    rows = [helped("가?", "하나", 1), helped("가?", "셋", 4), helped("가?", "둘", 2), helped("나?", "혼자", 4)]
    rows += [helped("다?", "같음", 3), helped("다?", "비슷", 3)]
    rows += [helped("라?\n<extra_id_1>Assistant", "넷", 4), helped("라?\n<extra_id_1>Assistant", "영", 0)]
    found = made("nayohan/HelpSteer2-ko", rows)
    assert [(r.get("chosen"), r.get("rejected"), r["margin"]) for r in found] == [
        ("셋", "하나", 3),
        (None, None, 0),
        (None, None, 0),
        ("넷", "영", 4),
    ]
    assert [r["prompt"] for r in found] == ["가?", "나?", "다?", None]


def test_an_answer_that_nobody_rated_is_not_the_worst():
    rows = [helped("가?", "하나", 1), helped("가?", "모름", None), helped("가?", "셋", 3)]
    rows += [helped("나?", "모름", None), helped("나?", "모름", None)]
    rows += [helped("다?", "혼자", 4), helped("다?", "모름", None)]
    found = made("nayohan/HelpSteer2-ko", rows)
    assert [(r.get("chosen"), r.get("rejected"), r["margin"]) for r in found] == [
        ("셋", "하나", 2),
        (None, None, 0),
        (None, None, 0),
    ]


@pytest.mark.parametrize("step, prompts", [(2, ["가?"]), (3, ["가?", "나?"])])
def test_prompts_of_several_turns_are_left_out_in_every_step(step, prompts, monkeypatch):
    rows = [helped("가?", "하나", 1), helped("가?", "셋", 4), helped("나?", "혼자", None)]
    rows += [helped("라?\n<extra_id_1>Assistant", "넷", 4), helped("라?\n<extra_id_1>Assistant", "영", 0)]
    monkeypatch.setattr(load, "hub_splits", lambda *parts: {"train": rows})
    found = load.load_examples("nayohan/HelpSteer2-ko", step)
    assert [e.messages[-1]["content"] for e in found] == prompts


def test_a_test_set_trains_one_step_alone():
    tests = [name for name, source in SOURCES.items() if source.measuring]
    assert len(tests) == 4 and all(SOURCES[name].steps == (2,) for name in tests)


def test_a_published_set_that_lost_a_column():
    with pytest.raises(RowError, match="no column rejected; found prompt, chosen; expected prompt, chosen, rejected"):
        SOURCES["Dahoas/rm-static"].read_row({"prompt": "a", "chosen": "b"})


def test_a_published_set_whose_column_changed_kind():
    with pytest.raises(RowError, match="not of the known kind"):
        SOURCES["heegyu/hh-rlhf-ko"].read_row({"context": [], "instruction": "가", "chosen": "나", "rejected": "다"})


@pytest.mark.parametrize(
    "name,steps",
    [
        ("nlpai-lab/kullm-v2", (1, 3)),
        ("jojo0217/korean_rlhf_dataset", (1, 3)),
        ("Dahoas/rm-static", (1, 2, 3)),
        ("sample/sft", (1, 3)),
        ("sample/prompts", (3,)),
        ("sample/text", (1,)),
        ("sample/heldout_reward", (1, 2, 3)),
    ],
)
def test_steps(name, steps):
    for step in (1, 2, 3):
        if step in steps:
            assert find_source(name, step) is SOURCES[name]
        else:
            with pytest.raises(InputError, match=f"dataset {name}: step {step} needs"):
                find_source(name, step)


def test_wrong_step_says_what_is_possible():
    with pytest.raises(InputError) as error:
        find_source("jojo0217/korean_rlhf_dataset", 2)
    assert str(error.value) == (
        "dataset jojo0217/korean_rlhf_dataset: step 2 needs two or more ranked answers, "
        "which this dataset has not; it can train steps 1 and 3"
    )
    with pytest.raises(InputError, match="can train step 1$"):
        find_source("sample/text", 3)


def test_names():
    assert sources.close_names("dahoas/rm_static") == "; did you mean Dahoas/rm-static?"


@pytest.mark.parametrize("name", [n for n, s in SOURCES.items() if s.steps == (1, 2, 3) and not s.free])
def test_a_pair_without_a_clear_preference_is_still_a_prompt(name):
    for row, _ in ROWS[name]:
        if "hh-rlhf" not in name:
            assert SOURCES[name].read_row(row, prompt_only=True).answers == ()
