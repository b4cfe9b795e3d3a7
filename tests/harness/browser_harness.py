"""A real headless Chromium for tests: import `open_page` (and what it needs: `chromium`) from here.

One browser a test module, a fresh context (cookies, storage, size) a page. It lives no longer than the module: while
Playwright runs, its event loop counts as running in this thread, and asyncio.run, which korlhf.llm uses, would fail
in the modules that come after. Without a browser the tests are skipped with the reason; with KORLHF_REQUIRE_BROWSER=1
they fail instead."""

import os
import shutil
from pathlib import Path

import pytest

CHROMIUM = "/usr/bin/chromium"
ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DESKTOP = {"viewport": {"width": 1280, "height": 800}}
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "is_mobile": True, "has_touch": True}
PATIENCE = 20_000  # milliseconds until an action or an expectation gives up: the machine may be busy


def _missing(what):
    if os.environ.get("KORLHF_REQUIRE_BROWSER") == "1":
        pytest.fail(f"KORLHF_REQUIRE_BROWSER=1, but {what}")
    pytest.skip(f"no browser tests: {what}")


@pytest.fixture(scope="module")
def chromium():
    """A running Playwright browser."""
    path = CHROMIUM if Path(CHROMIUM).exists() else shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        _missing("there is no chromium on this machine")
    try:
        from playwright import sync_api
    except ImportError:
        _missing("the package playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        sync_api.expect.set_options(timeout=PATIENCE)
        browser = playwright.chromium.launch(executable_path=path, args=ARGS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium):
    """Function: (url, phone=False, **options of a context) -> a page in a context of its own; all are closed after
    the test.

    Each page has three lists: `errors`, what its scripts threw and dialogs that they opened; `outside`, requests to
    other machines than this one; `refused`, what its own policy (CSP) kept out.
    """
    contexts = []

    def make(url, phone=False, **options):
        context = chromium.new_context(**{"locale": "ko-KR", **(PHONE if phone else DESKTOP), **options})
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        page = context.new_page()
        page.errors, page.outside, page.refused = [], [], []
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        page.on("dialog", lambda dialog: page.errors.append(dialog.message) or dialog.dismiss())
        page.on("console", lambda said: page.refused.append(said.text) if "Content Security" in said.text else None)
        page.on("request", lambda request: page.outside.append(request.url) if _is_outside(request.url) else None)
        page.goto(url)
        return page

    yield make
    for context in contexts:
        context.close()


INJECT = """() => new Promise((done) => {
  const kept = new Set();
  const end = () => done([...kept].sort());
  document.addEventListener("securitypolicyviolation", (event) => {
    kept.add(event.effectiveDirective);
    if (kept.size === 5) end();
  });
  const box = document.createElement("div");
  box.innerHTML = `<img src="page/none.png" onerror="window.bad=1"><a href="javascript:window.bad=2">.</a>
    <iframe srcdoc="<script>parent.bad=3</script>"></iframe><p style="color: red">.</p>
    <style>body { color: red }</style><img src="http://192.0.2.1/a.png">`;
  document.body.append(box);
  const script = document.createElement("script");
  script.textContent = "window.bad=4";
  document.body.append(script);
  box.querySelector("a").click();
  setTimeout(end, 5000);
})"""


def assert_markup_would_be_dead(page):
    """Should a text ever become part of the page as HTML, its scripts, styles and pictures do nothing."""
    assert page.evaluate(INJECT) == [
        "img-src",
        "script-src-attr",
        "script-src-elem",
        "style-src-attr",
        "style-src-elem",
    ]
    assert (
        page.evaluate("window.bad") is None
        and page.evaluate("getComputedStyle(document.body).color") != "rgb(255, 0, 0)"
    )


def assert_kept_out(page, url):
    """A page of another origin shows nothing of the page at `url` in a frame, and its requests are refused."""
    html = f"""<iframe src="{url}"></iframe><form method="post" action="{url}/api/enter" enctype="text/plain">
    <input name='{{"name":"' value='x"}}'></form>"""
    page.route("http://evil.example/", lambda route: route.fulfill(body=html, content_type="text/html"))
    page.goto("http://evil.example/")
    assert page.frames[1].url.startswith("chrome-error:")
    with page.expect_navigation() as went:
        page.evaluate("document.forms[0].submit()")
    assert went.value.status == 403


def _is_outside(url):
    scheme, _, rest = url.partition("://")
    return scheme in ("http", "https", "ws", "wss") and rest.split("/")[0].split(":")[0] not in (
        "127.0.0.1",
        "localhost",
    )
