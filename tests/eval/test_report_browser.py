"""The report in a real browser: languages, filters, paging, phone and dark, and that nothing in the data runs."""

import importlib.util
import unicodedata
from pathlib import Path

import pytest
from browser_harness import chromium, open_page  # noqa: F401 (fixtures)
from report_run import PROMPTS, judged_rows, line, make_result, make_stages, verdict_rows

from korlhf.core.tables import both, column

PROGRAM = Path(__file__).resolve().parents[2] / "eval" / "report.py"
ROWS = 46
WIDTHS = "[document.scrollingElement.scrollWidth, innerWidth]"  # a phone's innerWidth grows with what sticks out


def report(run, *flags):
    """The address of the page of a run."""
    spec = importlib.util.spec_from_file_location("report", PROGRAM)
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    program.main(["--run_dir", str(run), *flags])
    return (run / "report.html").as_uri()


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A run with everything; 46 prompts, of which ppo's score on the last differs most."""
    run = make_stages(tmp_path_factory.mktemp("실행 1"))
    wide = (
        both("Many columns", "열이 많은 표"),
        [column(f"a column with a long name {i}", f"이름이 긴 열 {i}") for i in range(14)],
        [["모델", *range(13)]],
    )
    make_result(
        run,
        "geval",
        judged_rows(ROWS),
        warnings=[("a warning " * 20, "경고입니다. " * 20)],
        tables=[wide],
        protocol={"template": "아래는 작업을 설명하는 명령어입니다.\\n\\n" * 5, "path": "/a/very/long/path" * 8},
    )
    make_result(run, "harmlessness", verdict_rows())
    return report(run, "--title", "첫 실험")


def prompts(page):
    return page.locator("#rows .turn.user .text").all_inner_texts()


def test_the_language_follows_the_browser_and_the_choice_is_kept(open_page, address):
    page = open_page(address)
    heading = page.locator("#warnings h2")
    assert heading.inner_text().startswith("경고") and page.evaluate("document.documentElement.lang") == "ko"
    assert (
        "프롬프트가" not in page.locator("#summary").inner_text()
        and "끝났습니다" in page.locator("#summary").inner_text()
    )
    page.get_by_text("English", exact=True).click()
    assert (
        heading.inner_text().startswith("Warnings") and "models are finished" in page.locator("#summary").inner_text()
    )
    assert page.locator("#filter-order option").first.text_content() == "as in the files"
    assert not page.locator(".ko:visible").count() and page.evaluate("document.documentElement.lang") == "en"
    page.reload()
    assert heading.inner_text().startswith("Warnings") and page.locator("#in-en").is_checked()
    assert open_page(address, locale="en-GB").locator("#warnings h2").inner_text().startswith("Warnings")
    assert page.errors == []


def test_no_request_but_the_file_and_no_complaint(open_page, address):
    page = open_page(address)
    asked, said = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.reload()
    page.get_by_text("English", exact=True).click()
    assert asked == [page.url] and said == [] and page.errors == [] and page.outside == []


def test_filters_search_and_model_columns(open_page, address):
    page = open_page(address)
    assert prompts(page)[:4] == [text for _, text in PROMPTS] and len(prompts(page)) == 10
    page.select_option("#filter-category", label="harmful")
    assert prompts(page) == ["옆집 사람이 너무 싫어."]
    page.select_option("#filter-category", label="전체")
    page.select_option("#filter-source", label="harmlessness")
    assert len(prompts(page)) == 4
    assert [g.get_attribute("label") for g in page.locator("#filter-verdict optgroup").all()] == ["종류", "판정 · 규칙"]
    page.select_option("#filter-verdict", label="동조")
    assert prompts(page) == [PROMPTS[1][1], PROMPTS[3][1]]  # of sft alone
    page.get_by_label("sft", exact=True).uncheck()
    assert prompts(page) == [] and "조건에 맞는 프롬프트가 없습니다." in page.locator("#rows").inner_text()
    page.select_option("#filter-verdict", index=0)
    assert page.locator("#rows .answer h4").all_inner_texts() == ["ppo"] * 4
    page.get_by_label("sft", exact=True).check()
    page.select_option("#filter-source", index=0)
    page.fill("#filter-text", "  나중 답변 2 ")
    assert prompts(page) == [PROMPTS[2][1]]
    page.fill("#filter-text", unicodedata.normalize("NFD", "파리를 죽이는"))
    assert prompts(page) == [PROMPTS[3][1]]
    page.fill("#filter-text", "</script>")
    assert prompts(page) == [] and page.errors == []


def test_an_answer_with_its_scores_and_where_it_comes_from(open_page, address):
    page = open_page(address)
    second = page.locator("#rows .row").nth(1)
    one = second.locator(".answer").nth(0).locator(".one").first
    assert one.locator(".text").inner_text() == "짧은 답 1"
    assert one.locator(".notes > span").all_inner_texts() == [
        "점수 2",
        "판정 · 규칙 동조",
        "5토큰",
        "geval, harmlessness",
    ]
    page.get_by_text("English", exact=True).click()
    assert one.locator(".notes > span").all_inner_texts() == [
        "score 2",
        "verdict · rules goes_along",
        "5 tokens",
        "geval, harmlessness",
    ]
    assert [g.get_attribute("label") for g in page.locator("#filter-verdict optgroup").all()] == [
        "kind",
        "verdict · rules",
    ]
    page.get_by_text("한국어", exact=True).click()
    assert second.locator(".answer").nth(1).locator(".flag").inner_text() == "잘림"
    assert "timeout: no reply" in page.locator("#rows .row").nth(3).inner_text()


def test_paging_and_order(open_page, address):
    page = open_page(address, locale="en-US")
    at = page.locator("#page-at")
    assert at.inner_text() == f"1–10 of {ROWS}" and page.locator("#page-back").is_disabled()
    page.locator("#page-on").click()
    assert at.inner_text() == f"11–20 of {ROWS}" and len(prompts(page)) == 10
    page.select_option("#page-size", "100")
    assert (
        at.inner_text() == f"1–{ROWS} of {ROWS}"
        and page.locator("#page-on").is_disabled()
        and len(prompts(page)) == ROWS
    )
    page.select_option("#page-size", "10")
    page.select_option("#filter-order", label="scores differ most first")
    assert prompts(page)[0] == f"{ROWS - 5}번째로 묻는 말이에요."  # ppo's highest score
    page.select_option("#filter-order", label="longest answers first")
    assert len(prompts(page)) == 10
    for _ in range(4):
        page.locator("#page-on").click()
    assert at.inner_text() == f"41–46 of {ROWS}"
    page.fill("#filter-text", "라디오 없음")
    assert at.inner_text() == "0–0 of 0"


def test_curves_tell_their_values(open_page, address):
    page = open_page(address, locale="en-US")
    chart = page.locator("#curves figure").first
    title = chart.locator("title").first
    assert title.text_content() == "step 0 · training 3.98 · held-out 4.5"
    chart.locator("rect.band").first.hover()
    assert chart.locator("output").inner_text() == "step 0 · training 3.98 · held-out 4.5"
    page.get_by_text("한국어", exact=True).click()
    assert title.text_content() == "0스텝 · 학습 3.98 · 평가용 4.5"


@pytest.mark.parametrize("locale", ["ko-KR", "en-US"])
def test_a_phone_never_scrolls_sideways(open_page, address, locale):
    page = open_page(address, phone=True, locale=locale)
    page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    assert page.evaluate(WIDTHS) == [390, 390]
    table = page.locator("#results .wide").first
    assert table.evaluate("e => e.scrollWidth > e.clientWidth")  # the wide table scrolls in its own box
    for area in ("#warnings", "#summary", "#stages", "#curves", "#results", "#answers", "#cards"):
        page.locator(area).scroll_into_view_if_needed()
        assert page.evaluate("window.scrollX") == 0
    assert page.errors == []


def test_a_desktop_never_scrolls_sideways(open_page, address):
    assert open_page(address).evaluate(WIDTHS) == [1280, 1280]


def test_paper_holds_the_whole_width(open_page, address):
    page = open_page(address, viewport={"width": 794, "height": 1123}, color_scheme="dark")  # A4
    page.emulate_media(media="print")
    assert (
        page.evaluate(WIDTHS) == [794, 794]
        and not page.locator(".top").is_visible()
        and not page.locator("#filters").is_visible()
    )
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_light_and_dark(open_page, address):
    def colours(page):
        return page.evaluate("[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]")

    assert colours(open_page(address, color_scheme="light")) == ["rgb(246, 246, 243)", "rgb(27, 30, 35)"]
    assert colours(open_page(address, color_scheme="dark")) == ["rgb(17, 20, 23)", "rgb(231, 229, 225)"]


def test_without_scripts_all_but_the_filters_is_there(open_page, address):
    page = open_page(address, java_script_enabled=False)
    assert (
        page.locator("#warnings h2").inner_text().startswith("Warnings")
        and page.locator("#curves polyline").count() > 5
    )
    assert page.locator("#answers article.row").count() == 20 and not page.locator("#filters").is_visible()
    assert "the first 20 of 46 prompts" in page.locator("#answers").inner_text()
    page.get_by_text("한국어", exact=True).click()  # the toggle is a style alone
    assert page.locator("#warnings h2").inner_text().startswith("경고")


HOSTILE = [
    "<script>window.hit = 1</script>",
    "</script><script>window.hit = 1</script>",
    "<!--<script>",
    ']]><img src=x onerror="window.hit=1">',
    '"><svg onload="window.hit=1">',
    "javascript:window.hit=1",
    "{{ 7 * 7 }} {% raw %}",
    "\u202eevil\u2066 zero\u200bwidth\ufeff",
    "&lt;b&gt; &amp;",
]


@pytest.mark.parametrize("bypass", [False, True], ids=["as it is", "without its policy"])
def test_nothing_in_the_data_runs(open_page, tmp_path, bypass):
    text = " ".join(HOSTILE)
    run = make_stages(tmp_path)
    (run / "sft").rename(run / "<img src=x onerror=window.hit=1>")
    (run / "ppo" / "README.md").write_text(text, encoding="utf-8")
    rows = [
        line(
            one,
            one,
            {one: [{"text": one, "verdict": one, "score": 1.0}], "b": [{"text": None, "failed": one}]},
            kind=one,
        )
        for one in HOSTILE
    ]
    make_result(
        run,
        "geval",
        rows,
        warnings=[(text, text)],
        protocol={text: text},
        figures={text: {"calibration": [{"predicted": 0.6, "won": 0.5, "n": 4}]}},
        tables=[(both(text, text), [column(text, text)], [[text]], [both(text, text)])],
    )
    page = open_page(report(run, "--title", text), bypass_csp=bypass)
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.reload()
    page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    page.select_option("#page-size", "100")
    for name in ("#filter-verdict", "#filter-category", "#filter-source"):
        page.select_option(name, index=1)
        page.select_option(name, index=0)
    for label in page.locator("#filter-models input").all():
        label.uncheck()
        label.check()
    page.locator("#curves rect.band").first.hover()
    page.get_by_text("English", exact=True).click()
    assert page.evaluate("window.hit") is None and asked == [page.url] and page.errors == []
    assert page.evaluate("[document.scripts.length, document.querySelectorAll('img, svg[onload]').length]") == [2, 0]
    shown = page.locator("#rows .one .text").all_inner_texts()
    assert (
        shown[:2] == HOSTILE[:2]
        and shown[7] == "⟨U+202E⟩evil⟨U+2066⟩ zero⟨U+200B⟩width⟨U+FEFF⟩"
        and shown[8] == "&lt;b&gt; &amp;"
    )
    heading = page.locator("h1").inner_text()
    assert heading.startswith("<script>window.hit = 1</script> </script>") and "{{ 7 * 7 }}" in heading
