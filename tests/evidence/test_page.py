"""The page for people: whole in one file, right in what it says, and looked at in a browser."""

import contextlib
import json
import re
import shutil
from html.parser import HTMLParser

import pytest

from onnxnnw.evidence.page import page_of

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
WIDTHS = (390, 768, 1280, 1920)
FLAGS = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking".split()
VOID = {"meta", "br"}


class Tags(HTMLParser):
    """Elements with their attributes, and whether all are closed."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def tags_of(page: str) -> Tags:
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    return tags


@pytest.fixture(scope="module")
def page(answers, fingerprinted, hostile) -> str:
    """All kinds of answers on one page."""
    return page_of([*answers, fingerprinted, hostile], "1.0", "2026-11-27T18:00:00Z", ["onnxnnw", "verify", "a b.onnx"])


def test_it_says_what_was_asked_and_answered(answers):
    """Of one answer: the word, how sure, what happened, what to hold on to, and the command to do it again."""
    text = page_of(answers[:1], "1.0", "2026-11-27T18:00:00Z", ["onnxnnw", "verify", "a b.onnx"])
    best = answers[0].best
    digests = best.evidence.commitment, answers[0].subject.model.sha256
    words = (
        "<h1>Yes</h1>",
        "<strong>traced</strong>",
        "unchanged at all 512 positions of the key",
        "false-positive rate",
    )
    for said in (*words, *digests, "onnxnnw verify &#x27;a b.onnx&#x27;"):
        assert said in text
    assert "<h1>No</h1>" in page_of(answers[1:2], "1.0", "", [])
    assert "<h1>Could not tell</h1>" in page_of(answers[2:3], "1.0", "", [])


def test_nothing_but_text_comes_from_files(page, hostile):
    """Every element and attribute is ours: no script, no address, no handler; what is hostile arrives as text."""
    tags = tags_of(page)
    allowed = (
        "html head meta title style body main nav ul li a b article header p h1 strong section h2 h3 dl dt dd sup meter"
    )
    allowed += " details summary div table tr th td code br small pre footer"
    assert {tag for tag, _ in tags.found} <= set(allowed.split())
    hrefs = [attributes["href"] for tag, attributes in tags.found if tag == "a"]
    assert all(re.fullmatch(r"#answer-\d", href) for href in hrefs)
    assert not [
        name for _, attributes in tags.found for name in attributes if name.startswith("on") or name in ("src", "style")
    ]
    assert not {"\x1b", "\u202e", "\0"} & set(page)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A browser of our own."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in [*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('browser')}"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


WIDER = """
return [...document.querySelectorAll('body *')].filter(
  (one) => !one.closest('.scroll table') && one.getBoundingClientRect().right > innerWidth + 1).length
"""
LUMINANCE = """
const channel = (c) => { c /= 255; return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4 };
const light = (text) => { const [r, g, b] = text.match(/[\\d.]+/g).map(Number);
  return .2126 * channel(r) + .7152 * channel(g) + .0722 * channel(b) };
const paper = light(getComputedStyle(document.body).backgroundColor);
return [...document.querySelectorAll('p, h1, h2, h3, dt, dd, td, th, li, a, small, summary, b')].map((one) => {
  const ink = light(getComputedStyle(one).color);
  return (Math.max(ink, paper) + .05) / (Math.min(ink, paper) + .05) });
"""


@pytest.mark.slow
@pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="no Chromium with chromedriver here: the page is not looked at in a browser"
)
@pytest.mark.xdist_group("browser")
def test_it_fits_every_screen_in_the_light_and_the_dark_and_on_paper(browser, page, tmp_path):
    """Nothing scrolls sideways but tables in their boxes, all text has contrast 4.5 to 1, and nothing is asked of a network."""
    place = tmp_path / "page.html"
    place.write_bytes(page.encode("utf-8", "backslashreplace"))
    for width in WIDTHS:
        for scheme in ("light", "dark"):
            size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
            features = [{"name": "prefers-color-scheme", "value": scheme}]
            browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": features})
            browser.get(place.as_uri())
            assert browser.execute_script("return document.documentElement.scrollWidth") <= width
            assert browser.execute_script(WIDER) == 0
            assert min(browser.execute_script(LUMINANCE)) >= 4.5
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    browser.get(place.as_uri())
    shown = "return [...document.querySelectorAll('details table')].every((table) => table.getBoundingClientRect().height > 0)"
    assert browser.execute_script(shown)
    with contextlib.suppress(KeyError):
        assert [e for e in browser.get_log("browser") if e["level"] == "SEVERE"] == []
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0


def test_the_style_is_there_when_installed():
    """The style sheet is listed with the package."""
    import tomllib
    from pathlib import Path

    root = Path(__file__).parents[2]
    listed = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    assert "*.css" in listed["onnxnnw.evidence"]
    assert json.dumps(sorted(p.name for p in (root / "onnxnnw/evidence").glob("*.css"))) == '["page.css"]'
