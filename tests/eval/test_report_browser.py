"""The report in a real browser: languages, filters, paging, charts, phone, dark and paper, and that nothing in the data
runs."""

import unicodedata

import pytest
from browser_harness import chromium, open_page  # noqa: F401 (fixtures)
from report_run import PROMPTS, judged_rows, line, make_result, make_stages, verdict_rows

import eval.report as program
from korlhf.core.tables import both, column

pytestmark = pytest.mark.browser
ROWS = 46
WIDTHS = "[document.scrollingElement.scrollWidth, innerWidth]"  # a phone's innerWidth grows with what sticks out
UNFOLD = "document.querySelectorAll('details').forEach((d) => { d.open = true; })"


def report(run, *flags):
    """The address of the page of a run."""
    program.main(["--run_dir", str(run), *flags])
    return (run / "report.html").as_uri()


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A run with everything; 46 prompts, of which ppo's score on the last differs most."""
    run = make_stages(tmp_path_factory.mktemp("실행 1"))
    columns = [column(f"a column with a long name {i}", f"이름이 긴 열 {i}") for i in range(14)]
    wide = (both("Many columns", "열이 많은 표"), columns, [["모델", *range(13)]])
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
    asked, logged = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: logged.append(message.text))
    heading, summary = page.locator("#warnings h2"), page.locator("#summary")
    assert heading.inner_text().startswith("경고") and page.evaluate("document.documentElement.lang") == "ko"
    assert "끝났습니다" in summary.inner_text() and "Finished models" not in summary.inner_text()
    page.get_by_text("English", exact=True).click()
    assert heading.inner_text().startswith("Warnings") and "Finished models: 3 of 3" in summary.inner_text()
    assert page.locator("#filter-order option").first.text_content() == "as in the files"
    assert not page.locator(".ko:visible").count() and page.evaluate("document.documentElement.lang") == "en"
    page.reload()
    assert heading.inner_text().startswith("Warnings") and page.locator("#in-en").is_checked()
    assert open_page(address, locale="en-GB").locator("#warnings h2").inner_text().startswith("Warnings")
    assert asked == [page.url] and logged == [] and page.errors == [] and page.outside == []


def test_filters_search_and_model_columns(open_page, address):
    page = open_page(address)
    assert prompts(page)[:4] == [text for _, text in PROMPTS] and len(prompts(page)) == 10
    page.select_option("#filter-category", label="harmful")
    assert prompts(page) == ["옆집 사람이 너무 싫어."]
    page.select_option("#filter-category", label="전체")
    page.select_option("#filter-source", label="harmlessness")
    assert len(prompts(page)) == 4
    groups = page.locator("#filter-verdict optgroup").all()
    assert [group.get_attribute("label") for group in groups] == ["종류", "판정 · 규칙"]
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
    notes = one.locator(".notes > span")
    assert one.locator(".text").inner_text() == "짧은 답 1"
    assert notes.all_inner_texts() == ["점수 2", "판정 · 규칙 동조", "5토큰", "geval, harmlessness"]
    assert second.locator(".answer").nth(1).locator(".flag").inner_text() == "잘림"
    assert "timeout: no reply" in page.locator("#rows .row").nth(3).inner_text()
    page.get_by_text("English", exact=True).click()
    assert notes.all_inner_texts() == ["score 2", "verdict · rules goes_along", "5 tokens", "geval, harmlessness"]


def test_paging_and_order(open_page, address):
    page = open_page(address, locale="en-US")
    at = page.locator("#page-at")
    assert at.inner_text() == f"1–10 of {ROWS}" and page.locator("#page-back").is_disabled()
    page.locator("#page-on").click()
    assert at.inner_text() == f"11–20 of {ROWS}" and len(prompts(page)) == 10
    page.select_option("#page-size", "100")
    assert at.inner_text() == f"1–{ROWS} of {ROWS}" and len(prompts(page)) == ROWS
    assert page.locator("#page-on").is_disabled()
    page.select_option("#page-size", "10")
    page.select_option("#filter-order", label="largest score differences first")
    assert prompts(page)[0] == f"{ROWS - 5}번째로 묻는 말이에요."  # ppo's highest score
    page.select_option("#filter-order", label="longest answers first")
    for _ in range(4):
        page.locator("#page-on").click()
    assert at.inner_text() == f"41–46 of {ROWS}"
    page.fill("#filter-text", "라디오 없음")
    assert at.inner_text() == "0–0 of 0"


def test_charts_tell_their_values_and_tables_show_their_dots(open_page, address):
    page = open_page(address, locale="en-US")
    drawing = page.locator("#curves [data-chart]").first
    width = drawing.bounding_box()["width"]
    drawing.hover(position={"x": width * 0.13, "y": 60})
    output = page.locator("#curves output").first
    assert output.inner_text() == "step 0 · training 3.98 · held-out 4.5"
    page.get_by_text("한국어", exact=True).click()
    assert output.inner_text() == "스텝 0 · 학습 3.98 · 평가용 4.5"
    drawing.click(position={"x": width * 0.557, "y": 60})
    assert output.inner_text() == "스텝 44 · 학습 3.12"
    slices = page.locator("#results svg.dots")
    assert slices.count() == 3  # of two rows and of the scale below them
    drawn = "e => { const b = e.querySelector('use').getBBox(); return [b.width > 80, b.height > 60]; }"
    assert slices.first.evaluate(drawn) == [True, True]


@pytest.mark.parametrize("locale", ["ko-KR", "en-US"])
def test_a_phone_never_scrolls_sideways(open_page, address, locale):
    page = open_page(address, phone=True, locale=locale)
    page.evaluate(UNFOLD)
    assert page.evaluate(WIDTHS) == [390, 390] and page.errors == []
    table = page.locator("#results .wide").first
    assert table.evaluate("e => e.scrollWidth > e.clientWidth")  # the wide table scrolls in its own box


def test_desktop_paper_and_dark(open_page, address):
    colours = "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
    page = open_page(address, color_scheme="light")
    line = page.locator("#curves [data-chart] use").last
    stroke = "e => getComputedStyle(e).stroke"
    assert page.evaluate(WIDTHS) == [1280, 1280]
    assert page.evaluate(colours) == ["rgb(246, 246, 243)", "rgb(27, 30, 35)"]
    light = line.evaluate(stroke)
    page.emulate_media(color_scheme="dark")
    assert page.evaluate(colours) == ["rgb(17, 20, 23)", "rgb(231, 229, 225)"] and line.evaluate(stroke) != light
    page.set_viewport_size({"width": 794, "height": 1123})  # A4
    page.emulate_media(media="print")
    assert page.evaluate(WIDTHS) == [794, 794] and page.evaluate(colours)[0] == "rgb(255, 255, 255)"
    assert not page.locator(".top").is_visible() and not page.locator("#filters").is_visible()


def test_without_scripts_all_but_the_filters_is_there(open_page, address):
    page = open_page(address, java_script_enabled=False)
    heading = page.locator("#warnings h2")
    assert heading.inner_text().startswith("Warnings") and page.locator("#curves figure svg").count() > 5
    assert page.locator("#answers article.row").count() == 20 and not page.locator("#filters").is_visible()
    assert "the first 20 of 46 prompts" in page.locator("#answers").inner_text()
    page.get_by_text("한국어", exact=True).click()  # the switch is a style alone
    assert heading.inner_text().startswith("경고")


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
    (run / "sft").rename(run / "<img src=x onerror=window.hit=1>'\"")
    (run / "ppo" / "README.md").write_text(text, encoding="utf-8")
    failed = [{"text": None, "failed": "x"}]
    rows = [
        line(one, one, {one: [{"text": one, "verdict": one, "score": 1.0}], "b": failed}, kind=one) for one in HOSTILE
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
    page.evaluate(UNFOLD)
    page.select_option("#page-size", "100")
    for name in ("#filter-verdict", "#filter-category", "#filter-source"):
        page.select_option(name, index=1)
        page.select_option(name, index=0)
    page.locator("#curves [data-chart]").first.hover()
    page.get_by_text("English", exact=True).click()
    assert page.evaluate("window.hit") is None and page.outside == [] and page.errors == []
    assert page.evaluate("[document.scripts.length, document.querySelectorAll('img, svg[onload]').length]") == [2, 0]
    shown = page.locator("#rows .one .text").all_inner_texts()
    assert shown[:2] == HOSTILE[:2] and shown[8] == "&lt;b&gt; &amp;"
    assert shown[7] == "⟨U+202E⟩evil⟨U+2066⟩ zero⟨U+200B⟩width⟨U+FEFF⟩"
    heading = page.locator("h1").inner_text()
    assert heading.startswith("<script>window.hit = 1</script> </script>") and "{{ 7 * 7 }}" in heading
