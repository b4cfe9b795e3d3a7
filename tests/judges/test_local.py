"""korlhf/judges/local.py against plain transformers: expected scores and probabilities from the models' own logits."""

import json
import math
import shutil

import pytest
import rigged_reward
import torch
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from korlhf.core.errors import InputError
from korlhf.judges import choice as choices
from korlhf.judges import judge as judges
from korlhf.judges.flags import JudgingFlags
from korlhf.judges.form import Item, body
from korlhf.judges.local import LOW_MASS, LocalJudge
from korlhf.judges.rubric import Criterion, Rubric
from korlhf.llm.flags import CheckpointFlags, LlmFlags
from korlhf.llm.protocol import Failure
from korlhf.models.tokenizer import load_tokenizer

KIND, CLEAR = (
    Criterion(key, name, question, {1: "아니요", 5: "네"})
    for key, name, question in (("kind", "다정함", "다정한가요?"), ("clear", "또렷함", "또렷한가요?"))
)
RUBRIC = Rubric("chat", "ko", (1, 5), "채점하세요.", ("읽습니다.",), (KIND, CLEAR))
USER = [{"role": "user", "content": "오늘 뭐 해요?"}]
FP32 = CheckpointFlags(dtype="fp32")
NO_SYSTEM = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}"
    "{{ '### ' + m.role + '\\n' + m.content }}{{ eos_token if m.role == 'assistant' else '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '### assistant\\n' }}{% endif %}"
)


def with_spaced_digits(tokenizer):
    """The tokenizer with one token for " 1", " 2" ... beside the bare digits."""
    found = json.loads(tokenizer.backend_tokenizer.to_str())
    for digit in "12345":
        found["model"]["vocab"][f"Ġ{digit}"] = len(found["model"]["vocab"])
        found["model"]["merges"].append(["Ġ", digit])
    eos = tokenizer.eos_token
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(found)),
        bos_token=eos,
        eos_token=eos,
        unk_token=eos,
        pad_token=eos,
    )


@pytest.fixture(scope="module")
def long(folders, plain_tokenizer, tmp_path_factory):
    """Function: (architecture, whether " 4" is one token, template) -> a random model's folder with room for a form."""
    root = tmp_path_factory.mktemp("judges")

    def make(architecture, spaced=False, template=""):
        folder = root / f"{architecture} {spaced} {len(template)}"
        if not folder.exists():
            tokenizer = with_spaced_digits(plain_tokenizer) if spaced else plain_tokenizer
            config = AutoConfig.from_pretrained(folders[architecture])
            config.vocab_size, config.max_position_embeddings = len(tokenizer), 2048
            torch.manual_seed(7)
            AutoModelForCausalLM.from_config(config).save_pretrained(folder)
            tokenizer.save_pretrained(folder)
            saved = load_tokenizer(str(folder))
            saved.chat_template = template or saved.chat_template
            saved.save_pretrained(folder)
        return str(folder)

    return make


def prompt_ids(tokenizer, messages):
    """Rendered by transformers; what stands between the texts, and each text, is tokenised by itself."""
    text, ids = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True), []
    for m in messages:
        before, found, text = text.partition(m["content"])
        ids += [i for piece in (before, found) for i in tokenizer(piece, add_special_tokens=False).input_ids]
    return ids + tokenizer(text, add_special_tokens=False).input_ids


def shares(folder, messages, begin, options):
    """(probabilities of the options, together 1; their sum before) by plain transformers."""
    tokenizer, lm = (
        AutoTokenizer.from_pretrained(folder),
        AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval(),
    )
    answers = [tokenizer(begin + option, add_special_tokens=False).input_ids for option in options]
    start = next(i for i in range(len(answers[0])) if len({a[i] for a in answers}) > 1)
    with torch.no_grad():
        logits = lm(torch.tensor([prompt_ids(tokenizer, messages) + answers[0][:start]])).logits[0, -1]
    of_options = torch.softmax(logits, -1)[[a[start] for a in answers]]
    return (of_options / of_options.sum()).tolist(), float(of_options.sum()), start


def form_messages(criterion, answer):
    one = Rubric(**{**vars(RUBRIC), "criteria": (criterion,)})
    return body(Item(one, USER, (answer,)), "m", False, 0.0)["messages"]


@pytest.mark.parametrize(
    "architecture, spaced, token",
    [("gpt_neox", True, "Ġ4"), ("gpt_neox", False, "4"), ("llama", False, "4"), ("qwen2", True, "4")],
)  # Qwen's own rules cut before a digit
def test_a_score_is_the_expected_value_of_the_next_token(long, cache, architecture, spaced, token):
    folder = long(architecture, spaced)
    judge = LocalJudge(folder, "--judge", FP32, 3, cache)
    answers = ("네, 좋아요. 같이 가요.", "몰라요.")
    (found,) = judge.rate([Item(RUBRIC, USER, answers)])
    masses = []
    for answer, score in zip(answers, found):
        for c in RUBRIC.criteria:
            probabilities, mass, start = shares(folder, form_messages(c, answer), f"{c.name}: ", "12345")
            masses.append(mass)
            assert score.scores[c.key] == pytest.approx(sum(v * p for v, p in enumerate(probabilities, 1)), abs=1e-4)
            tokenizer = AutoTokenizer.from_pretrained(folder)
            assert (
                tokenizer.convert_ids_to_tokens(tokenizer(f"{c.name}: 4", add_special_tokens=False).input_ids)[start]
                == token
            )
        assert score.score == pytest.approx(sum(score.scores.values()) / 2) and score.method == "token probabilities"
    assert found[0].score != pytest.approx(found[1].score, abs=1e-3)  # a random model's opinion, but an opinion
    assert judge.asked == 4 and judge.mass == pytest.approx(sum(masses), abs=1e-4)


def test_a_choice_is_the_probabilities_of_the_letters(long, cache):
    folder = long("gpt_neox")
    questions = [
        choices.Question("심판입니다.", "어느 쪽이 좋은가요?", ("앞", "뒤")),
        choices.Question("심판입니다.", "무엇인가요?", ("하나", "둘", "셋")),
    ]
    judge = LocalJudge(folder, "--judge", FP32, 4, cache)
    found = judge.choose(questions)
    for question, choice in zip(questions, found):
        assert choice.probabilities == pytest.approx(
            shares(folder, question.messages, "", question.letters)[0], abs=1e-4
        )
        assert choice.method == choices.PROBABILITIES
    again = LocalJudge(folder, "--judge", FP32, 4, cache)
    again._forward = None  # all from the cache: the model is not needed
    assert again.choose(questions) == found and again.mass == judge.mass


def test_a_template_without_a_system_role_has_its_text_before_the_users(long, cache):
    folder = long("gpt_neox", template=NO_SYSTEM)
    question = choices.Question("심판입니다.", "어느 쪽이 좋은가요?", ("앞", "뒤"))
    (found,) = LocalJudge(folder, "--judge", FP32, 4, cache).choose([question])
    system, user = question.messages
    merged = [{"role": "user", "content": f"{system['content']}\n\n{user['content']}"}]
    assert found.probabilities == pytest.approx(shares(folder, merged, "", "AB")[0], abs=1e-4)


def test_what_does_not_fit_the_model_is_a_failure(folders, cache):
    judge = LocalJudge(folders["gpt_neox"], "--judge", FP32, 4, cache)
    (found,) = judge.rate([Item(RUBRIC, USER, ("네.", "아니요."))])
    assert all(isinstance(f, Failure) and f.kind == "too long" and "128 positions" in f.reason for f in found)


def test_a_vocabulary_that_cannot_tell_the_options_apart(folders, tmp_path, cache):
    folder = tmp_path / "one token for all"
    shutil.copytree(folders["gpt_neox"], folder)
    rigged_reward.tokenizer().save_pretrained(folder)
    judge = LocalJudge(str(folder), "--judge", FP32, 4, cache)
    with pytest.raises(InputError, match="does not tell the options A, B apart by one token; give another judge"):
        judge.choose([choices.Question("심판", "무엇?", ("앞", "뒤"))])


def test_a_judge_that_puts_little_on_the_options_is_shown(long, cache):
    """A random model knows nothing of the form: its mass on five digits is that of five tokens among hundreds."""
    judge = judges.open_judge(f"checkpoint:{long('gpt_neox')}", JudgingFlags(), FP32, LlmFlags(), cache)
    assert judge.warnings() == []
    judge.rate([Item(RUBRIC, USER, ("네, 좋아요.",))])
    (line,) = judge.warnings()
    assert (
        judge.mass / judge.asked < LOW_MASS and "it does not follow the form" in line["en"] and "확률의" in line["ko"]
    )


@pytest.mark.parametrize("logps", [[math.nan, math.nan], [-math.inf, -2000.0]])
def test_probabilities_that_are_none_are_a_failure(long, cache, monkeypatch, logps):
    monkeypatch.setattr("korlhf.judges.local._forward", lambda load, device, chunk: [logps for _ in chunk])
    judge = LocalJudge(long("gpt_neox"), "--judge", FP32, 4, cache)
    (found,) = judge.choose([choices.Question("심판", "무엇?", ("앞", "뒤"))])
    assert isinstance(found, Failure) and found.kind == "not finite" and judge.asked == 0
