"""How long a server asks to wait; the rest of what it says is in test_client.py, as it comes over the wire."""

import time

import pytest

from korlhf.llm import protocol


@pytest.fixture
def in_seoul(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Asia/Seoul")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("2", 2),
        ("0.25", 0.25),
        ("3600", 120),
        ("-5", None),
        ("soon", None),
        ("nan", None),
        ("Thu, 01 Jan 1970 00:16:50 GMT", 10),
        ("Thu, 01 Jan 1970 00:16:50 -0000", 10),
        ("Thu, 01 Jan 1970 00:00:01 GMT", 0),
        ("Fri, 02 Jan 1970 00:00:00 GMT", 120),
    ],
)
def test_retry_after_is_seconds_or_a_date(monkeypatch, in_seoul, header, seconds):
    monkeypatch.setattr(protocol.time, "time", lambda: 1000.0)  # 00:16:40
    assert protocol.retry_after(header) == seconds
