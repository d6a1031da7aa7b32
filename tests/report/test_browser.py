"""The page in a browser: numbers open their trials, nothing leaves the page, and it fits a phone, the dark and paper."""

import base64
import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()

PAPER = 1030
"""A4 landscape between the page's margins, in CSS pixels."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (CHROMIUM and DRIVER), reason="no Chromium with chromedriver here: the page is not looked at in a browser"
    ),
    pytest.mark.xdist_group("browser"),  # one worker makes the page and starts the browser
]


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A browser of our own that writes down every request."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in [*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('browser')}"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


@contextlib.contextmanager
def looked_at(browser, page: Path, width: int = 1400, dark: bool = False, media: str = "") -> Iterator[None]:
    """The page on a screen of this width."""
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": features})
    browser.get(page.as_uri())
    yield


def run(browser, script: str):
    """The value of a piece of JavaScript."""
    return browser.execute_script(script)


def test_a_number_opens_its_trials(browser, page):
    """A click shows the list, with the trials of the file; Escape closes it and gives the focus back."""
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    with looked_at(browser, page):
        button = browser.find_element(By.CSS_SELECTOR, "#table-5 button[data-trials]")
        shown = button.text
        run(browser, "document.querySelector('#table-5 button[data-trials]').scrollIntoView({block: 'center'})")
        button.click()
        dialog = browser.find_element(By.ID, "trials")
        assert dialog.is_displayed()
        assert shown.split("±")[0].strip() in dialog.find_element(By.ID, "trials-about").text
        assert "6 trials" in dialog.text
        rows = dialog.find_elements(By.CSS_SELECTOR, "#trials-table tbody tr")
        assert len(rows) == 6
        assert all(row.text.startswith("detection-") for row in rows)
        browser.switch_to.active_element.send_keys(Keys.ESCAPE)
        assert not dialog.is_displayed()
        assert run(browser, "return document.activeElement.dataset.trials") == button.get_attribute("data-trials")


def test_the_keyboard_is_enough(browser, page):
    """Enter on a focused number opens the list."""
    from selenium.webdriver.common.keys import Keys

    with looked_at(browser, page):
        run(browser, "document.querySelector('#table-12 button[data-trials]').focus()")
        browser.switch_to.active_element.send_keys(Keys.ENTER)
        assert run(browser, "return document.getElementById('trials').open")


def test_nothing_leaves_the_page(browser, page):
    """The page itself is the only request, and its own policy would have stopped others; nothing is complained of."""
    browser.get_log("performance")
    browser.get_log("browser")
    with looked_at(browser, page):
        run(browser, "document.querySelector('#table-5 button[data-trials]').click()")
        messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
        sent = [m["params"] for m in messages if m["method"] == "Network.requestWillBeSent"]
        # a browser's own start page may still be loading: what counts is what this page asks for
        requests = [one["request"]["url"] for one in sent if one["documentURL"] == page.as_uri()]
        assert requests == [page.as_uri()]
        assert browser.get_log("browser") == []
        blocked = "return fetch('data:text/plain,x').then(() => 'sent', () => 'blocked')"
        assert run(browser, blocked) == "blocked"


def test_a_phone_shows_it_without_scrolling_sideways(browser, page):
    """The body is as wide as the screen; tables that are wider scroll in a box of their own."""
    with looked_at(browser, page, width=375):
        assert run(browser, "return document.documentElement.scrollWidth") <= 375
        widths = "return [...document.querySelectorAll('.scroll')].map((box) => box.getBoundingClientRect().right)"
        assert max(run(browser, widths)) <= 375
        wider = "return [...document.querySelectorAll('.scroll')].filter((b) => b.scrollWidth > b.clientWidth).length"
        assert run(browser, wider) > 0
        assert run(browser, "return document.querySelector('nav details').open") is False


@pytest.mark.parametrize("width", [375, 800, 1280, 1920])
def test_no_tile_cuts_its_number(browser, page, width):
    """However long a count with its keys is: it wraps, and stays inside its tile."""
    longest = (
        "for (const b of document.querySelectorAll('.tile .big button')) b.textContent = '6,020 of 6,020 (1,460 keys)';"
    )
    inside = (
        "return [...document.querySelectorAll('.tile')].every((tile) => [...tile.querySelectorAll('*')].every("
        "(part) => part.getBoundingClientRect().right <= tile.getBoundingClientRect().right + 0.5))"
    )
    with looked_at(browser, page, width=width):
        run(browser, longest)
        assert run(browser, "return document.querySelectorAll('.tile').length") > 0
        assert run(browser, inside)


def test_the_dark_is_dark(browser, page):
    """Paper, ink and the curves of the figures change with the mode; ink stays readable on paper."""
    script = (
        "const c = (e, p) => getComputedStyle(document.querySelector(e))[p];"
        "return [c('body', 'backgroundColor'), c('body', 'color'), c('svg path[style*=\"--c0\"]', 'stroke')]"
    )
    with looked_at(browser, page):
        light = run(browser, script)
    with looked_at(browser, page, dark=True):
        dark = run(browser, script)
    assert all(a != b for a, b in zip(light, dark, strict=True))
    for paper, ink, _ in (light, dark):
        assert contrast(paper, ink) > 7


def contrast(one: str, other: str) -> float:
    """Contrast of two colours as WCAG 2 defines it, from their rgb() forms."""

    def luminance(colour: str) -> float:
        parts = [float(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_paper_loses_no_table(browser, page):
    """In print every table has a height, those behind a closed summary too; none is cut off at the right."""
    with looked_at(browser, page, media="print", width=PAPER):
        heights = run(browser, "return [...document.querySelectorAll('main table')].map((t) => t.offsetHeight)")
        assert len(heights) > 30
        assert min(heights) > 0
        right = "return [...document.querySelectorAll('main table')].map((t) => t.getBoundingClientRect().right)"
        assert max(run(browser, right)) <= PAPER
        assert run(browser, "return getComputedStyle(document.querySelector('nav')).display") == "none"
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
    printed = browser.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True})
    assert base64.b64decode(printed["data"]).startswith(b"%PDF")
