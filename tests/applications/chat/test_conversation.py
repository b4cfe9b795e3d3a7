"""What is sent of a conversation, and the answer on its way."""

import threading

import pytest

from korlhf.applications.chat.conversation import AnswerStream, checked, cut
from korlhf.core.errors import InputError


def talk(*said, system=""):
    found = [{"role": ("user", "assistant")[i % 2], "content": s} for i, s in enumerate(said)]
    return ([{"role": "system", "content": system}] if system else []) + found


def said(messages):
    return [m["content"] for m in messages]


@pytest.mark.parametrize(
    "limit, left, left_out",
    [(13, "aaabbbcccddde", 0), (12, "cccddde", 1), (7, "cccddde", 1), (6, "e", 2), (1, "e", 2), (0, "e", 2)],
)
def test_the_oldest_exchanges_go_whole(limit, left, left_out):
    conversation = talk("aaa", "bbb", "ccc", "ddd", "e")
    kept, n = cut(conversation, lambda m: len("".join(said(m))) <= limit)
    assert ("".join(said(kept)), n) == (left, left_out)


def test_the_system_message_stays():
    kept, n = cut(talk("aaa", "bbb", "c", system="ss"), lambda m: len("".join(said(m))) <= 5)
    assert said(kept) == ["ss", "c"] and n == 1
    assert cut(talk("c"), lambda m: False) == (talk("c"), 0)


def test_a_long_history_is_not_tried_exchange_by_exchange():
    tries = []
    kept, n = cut(talk(*["x"] * 401), lambda m: tries.append(len(m)) or len(m) <= 101)
    assert (len(kept), n) == (101, 150) and len(tries) <= 9


def test_a_conversation_is_brought_into_the_form_of_training_data():
    messages = talk(" 안녕\u200b\r\n ", "네", "\u1112\u1161", system=" 친절히 ")
    assert said(checked(messages)) == ["친절히", "안녕", "네", "하"]
    assert said(checked(talk("가", " ", "나", "다", "라"))) == ["나", "다", "라"]  # an answer without a text


@pytest.mark.parametrize(
    "messages, words",
    [
        ([], "messages is"),
        (talk(" "), "message 1 is empty"),
        (talk("가", "나"), "expected user and assistant in turn"),
        ([{"role": "user"}], "NoneType"),
        ([{"content": "가"}], "'role'"),
        (["가"], "indices"),
        (talk("가\ud800"), "surrogate"),
        ([{"role": "user", "content": "가"}, {"role": "user", "content": "나"}], "in turn"),
    ],
)
def test_what_is_no_conversation_is_refused(messages, words):
    with pytest.raises(InputError, match=f"this cannot be sent: .*{words}"):
        checked(messages)


def test_an_answer_comes_in_pieces_and_knows_how_it_ended():
    answer = AnswerStream(left_out=2)
    for piece in ("안", "", "녕"):
        answer.put(piece)
    answer.finish("stop")
    assert list(answer) == ["안", "녕"]
    assert (answer.text, answer.finish_reason, answer.left_out, answer.cancelled) == ("안녕", "stop", 2, False)


def test_blanks_at_the_edges_are_no_part_of_an_answer():
    answer = AnswerStream()
    for piece in (" ", "\n 안", "녕 ", "", "\n", "하 ", "  "):
        answer.put(piece)
    answer.finish("stop")
    assert list(answer) == ["안", "녕", " \n하"]


def test_an_error_reaches_the_reader():
    answer = AnswerStream()
    answer.put("안")
    answer.fail(InputError("weg"))
    with pytest.raises(InputError, match="weg"):
        answer.wait()
    assert (answer.text, answer.finish_reason) == ("안", "failed")


def test_an_iteration_that_is_given_up_cancels():
    answer = AnswerStream()
    answer.put("안")
    for _ in answer:
        break
    assert answer.cancelled and answer.finish_reason == "cancelled" and list(answer) == []


def test_a_reader_who_waits_is_woken_by_a_cancellation():
    answer, got = AnswerStream(), []
    reader = threading.Thread(target=lambda: got.append(answer.wait()))
    reader.start()
    answer.put("안")
    answer.cancel()
    reader.join(10)
    assert got == ["안"] and answer.finish_reason == "cancelled"
