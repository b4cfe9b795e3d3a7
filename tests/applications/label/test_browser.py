"""The page in a real browser: two people at once by keyboard alone, every key, editing, going back, phone, a server
that dies."""

import pytest
from browser_harness import assert_kept_out, assert_markup_would_be_dead, chromium, open_page  # noqa: F401 (fixtures)
from label_harness import Server, rows, serve, write  # noqa: F401 (fixture)

from korlhf.applications.label import agreement
from korlhf.applications.label.store import Store

pytestmark = pytest.mark.browser


def enter(page, name):
    page.fill("input[name=name]", name)
    page.keyboard.press("Enter")
    page.wait_for_selector(".answer, .nothing:not([hidden])")


def confirm(page, key="Enter"):
    """Press a key that sends the label, and wait until the page says that it is saved."""
    page.keyboard.press(key)
    page.wait_for_selector(".notice.good", state="attached")


def texts(page):
    return page.locator(".answer > .text").all_inner_texts()


def summary(page):
    return page.inner_text(".summary")


def own(server, name):
    """[(ballot, texts in the order of the file)] of a person, in the order in which they were given; only what counts
    now."""
    with Store(server.database) as store:
        (me,), items = store.one("SELECT number FROM annotators WHERE name = ?", name), store.items()
        found = [(label, items[n].answers) for n, of_one in store.labels().items() for label in of_one]
    found = sorted((label.number, label.ballot, answers) for label, answers in found if label.annotator == me)
    return [(ballot, [a.text for a in answers]) for _, ballot, answers in found]


MARKUP = [
    "<script>window.bad = 1</script>\n\n**굵게** [링크](javascript:alert(1))",
    "{{bad}} ${bad} &lt;b&gt;",
    "네. \u202eesrever\u202c",
]
TALK = ["다정하게 답하세요.", "안녕", "네, 안녕하세요.", "<img src=x onerror=alert(1)>\n둘째 줄"]

CATEGORY = "<img src=x onerror=window.bad=1>\u202e" + "a_category_with_a_very_long_name_" * 2
CONTEXT = "<svg onload=window.bad=1></svg>\n[x](javascript:window.bad=1)"


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A server for the tests that need nothing of their own: each logs in under another name. Item 1 has markup in
    it."""
    roles = ("system", "user", "assistant", "user")
    first = {
        "category": CATEGORY,
        "input": CONTEXT,
        "messages": [{"role": role, "content": text} for role, text in zip(roles, TALK)],
        "candidates": [{"text": text} for text in MARKUP],
    }
    folder = tmp_path_factory.mktemp("shared")
    records = write(folder / "in.jsonl", [first, *rows(11, 3)])
    server = Server(folder / "labels.sqlite", "--input", records, "--annotators_per_item", 99, "--show_category")
    yield server
    server.kill()


def test_two_people_at_once_their_agreement_and_a_server_that_dies(tmp_path, serve, open_page):
    """Two people in two browser contexts label in turn, by keyboard alone; then the server is killed."""
    server = serve(tmp_path / "labels.sqlite", "--input", write(tmp_path / "in.jsonl", rows(20)), "--daily_share", 10)
    pages = {"지민": open_page(server.url), "서연": open_page(server.url)}
    for name, page in pages.items():
        enter(page, name)
    said = {
        name: [choose_by_text(page, i, i % 5 == 0 and name == "서연") for i in range(10)]
        for name, page in pages.items()
    }
    for name, page in pages.items():
        assert [[answers[place] for place in ballot.groups[0]] for ballot, answers in own(server, name)] == said[name]
        assert page.inner_text(".today") == "오늘 10 / 10 · 오늘 몫을 마쳤습니다" and page.locator(".chip").count() == 0
        assert page.inner_text(".mine_n") == "내 라벨 10" and not page.errors and not page.outside
    with Store(server.database) as store:
        assert store.rows("SELECT count(*), min(votes), max(votes) FROM items WHERE votes > 0") == [(10, 2, 2)]
        kappa = agreement.summary(store.items(), store.labels(), 2)["cohen"][0]["kappa"]
    page.click("nav .progress")
    page.wait_for_selector(".figures table")
    shown = page.inner_text(".figures")
    assert "80.0%" in shown and "비교 10건" in shown and f"{kappa:.2f}" in shown and "쌍 10개" in shown
    page.keyboard.press("Escape")
    server.kill()
    page.keyboard.press("2")
    page.keyboard.press("Enter")
    page.wait_for_selector(".notice.bad")
    assert "아직 저장되지 않았으며" in page.inner_text(".notice") and len(own(server, "서연")) == 10
    server.start()
    page.wait_for_selector(".notice.good", timeout=60_000)
    assert page.inner_text(".mine_n") == "내 라벨 11" and len(own(server, "서연")) == 11


def choose_by_text(page, i, tie):
    """Choose the answer that starts with 가 or 나 by its number, or a tie -> the chosen texts."""
    shown = texts(page)
    item = page.get_attribute("main.work", "data-item")
    chosen = sorted(shown) if tie else [text for text in shown if f"의 {'가' if i % 3 else '나'} 답변" in text]
    page.keyboard.press("t" if tie else str(shown.index(chosen[0]) + 1))
    page.keyboard.press("Enter")
    page.wait_for_selector(f'main.work:not([data-item="{item}"])')
    return chosen


def test_ranking_with_every_key(shared, open_page):
    page = open_page(shared.url)
    enter(page, "순위")
    keys = ("2", "1", "1", "u", "u", "=", "3", "t", "b", "b", "t", "3", "4")
    joins = "B > 나머지 다음에 고르는 답변이 같은 순위가 됩니다."
    ranks = [
        "B > 나머지",
        "B > A > C",
        "B > 나머지",
        "B > A > C",
        "B > 나머지",
        joins,
        "B = C > A",
        "B = C > A",
        "모두 나쁨",
    ]
    ranks += ["아직 고르지 않았습니다", "A = B = C", "A = B > C", "A = B > C"]
    for key, expected in zip(keys, ranks, strict=True):
        page.keyboard.press(key)
        assert summary(page) == expected, key
    page.keyboard.press("b")
    for key in "321":
        page.keyboard.press(key)
    shown = texts(page)
    assert summary(page) == "C > B > A"
    assert [page.locator(".rank").nth(i).inner_text() for i in range(3)] == ["3위", "2위", "1위"]
    confirm(page)
    ((ballot, answers),) = own(shared, "순위")
    assert [[answers[place] for place in group] for group in ballot.groups] == [[text] for text in shown[::-1]]


def test_shortcuts_do_not_fire_in_text_boxes_and_do_with_the_hangul_input_on(shared, open_page):
    page = open_page(shared.url)
    enter(page, "글상자")
    item = page.get_attribute("main.work", "data-item")
    page.keyboard.press("c")
    page.keyboard.type("st1b2fu ")
    page.keyboard.press("Enter")  # leaves the box, sends nothing
    assert page.input_value(".comment") == "st1b2fu " and summary(page) == "아직 고르지 않았습니다"
    assert page.get_attribute("main.work", "data-item") == item and not page.is_visible(".panel")

    def press(key, code, repeat=False):
        script = "e => document.body.dispatchEvent(new KeyboardEvent('keydown', {...e, bubbles: true}))"
        page.evaluate(script, {"key": key, "code": code, "repeat": repeat})

    for key, code, expected in (
        ("ㅅ", "KeyT", "A = B = C"),
        ("ㅠ", "KeyB", "모두 나쁨"),
        ("Process", "Digit2", "B > 나머지"),
    ):
        press(key, code)
        assert summary(page) == expected
    press("Enter", "Enter", repeat=True)
    page.keyboard.press("Control+s")
    page.keyboard.press("Alt+1")
    assert page.get_attribute("main.work", "data-item") == item and summary(page) == "B > 나머지"
    confirm(page)
    assert own(shared, "글상자")[0][0].comment == "st1b2fu"


def test_an_edit_counts_as_chosen_and_the_original_is_kept(shared, open_page):
    page = open_page(shared.url)
    enter(page, "고침")
    shown = texts(page)
    page.keyboard.press("e")
    assert page.inner_text(".notice") == "먼저 답변을 고르세요."
    page.keyboard.press("3")
    page.keyboard.press("e")
    page.keyboard.press("Control+a")
    page.keyboard.type("사람이 고친 글\n둘째 줄")
    page.keyboard.press("Escape")
    assert summary(page) == "C > 나머지 · 고친 답변"
    assert page.locator(".answer").nth(2).locator("> .text").inner_text() == "사람이 고친 글\n둘째 줄"
    page.keyboard.press("u")
    assert summary(page) == "C > 나머지" and texts(page) == shown
    page.keyboard.press("e")
    page.keyboard.type(" 더하기")
    page.keyboard.press("Control+Enter")  # confirms from within
    page.wait_for_selector(".notice.good")
    ((ballot, answers),) = own(shared, "고침")
    assert answers[ballot.edit_of] == shown[2]
    assert ballot.edit == f"{shown[2]} 더하기"
    assert ballot.groups == ((ballot.edit_of,),)


def test_skip_flag_and_going_back(shared, open_page):
    page = open_page(shared.url)
    enter(page, "되돌림")
    assert "더 도움이 되는 답변" in page.inner_text("aside.guide") and page.inner_text(".today") == "오늘 0 / 50"
    page.keyboard.press("g")
    assert page.is_hidden("aside.guide")
    page.reload()
    page.wait_for_selector(".answer")
    assert page.is_hidden("aside.guide")  # remembered
    page.keyboard.press("g")
    assert page.is_visible("aside.guide")
    first = page.get_attribute("main.work", "data-item")
    confirm(page, "s")
    page.keyboard.press("f")
    assert page.evaluate("document.activeElement.value") == "unclear"  # the first reason, not the button that closes
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    page.wait_for_selector(".panel", state="hidden")  # Enter on that button presses it
    page.keyboard.press("f")
    page.keyboard.press("Enter")
    assert page.inner_text(".wrong_flag") == "이유를 하나 고르세요."
    page.keyboard.press("5")  # other: the cursor goes into the note
    page.keyboard.type("표가 깨졌어요 1")
    confirm(page)
    page.keyboard.press("u")
    page.wait_for_selector(".revising:not([hidden])")
    page.keyboard.press("u")
    page.wait_for_selector(f'main.work[data-item="{first}"]')
    page.keyboard.press("1")
    confirm(page)
    assert page.is_hidden(".revising") and page.inner_text(".mine_n") == "내 라벨 2"
    (flag, _), (order, _) = own(shared, "되돌림")
    assert (flag.kind, flag.reason, flag.comment) == ("flag", "other", "표가 깨졌어요 1") and order.kind == "order"
    with Store(shared.database) as store:
        kinds = (
            "SELECT kind FROM labels l JOIN items i ON i.number = item JOIN annotators a ON a.number = annotator "
            "WHERE i.id = ? AND a.name = ?"
        )
        assert store.rows(kinds, first, "되돌림") == [("skip",), ("order",)]
        store.rows("UPDATE items SET flags = 0")  # the others label on
    page.click("nav .mine")
    page.locator(".labels button").nth(1).click()
    page.wait_for_selector(".revising:not([hidden])")
    page.keyboard.press("n")
    page.wait_for_selector(".revising", state="hidden")


def test_what_people_wrote_is_text_and_nothing_else(shared, open_page):
    page, name = open_page(shared.url), "<img src=x onerror=window.bad=3>"
    enter(page, name)
    assert page.locator(".turn > .said").all_inner_texts() == TALK and sorted(texts(page)) == sorted(MARKUP)
    assert page.inner_text(".chip") == CATEGORY and page.inner_text(".context").endswith(CONTEXT)
    page.keyboard.press("1")
    page.keyboard.press("e")
    page.keyboard.type("<img src=x onerror='window.bad=2'>")
    page.keyboard.press("Escape")
    page.keyboard.press("c")
    page.keyboard.type("<script>window.bad=5</script>")
    page.keyboard.press("Enter")
    confirm(page)
    page.click("nav .mine")
    page.wait_for_selector(".labels button")
    assert TALK[-1].splitlines()[0] in page.inner_text(".labels")
    page.locator(".labels button").click()  # what was written comes back from the database
    page.wait_for_selector(".revising:not([hidden])")
    assert page.input_value(".comment") == "<script>window.bad=5</script>"
    assert any("<img src=x onerror='window.bad=2'>" in text for text in texts(page))
    page.click("nav .progress")
    page.wait_for_selector(".figures table")
    assert name in page.inner_text(".figures")
    assert page.locator("main.work :is(img, script, svg, a), .panel :is(img, script, a)").count() == 0
    assert page.evaluate("window.bad") is None and not page.errors and not page.refused and not page.outside
    assert_markup_would_be_dead(page)
    assert_kept_out(page, shared.url)


def test_on_a_phone_it_fits_and_works_by_touch_in_both_languages(shared, open_page):
    page = open_page(shared.url, phone=True)
    enter(page, "전화")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert page.locator("kbd:visible").count() == 0  # no keys to speak of
    chip, first = page.locator(".chip").bounding_box(), page.locator(".turn > .said").first.bounding_box()
    assert chip["y"] + chip["height"] <= first["y"]  # the category covers no text
    shown = texts(page)
    page.locator(".answer").nth(1).locator("> .text").tap()
    assert summary(page) == "B > 나머지"
    box = page.locator(".confirm").bounding_box()
    assert box["height"] >= 44 and box["y"] + box["height"] <= 844  # in view without scrolling
    page.locator(".confirm").tap()
    page.wait_for_selector(".notice.good")
    ((ballot, answers),) = own(shared, "전화")
    assert answers[ballot.groups[0][0]] == shown[1] and not page.errors
    page.locator("nav .guide_button").tap()  # no room beside the item
    assert "더 도움이 되는 답변" in page.inner_text(".panel .guide_text") and page.locator(".panel b").count() > 3
    page.keyboard.press("Escape")
    page.locator("nav .language").tap()
    assert page.inner_text(".confirm span") == "Confirm" and page.get_attribute("html", "lang") == "en"
    assert page.get_attribute(".answers", "lang") == "ko"  # what is labelled is Korean in both
    page.reload()  # the language and the person stay
    page.wait_for_selector(".answer")
    assert page.inner_text(".confirm span") == "Confirm" and page.inner_text(".mine_n") == "1 by me"
