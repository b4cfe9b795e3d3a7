"""A judge for openai_server.Server: reads the answers out of a request as a model sees them, and fills in the form.

Server(form_of(lambda answer, place: 4))      # every criterion of every answer gets 4; place: 0 = the answer that is
first
"""

import json
import math
import re

ANSWER = re.compile(
    r"\[채점할 답변(?: [A-Z])? (?P<mark>[0-9a-f]{8})\]\n(.*?)(?=\n\[(?:채점할 답변(?: [A-Z])?|끝) (?P=mark)\])",
    re.DOTALL,
)
CRITERION = re.compile(r"^■ (?P<name>[^(]+)\((?P<key>[a-z_]+)\)", re.MULTILINE)


def answers(body):
    """The answers in a request, first one first."""
    return [m[2] for m in ANSWER.finditer(body["messages"][-1]["content"])]


def criteria(body):
    """[(key, name)] of the rubric in a request."""
    return [(m["key"], m["name"]) for m in CRITERION.finditer(body["messages"][0]["content"])]


def fill(body, values):
    """The form with values[answer][criterion]: JSON if a schema is asked for, else lines."""
    labelled = [("ABCDEF"[i], of_one) for i, of_one in enumerate(values)]
    if "response_format" in body:
        objects = {label: {key: v for (key, _), v in zip(criteria(body), of_one)} for label, of_one in labelled}
        return json.dumps(objects if len(values) > 1 else objects["A"])
    lines = []
    for label, of_one in labelled:
        lines += [f"[답변 {label}]"] if len(values) > 1 else []
        lines += [f"{name}: {v}" for (_, name), v in zip(criteria(body), of_one)]
    return "\n".join(lines)


def form_of(score):
    """An answer function for Server; score(answer, place) -> the score that every criterion gets."""

    def reply(body):
        return fill(body, [[score(answer, place)] * len(criteria(body)) for place, answer in enumerate(answers(body))])

    return reply


def with_probabilities(score, other, share):
    """As form_of, with logprobs where they are asked for: a score token has 1 - share, `other` has `share`."""

    def reply(body):
        text = form_of(score)(body)
        return {
            "message": {"role": "assistant", "content": text},
            "logprobs": {"content": tokens(text, other, share)} if body.get("logprobs") else None,
        }

    return reply


def tokens(text, other, share):
    """One token a character, as a server gives them."""
    out = []
    for c in text:
        probabilities = [(c, 1 - share), (str(other), share)] if c.isdigit() else [(c, 1.0)]
        top = [{"token": t, "logprob": math.log(p)} for t, p in probabilities]
        out.append({**top[0], "bytes": None, "top_logprobs": top})
    return out


def is_choice(body):
    """Whether a request is a question with lettered options (korlhf/judges/choice.py), not a form."""
    return "한 글자로만 답하세요" in body["messages"][-1]["content"]


def choice_of(pick, share=None, form=None):
    """An answer function for Server: pick(*answers) -> the letter of an option, as JSON if a schema is asked for.

    share: the letter's probability, where logprobs are asked for; the rest is C's (of C itself: A's). None = no
    logprobs are given. form: fills in the forms that are no questions, None = with threes.
    """

    def reply(body):
        if not is_choice(body):
            return (form or form_of(lambda answer, place: 3))(body)
        letter = pick(*answers(body))
        text = json.dumps({"choice": letter}) if "response_format" in body else letter
        if share is None or not body.get("logprobs"):
            return text
        content = []
        for c in text:
            probabilities = [(c, share), ("A" if c == "C" else "C", 1 - share)] if c == letter else [(c, 1.0)]
            top = [{"token": t, "logprob": math.log(p)} for t, p in probabilities]
            content.append({**top[0], "bytes": None, "top_logprobs": top})
        return {"message": {"role": "assistant", "content": text}, "logprobs": {"content": content}}

    return reply
