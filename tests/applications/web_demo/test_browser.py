"""The page in a real browser: streaming, stop, the blind vote, the report, texts that would like to be scripts,
phone, log-in."""

import threading

import pytest
import rigged_reward
import yaml
from app_server import lines, wait_for
from browser_harness import assert_kept_out, assert_markup_would_be_dead, chromium, open_page  # noqa: F401 (fixtures)
from web_demo_harness import echo, serve  # noqa: F401 (fixture)

from korlhf.applications import accounts
from korlhf.applications.chat.scorer import Scorer
from korlhf.core import ai_mark
from korlhf.data.load import load_examples

pytestmark = pytest.mark.browser
GROUND, LIGHT, DARK = "getComputedStyle(document.body).backgroundColor", "rgb(244, 246, 249)", "rgb(22, 26, 33)"
EVIL = (
    '<img src=x onerror="window.bad=1"><script>window.bad=1</script>\n'
    "![사진](http://192.0.2.1/a.png) [눌러요](javascript:window.bad=1)\n"
    "**굵게** &lt;b&gt; ${1+1} {{1+1}} \u202eesrever\u202c\u2066"
)
SMALL = "작은모델<script>alert(1)<b>\u202e&amp;"  # a model is called that
REPORT = """<!DOCTYPE html><meta charset="utf-8"><h1>보고서예요</h1><p id="seen"></p>
<a href="base/README.md">card</a><script>
const tries = {page: () => parent.document.title, storage: () => localStorage.length, cookie: () => document.cookie,
  top: () => top.location.href};
function outcome([name, reach]) {
  try { reach(); return `${name} reached`; } catch { return `${name} kept out`; }
}
document.querySelector("#seen").textContent = Object.entries(tries).map(outcome).join(", ");
fetch("/api/open", {method: "POST", headers: {"Content-Type": "application/json"}, body: "{}"})
  .then(() => { document.title = "fetched"; }, () => { document.title = "refused"; });
</script>"""


@pytest.fixture(scope="module")
def demo(serve, folders, echo, tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo <b onclick=alert(1)>")
    (folder / "report.html").write_text(REPORT, encoding="utf-8")
    reward = rigged_reward.counts_tokens(folder / "reward")
    server = serve(
        "--model",
        f"메아리=openai:echo@{echo.url}",
        f"{SMALL}={folders['gpt_neox']}",
        "--votes",
        folder / "votes.jsonl",
        "--ratings",
        folder / "ratings.jsonl",
        "--reward_model",
        reward,
        "--report",
        folder / "report.html",
        "--max_new_tokens",
        12,
        "--max_characters",
        300,
        "--max_messages",
        4,
        "--temperature",
        0,
    )
    server.votes, server.ratings, server.reward = folder / "votes.jsonl", folder / "ratings.jsonl", str(reward)
    return server


@pytest.fixture
def gate(echo):
    """Releases characters of the echo; open again after the test."""
    held = echo.gate = threading.Semaphore(0)
    yield held
    echo.gate = None
    held.release(1000)


def say(page, text, view="#chat"):
    page.fill(f"{view} .message", text)
    page.keyboard.press("Enter")


def answer(page, text, view="#chat"):
    """Send, and wait for the end."""
    n = page.locator(f"{view} .turn.user").count()
    say(page, text, view)
    page.wait_for_function(
        """([view, n]) => document.querySelectorAll(`${view} .turn.user`).length === n + 1
                                             && !document.querySelector(`${view} .live`)""",
        arg=[view, n],
    )


def said(page, view="#chat"):
    return page.locator(f"{view} .said").all_inner_texts()


def shows(page, text, view="#chat"):
    page.wait_for_function(
        "([view, text]) => [...document.querySelectorAll(`${view} .said`)].at(-1)?.firstChild.data === text",
        arg=[view, text],
    )


def fine(page):
    """Nothing was thrown, nothing was asked of another machine, no text became an element."""
    assert not page.errors and not page.outside and not page.refused
    assert page.evaluate("window.bad") is None
    assert page.locator(".talk :is(img, script, a, iframe, strong):not(.help a)").count() == 0


def test_an_answer_streams_and_the_stop_button_stops_it(demo, echo, gate, open_page):
    page = open_page(demo.url)
    page.wait_for_selector("#chat .suggestions button")
    say(page, "가나다라마")
    page.wait_for_selector("#chat .stop:visible")
    gate.release(2)
    shows(page, "가나")
    gate.release()
    shows(page, "가나다")
    page.click("#chat .stop")
    page.wait_for_selector("#chat .send:visible")
    assert page.locator("#chat .note").all_inner_texts() == ["멈췄습니다"] and said(page) == ["가나다"]
    assert any(gate.release() or echo.gone.acquire(timeout=1) for _ in range(5))  # the model's server was left
    echo.gate = None
    answer(page, "다음이요")
    assert echo.requests[-1]["messages"][:2] == [
        {"role": "user", "content": "가나다라마"},
        {"role": "assistant", "content": "가나다"},
    ]
    fine(page)


def test_a_talk_with_scores_again_another_model_reload_and_start_over(demo, echo, open_page):
    page = open_page(demo.url)
    answer(page, "안녕하세요")
    page.wait_for_selector("#chat .score")
    expected = Scorer(demo.reward).score([{"role": "user", "content": "안녕하세요"}], "안녕하세요")
    assert page.inner_text("#chat .score") == f"보상 점수 +{expected:.2f}"
    page.select_option("#chat select.model", SMALL)
    answer(page, "둘째 말이에요")
    assert page.locator("#chat .name").all_inner_texts() == ["메\n메아리\nAI", f"작\n{SMALL}\nAI"]
    assert page.locator("#chat .again:visible").count() == 1
    page.select_option("#chat select.model", "메아리")
    page.click("#chat .again:visible")
    shows(page, "둘째 말이에요")
    assert [m["content"] for m in echo.requests[-1]["messages"]] == ["안녕하세요", "안녕하세요", "둘째 말이에요"]
    page.wait_for_function("() => document.querySelectorAll('#chat .score').length === 2")
    page.reload()
    page.wait_for_function("() => document.querySelectorAll('#chat .score').length === 2")
    assert said(page) == ["안녕하세요", "둘째 말이에요"] and page.locator("#chat .turn.user").count() == 2
    page.click(".fresh")
    page.wait_for_selector("#chat.empty")
    answer(page, "처음부터")
    assert len(echo.requests[-1]["messages"]) == 1
    titles = page.locator(".open_talk")
    assert titles.all_inner_texts() == ["처음부터", "안녕하세요"]
    titles.nth(1).click()
    page.wait_for_function("() => document.querySelectorAll('#chat .turn.user').length === 2")
    answer(page, "셋째 말이에요")  # the server knows it still
    assert [m["content"] for m in echo.requests[-1]["messages"]][::2] == [
        "안녕하세요",
        "둘째 말이에요",
        "셋째 말이에요",
    ]
    page.locator(".talks li").first.hover()
    page.locator(".talks .rename").first.click()
    page.keyboard.type("인사 나누기")
    page.keyboard.press("Enter")
    assert titles.all_inner_texts() == ["인사 나누기", "처음부터"]
    page.locator(".talks li").nth(1).hover()
    page.locator(".talks .delete").nth(1).click()
    assert page.inner_text(".armed") == "삭제할까요?" and titles.count() == 2
    page.click(".armed")
    assert titles.all_inner_texts() == ["인사 나누기"] and page.locator("#chat .turn.user").count() == 3
    fine(page)


def test_system_message_seed_thumbs_and_a_file_that_says_what_it_is(demo, echo, open_page, tmp_path):
    page = open_page(demo.url)
    page.click("#chat .open_settings")
    page.fill("#chat [name=system]", "짧게.")
    page.fill("#chat [name=seed]", "7")
    page.fill("#chat [name=top_p]", "0.5")
    page.keyboard.press("Escape")
    answer(page, "안녕 <b>")
    asked = echo.requests[-1]
    assert [m["content"] for m in asked["messages"]] == ["짧게.", "안녕 <b>"] and asked["top_p"] == 0.5
    for press, label in ((".rate.good", True), (".rate.bad", False)):  # a second thought takes the first one's place
        with page.expect_response("**/api/rate"):
            page.click(f"#chat {press}")
        page.wait_for_selector(f"#chat {press}[aria-pressed=true]")
        (row,) = lines(demo.ratings)
        assert (row["label"], row["answer"], row["model"]) == (label, "안녕 <b>", "메아리")
    assert row["messages"] == [{"role": "system", "content": "짧게."}, {"role": "user", "content": "안녕 <b>"}]
    assert row["sampling"] == {"temperature": 0.0, "top_p": 0.5, "max_new_tokens": 12, "seed": 7}
    page.reload()
    page.wait_for_selector("#chat .rate.bad[aria-pressed=true]")
    page.click(".menu .export")
    saved = {}
    for button in ("as_text", "as_data"):
        with page.expect_download() as download:
            page.click(f".{button}")
        saved[button] = tmp_path / download.value.suggested_filename
        download.value.save_as(saved[button])
    assert [path.name for path in saved.values()] == ["안녕_b.md", "안녕_b.jsonl"]
    _, head, body = saved["as_text"].read_text(encoding="utf-8").split("---\n", 2)
    assert yaml.safe_load(head).items() >= ai_mark.MARK.items() and yaml.safe_load(head)["model"] == "메아리"
    assert "AI가 생성한 답변" in body and "generated by AI" in body and "**메아리 (AI)**\n\n안녕 <b>\n" in body
    (row,) = lines(saved["as_data"])
    assert row.items() >= ai_mark.MARK.items() and row["sampling"][0]["seed"] == 7
    (example,) = load_examples(str(saved["as_data"]), 1)
    assert [m["content"] for m in example.messages] == ["짧게.", "안녕 <b>"] and example.answers == ("안녕 <b>",)
    page.keyboard.press("Escape")
    page.click(".menu .about")
    assert "서버에서 실행되는 모델" in page.inner_text(".panel") and SMALL in page.inner_text(".panel")
    with page.expect_response("**/api/rate"):
        page.keyboard.press("Escape")
        page.click("#chat .rate.bad")  # taken back
    page.wait_for_selector("#chat .rate.bad[aria-pressed=false]")
    assert lines(demo.ratings) == []
    fine(page)


def test_visitors_are_told_of_ai_answers_are_marked_and_helplines_stand_above_an_answer(
    serve, echo, tmp_path, open_page
):
    (tmp_path / "look.py").write_text("def look(prompts, answers):\n    return ['힘들' not in answers[0]]\n", "utf-8")
    server = serve("--model", f"openai:echo@{echo.url}", "--guard", f"{tmp_path}/look.py:look", "--language", "ko")
    page = open_page(server.url, permissions=["clipboard-read", "clipboard-write"])
    page.wait_for_selector("#chat .message")
    assert page.inner_text(".ai_notice") == ai_mark.BEFORE["ko"]
    answer(page, "안녕")
    assert page.locator("#chat .help").count() == 0 and page.inner_text("#chat .name .chip") == "AI"
    answer(page, "힘들어요")
    shown = page.inner_text("#chat .turn.bot:last-child")
    assert shown.index("도움이 필요하다면") < shown.index("자살예방 상담전화") < shown.index("힘들어요")
    assert page.get_attribute("#chat .help a", "href") == "tel:109"
    assert page.locator("#chat .help a[href='tel:1388']").count() == 0 and "지역번호+1388" in shown
    assert "help" not in page.evaluate("localStorage.korlhf_web_demo_talks")
    page.click("#chat .turn.bot:last-child .copy")
    page.wait_for_selector("#chat .turn.bot:last-child [href='#i-check']")
    first, _, text = page.evaluate("navigator.clipboard.readText()").partition("\n\n")
    assert text == "힘들어요" and first.startswith("[AI · echo · 2") and first.endswith(ai_mark.MARK["notice"])
    page.click(".menu .language")
    assert "suicide prevention" in page.inner_text("#chat .help")
    page.reload()
    page.wait_for_selector("#chat .help")
    assert page.inner_text(".ai_notice") == ai_mark.BEFORE["en"] and page.locator("#chat .help").count() == 1
    fine(page)


def test_hangul_that_is_being_put_together_is_not_sent_and_shift_enter_is_a_new_line(demo, open_page):
    page = open_page(demo.url)
    page.fill("#chat .message", "안녀")
    page.evaluate("""document.querySelector('#chat .message').dispatchEvent(
                     new KeyboardEvent('keydown', {code: 'Enter', isComposing: true, bubbles: true}))""")
    page.keyboard.press("Shift+Enter")
    assert page.input_value("#chat .message") == "안녀\n" and page.locator("#chat .turn").count() == 0


def test_texts_stay_texts(demo, open_page):
    page = open_page(demo.url)
    answer(page, EVIL)
    assert page.inner_text("#chat .bubble") == EVIL == said(page)[0]
    page.reload()
    page.wait_for_selector("#chat .turn.bot")
    assert said(page) == [EVIL]
    page.goto(f"{demo.url}/#compare")
    short = EVIL.splitlines()[0][:34]  # the small model has room for little
    answer(page, short, "#compare")
    page.wait_for_selector(".votes:visible")
    assert short in said(page, "#compare")
    vote(page, "tie")
    assert sorted(page.locator("#compare .head b").all_inner_texts()) == ["메아리", SMALL]
    fine(page)
    assert page.locator("main :is(.head, select, .outcome) :is(img, script, b b)").count() == 0
    assert_markup_would_be_dead(page)
    assert_kept_out(page, demo.url)


def vote(page, choice):
    page.wait_for_selector(".votes:visible")
    page.click(f"[data-vote={choice}]")
    page.wait_for_selector(".round:last-child .outcome :is(.good, .bad)")


def test_a_blind_vote_is_written_and_step_2_reads_it(demo, echo, gate, open_page):
    page = open_page(f"{demo.url}/#compare")
    n = len(lines(demo.votes)) if demo.votes.exists() else 0
    say(page, "가나다", "#compare")
    gate.release(2)
    page.wait_for_function(
        "() => [...document.querySelectorAll('#compare .said')].some((one) => one.firstChild.data === '가나')"
    )  # streams
    assert page.is_hidden(".votes")
    gate.release(10)
    page.wait_for_selector(".votes:visible")
    shown = said(page, "#compare")
    assert "메아리" not in page.inner_html("#compare")
    assert "작은모델" not in page.inner_html("#compare")
    assert page.is_hidden("#compare .message")
    assert (
        page.evaluate("document.activeElement.dataset.t") == "vote_ask"
    )  # for keyboards and readers; Enter votes for nothing
    side = ["left", "right"][shown.index("가나다")]
    vote(page, side)
    row = lines(demo.votes)[n]
    assert row["chosen"] == "가나다"
    assert row["shown"][side] == "메아리"
    assert row["messages"] == [{"role": "user", "content": "가나다"}]
    example = load_examples(str(demo.votes), 2)[n]
    assert example.answers[0] == "가나다" and example.prompt == "가나다" and example.category == "web_demo"
    assert page.locator("#compare .head b").all_inner_texts() == [row["shown"]["left"], row["shown"]["right"]]
    assert page.inner_text("#compare .won .said") == "가나다" and page.locator("#compare .score").count() == 2
    fine(page)


def test_the_comparison_goes_on_as_a_talk(demo, echo, open_page):
    page = open_page(f"{demo.url}/#compare")
    answer(page, "첫째", "#compare")
    page.wait_for_selector(".votes:visible")
    vote(page, ["left", "right"][said(page, "#compare").index("첫째")])
    answer(page, "둘째", "#compare")
    assert [m["content"] for m in echo.requests[-1]["messages"]] == ["첫째", "첫째", "둘째"]
    vote(page, "both_bad")
    assert lines(demo.votes.with_name("votes.undecided.jsonl"))[-1]["vote"] == "both_bad"
    assert "이 메시지는 이어지는 대화에서 빠집니다" in page.inner_text(".round:last-child .outcome")
    answer(page, "셋째", "#compare")
    assert [m["content"] for m in echo.requests[-1]["messages"]] == ["첫째", "첫째", "셋째"]
    page.wait_for_selector(".votes:visible")
    page.reload()  # a pair that waits for its vote is still there
    page.wait_for_selector(".votes:visible")
    assert "셋째" in said(page, "#compare")
    assert page.locator("#compare .talk > .turn.bot .chip.ai").count() == 1  # the earlier answer, drawn again
    page.click(".skip")
    page.wait_for_selector("#compare .message:visible")
    answer(page, "넷째", "#compare")
    assert [m["content"] for m in echo.requests[-1]["messages"]] == ["첫째", "첫째", "넷째"]
    fine(page)


def test_the_report_is_shown_and_reaches_nothing(demo, open_page):
    page = open_page(demo.url)
    page.click("nav a[href='#report']")
    frame = page.frame_locator("#report iframe")
    frame.get_by_text("보고서예요").wait_for()
    assert frame.locator("#seen").inner_text() == "page kept out, storage kept out, cookie kept out, top kept out"
    inside = next(f for f in page.frames if f.url.endswith("/report/"))
    wait_for(lambda: inside.title() in ("fetched", "refused"))
    assert inside.title() == "refused" and page.locator("#report iframe").get_attribute("sandbox") == "allow-scripts"
    frame.get_by_text("card").click()
    frame.get_by_text("여기에서 볼 수 없습니다").wait_for()
    frame.get_by_text("보고서 / report").click()
    frame.get_by_text("보고서예요").wait_for()
    page.goto(f"{demo.url}/report/")
    assert "storage kept out, cookie kept out" in page.inner_text("#seen")
    assert not page.outside


def test_limits_are_told_in_the_page(demo, open_page):
    page = open_page(demo.url)
    page.fill("#chat .message", "가" * 301)
    assert page.inner_text("#chat .counter") == "301 / 300자" and page.is_disabled("#chat .send")
    for i in range(4):
        answer(page, f"{i}번째")
    say(page, "다섯째")
    page.wait_for_selector("#chat .notice:visible")
    assert page.inner_text("#chat .notice") == "한 대화에서 메시지를 4번까지 보낼 수 있습니다. 새 대화를 시작해 주세요."
    assert page.input_value("#chat .message") == "다섯째" and page.locator("#chat .turn.user").count() == 4
    page.click(".fresh")
    page.wait_for_selector("#chat.empty")
    page.select_option("#chat select.model", SMALL)
    say(page, "가나다라마바사아자차" * 30)
    page.wait_for_selector("#chat .notice:visible")
    assert "(128토큰)" in page.inner_text("#chat .notice") and page.locator("#chat .turn").count() == 0
    page.click(".language")
    assert "(128 tokens)" in page.inner_text("#chat .notice")
    fine(page)


def test_english_on_a_phone(demo, open_page):
    page = open_page(demo.url, phone=True, locale="en-US")
    page.wait_for_selector("#chat .suggestions button")
    assert page.locator("nav a").all_inner_texts() == ["Chat", "Compare", "Report"]
    assert page.get_attribute("html", "lang") == "en"
    page.fill("#chat .message", "hello")
    page.keyboard.press("Enter")  # a new line: phones have a button to send
    assert page.locator("#chat .turn").count() == 0
    page.tap("#chat .send")
    shows(page, "hello")
    page.tap(".open_menu")
    page.tap(".menu .language")
    assert page.get_attribute("html", "lang") == "ko" and page.inner_text("#chat .score").startswith("보상 점수")
    for view in ("chat", "compare"):
        page.tap(f"nav a[href='#{view}']")
        assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.tap(".open_menu")
    page.tap(".theme")
    page.reload()
    page.wait_for_selector("#compare .message")
    assert page.get_attribute("html", "lang") == "ko"  # the visitor's own choices
    assert [page.evaluate(GROUND) for _ in ("light", page.emulate_media(color_scheme="dark"))] == [DARK, DARK]
    page.tap(".open_menu")
    page.tap(".theme")
    assert page.evaluate(GROUND) == LIGHT
    page.tap(".theme")  # back to the system's, which it then follows
    page.emulate_media(color_scheme="light")
    assert page.evaluate(GROUND) == LIGHT
    fine(page)


def test_a_session_that_the_server_has_forgotten_begins_anew(demo, open_page):
    page = open_page(demo.url)
    answer(page, "안녕")
    page.evaluate("sessionStorage.setItem('korlhf_web_demo_session', 'of another run')")
    say(page, "또요")
    page.wait_for_selector("#chat .notice:visible")
    page.wait_for_selector("#chat.empty")
    assert "더 이상 기억하지 않습니다" in page.inner_text("#chat .notice")
    assert page.input_value("#chat .message") == "또요"
    page.keyboard.press("Enter")
    shows(page, "또요")
    page.evaluate("""localStorage.setItem('korlhf_web_demo_talks', localStorage.getItem('korlhf_web_demo_talks')
                     .replace(/("token":")[^"]+("[^[]*\\[{"user":"안녕")/, '$1of another run$2'))""")
    page.reload()
    page.locator(".open_talk", has_text="안녕").click()
    page.wait_for_selector("#chat.closed")
    assert said(page) == ["안녕"] and page.is_hidden("#chat .message")  # to be read, not continued
    page.click(".closed_note button")
    page.wait_for_selector("#chat .message:visible")


def test_the_end_of_a_talk_is_in_sight_after_a_reload_and_on_coming_back(demo, echo, gate, open_page):
    page = open_page(demo.url)
    tall = "가\n" * 40 + "끝"
    gate.release(len(tall))
    answer(page, tall)
    below = "(one => one.scrollHeight - one.scrollTop - one.clientHeight)(document.querySelector('#chat .scroll'))"
    assert page.evaluate("document.querySelector('#chat .scroll').scrollTop") > 100 and page.evaluate(below) < 2
    page.reload()
    page.wait_for_selector("#chat .turn.bot")
    assert page.evaluate(below) < 2
    say(page, tall)
    page.click("nav a[href='#compare']")
    gate.release(len(tall))  # it grows out of sight
    page.wait_for_selector("#chat .turn.bot:nth-child(4) .again", state="attached")
    page.go_back()
    page.wait_for_selector("#chat .message:visible")
    assert page.evaluate(below) < 2
    fine(page)


def test_a_duplicated_tab_has_a_talk_of_its_own(demo, echo, open_page):
    page = open_page(demo.url)
    answer(page, "첫째")
    with page.context.expect_page() as opened:
        page.evaluate("window.open(location.href)")  # with a copy of the first one's storage
    other = opened.value
    other.wait_for_selector("#chat .suggestions button")
    assert said(other) == []
    answer(other, "다른 탭이에요")
    answer(page, "둘째")
    assert [m["content"] for m in echo.requests[-1]["messages"]] == ["첫째", "첫째", "둘째"]
    for one, expected in ((page, ["첫째", "둘째"]), (other, ["다른 탭이에요"])):
        one.reload()
        one.wait_for_selector("#chat .turn.bot")
        assert said(one) == expected


def test_log_in(serve, echo, tmp_path, open_page):
    accounts.write_password(tmp_path / "people.txt", "지민", "비밀번호 12345")
    server = serve("--model", f"openai:echo@{echo.url}", "--auth_file", tmp_path / "people.txt", "--max_new_tokens", 12)
    page = open_page(server.url)
    page.wait_for_selector("#login input")
    for password, words in (("틀린 비밀번호", "이름이나 비밀번호가 맞지 않습니다."), ("비밀번호 12345", "")):
        page.fill("input[name=name]", "지민")
        page.fill("input[name=password]", password)
        page.keyboard.press("Enter")
        page.wait_for_function("words => document.querySelector('.wrong').textContent === words", arg=words)
    page.wait_for_selector("#chat .message")
    assert page.locator("nav").is_hidden()  # one model, no report: one page
    answer(page, "안녕")
    assert said(page) == ["안녕"]
    page.click(".leave")
    page.wait_for_selector("#login input")
    page.fill("input[name=name]", "지민")
    page.fill("input[name=password]", "비밀번호 12345")
    page.keyboard.press("Enter")
    page.wait_for_selector("#chat .suggestions button")
    assert said(page) == [] == page.locator(".open_talk").all()  # whoever comes next does not see the talk
    page.click(".leave")
    page.wait_for_selector("#login input")
    page.fill("input[name=name]", "지민")
    page.fill("input[name=password]", "틀린 비밀번호")
    for _ in range(5):
        with page.expect_response("**/api/enter"):
            page.keyboard.press("Enter")
    page.wait_for_function(
        "() => document.querySelector('.wrong').textContent.startsWith('비밀번호를 여러 번 틀렸습니다. 2초')"
    )
    server.kill()
    page.fill("input[name=name]", "지민")
    page.fill("input[name=password]", "비밀번호 12345")
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.querySelector('.wrong').textContent.startsWith('서버에 연결할 수 없습니다')")
    assert not page.outside
