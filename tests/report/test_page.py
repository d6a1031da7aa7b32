"""The page: whole, alone, inert, and with the trials behind its numbers."""

import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from onnxnnw.errors import MissingExtra, UsageError
from onnxnnw.report import writing
from onnxnnw.report.page.provenance import TrialIndex
from onnxnnw.report.results import read_results
from onnxnnw.report.tables.table import counted
from onnxnnw.report.trials import Detection
from onnxnnw.report.writing import all_tables, write_report
from onnxnnw.standard.contradictions import CONTRADICTIONS
from tests.support import made_results as made

pytestmark = pytest.mark.slow

OLD = "<!doctype html>old"
VOID = {"meta", "link", "br", "img", "hr", "input"}


class Reader(HTMLParser):
    """Tags, attributes and texts of a page; every tag that opens has to close in its place."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), (tag, names)
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"{tag} closes in the wrong place"

    def handle_data(self, data):
        self.texts.append(data)


@pytest.fixture(scope="module")
def text(page) -> str:
    """What the page says."""
    return page.read_text("utf-8")


@pytest.fixture(scope="module")
def reader(text) -> Reader:
    """The page, parsed."""
    return Reader(text)


def data_of(text: str) -> dict:
    """The trials that a page holds."""
    return json.loads(re.search(r'<script type="application/json" id="trials-data">(.*?)</script>', text, re.DOTALL)[1])


def test_it_is_well_formed(reader):
    """Tags close where they should, ids are unique, and every link in the page leads somewhere."""
    ids = [value for _, name, value in reader.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    links = [value for tag, name, value in reader.attributes if tag == "a" and name == "href"]
    assert links
    assert {link.removeprefix("#") for link in links} <= set(ids)


def test_it_needs_nothing_else(reader, text):
    """No address of anything but itself, and a policy that forbids the network."""
    loading = [(tag, v) for tag, name, v in reader.attributes if name in ("src", "href", "srcset", "action", "data")]
    assert all(value.startswith("#") for _, value in loading)
    assert not re.search(r"@import|url\((?!#)", text)
    assert not [tag for tag in reader.tags if tag in ("link", "iframe", "object", "embed", "img", "base")]
    policies = [v for _, name, v in reader.attributes if name == "content" and v and "default-src" in v]
    assert policies[0].startswith("default-src 'none';")
    assert "'unsafe-inline'" not in policies[0].split("script-src")[1]


def test_every_table_is_there(text, results):
    """Each heading, each published figure, each contradiction."""
    for table in all_tables(results):
        assert f'id="{table.id}"' in text
    for one in CONTRADICTIONS:
        assert one.where.split(";")[0] in text
    assert ">01.7<" in text


def test_every_measured_number_opens_its_trials(text, results):
    """Each button names a group of trials that are in the file."""
    data = data_of(text)
    known = {trial.id for trial in results.trials}
    buttons = [int(place) for place in re.findall(r'data-trials="(\d+)"', text)]
    assert len(buttons) > 500
    assert set(buttons) == set(range(len(data["groups"])))
    assert {row[0] for row in data["rows"]} <= known
    assert all(count >= len(places) > 0 for count, *places in data["groups"])
    measured = sum(entry.role == "measured" for table in all_tables(results) for entry in table.entries)
    assert len(buttons) >= measured


def test_secrets_stay_out(text):
    """Neither keys nor seeds nor what the campaign file says beyond its name."""
    assert "5ec4e7" not in text
    assert "987654321987" not in text


def test_the_tables_are_files_too(page, results):
    """Three forms of each."""
    names = {path.name for path in (page.parent / "tables").iterdir()}
    assert names == {f"{table.id}{suffix}" for table in all_tables(results) for suffix in (".md", ".csv", ".tex")}


HOSTILE = "</script><img src=x onerror=alert(1)>\"'`{{7*7}}&amp;\u202e\x00$a_b$"


@pytest.fixture(scope="module")
def hostile(tmp_path_factory) -> str:
    """The page of a campaign in which every name means harm."""
    name = HOSTILE
    mark = {**made.mark(name, "watermark", {name: 1.0}, name), "kind": name}
    lines = [
        made.line(
            "detection",
            number,
            trial=f"{name}{number}",
            network=name,
            size=name,
            truth=True,
            mark=mark,
            modification={"name": name, "parameter": name, "value": float(number)},
            quality={name: 2.0},
            unmodified={name: 1.0},
            verdict=made.verdict(-9, {name: 1.0}, True),
            environment={name: name},
        )
        for number in range(3)
    ]
    lines += [{**made.line(name, 9), "study": name}]
    folder = tmp_path_factory.mktemp("hostile")
    cuts = [{"tables": [2], "sentence": name}]
    made.write(folder / "r", lines, name=name, cuts=cuts, date=name, environment={name: name}, steps={"failed": [name]})
    return write_report(folder / "r", folder / "p.html", folder / "t", folder / "f").page.read_text("utf-8")


def test_hostile_names_are_shown_and_do_nothing(hostile):
    """No element, attribute or template comes out of a name; it is there to be read."""
    reader = Reader(hostile)
    assert "img" not in reader.tags
    assert not [name for _, name, _ in reader.attributes if name.startswith("on")]
    assert reader.tags.count("script") == 2
    assert "\x00" not in hostile
    assert "\u202e" not in hostile
    assert any("{{7*7}}" in text for text in reader.texts)
    assert data_of(hostile)["rows"]


def test_hostile_names_name_no_files(hostile, tmp_path_factory):
    """Names of files come from the package, or are digests."""
    folder = tmp_path_factory.getbasetemp()
    names = [path.name for path in folder.glob("hostile*/[tf]/*")]
    assert names
    assert all(re.fullmatch(r"[a-z0-9-]+\.(md|csv|tex|svg|png)", name) for name in names)


def test_a_campaign_without_trials_has_a_page(tmp_path):
    """Published figures, and the word that nothing was measured."""
    made.write(tmp_path / "r", [])
    text = write_report(tmp_path / "r", tmp_path / "p.html").page.read_text("utf-8")
    Reader(text)
    assert "0 of the 615 figures" in text
    assert data_of(text)["groups"] == []


@pytest.mark.slow
def test_twenty_thousand_trials_stay_small(results):
    """What a page needs of them is within the budget, and lists the smallest p-values of wrong keys."""
    wrong = [trial for trial in results.of(Detection) if trial.key is not None]
    from dataclasses import replace

    many = [replace(wrong[n % len(wrong)], id=f"{n:016x}") for n in range(20_000)]
    trial_index = TrialIndex()
    for start in range(0, 20_000, 5):
        trial_index.number(counted(5, many[start : start + 5]))
    trial_index.number(counted(20_000, many))
    content = trial_index.to_json()
    assert len(content) <= 3_000_000
    data = json.loads(content)
    count, *places = data["groups"][-1]
    shown = [data["rows"][place][6] for place in places]
    assert count == 20_000
    assert shown == sorted(shown)
    assert shown[0] == round(min(trial.verdict.log10_p for trial in many), 2)


def test_equal_lists_are_kept_once(results):
    """A row's numbers mostly come from the same trials."""
    trial_index = TrialIndex()
    trials = results.trials[:6]
    assert trial_index.number(counted(6, trials)) == trial_index.number(counted(5, trials)) == 0
    assert trial_index.number(counted(1, trials[:1])) == 1
    assert trial_index.number(counted(0, [])) is None


def test_the_page_replaces_an_old_one_only_when_it_is_whole(tmp_path, monkeypatch):
    """A failure leaves what was there, and nothing half-written beside it."""
    made.write(tmp_path / "r", [])
    out = tmp_path / "p.html"
    out.write_text(OLD)
    monkeypatch.setattr(writing, "render_page", lambda *_: "\ud800")
    with pytest.raises(UnicodeEncodeError):
        write_report(tmp_path / "r", out)
    assert out.read_text() == OLD
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["p.html"]


@pytest.mark.parametrize("name", ["results.json", "trials.jsonl", "trials.jsonl.gz"])
def test_the_results_are_not_overwritten(name, tmp_path):
    """A slip of the hand costs no campaign, nor puts a page where trials would stand."""
    folder = made.write(tmp_path / "r", [])
    with pytest.raises(UsageError, match="would replace"):
        write_report(folder, folder / name)


@pytest.mark.parametrize("content", [b'format = "onnxnnw/campaign/1"', b"\x08\x0a\x12\x00", b"{}"])
def test_a_page_replaces_no_file_of_another_kind(content, tmp_path):
    """Neither a campaign nor a network nor results of elsewhere."""
    (tmp_path / "place").write_bytes(content)
    with pytest.raises(UsageError, match="another kind"):
        write_report(made.write(tmp_path / "r", []), tmp_path / "place")
    assert (tmp_path / "place").read_bytes() == content


def test_a_page_replaces_an_empty_file_and_an_older_page(tmp_path):
    """As the second run of a command does."""
    (tmp_path / "place").touch()
    for _ in range(2):
        write_report(made.write(tmp_path / "r", []), tmp_path / "place")


@pytest.mark.slow
@pytest.mark.parametrize("package", ["jinja2", "matplotlib"])
def test_a_missing_package_names_the_extra(package, folder, tmp_path, monkeypatch):
    """And how to install it."""
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtra, match=r"onnxnnw\[report\]"):
        write_report(folder, tmp_path / "p.html")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_same_results_give_the_same_page(tmp_path):
    """Byte for byte."""
    lines = [
        line
        for line in map(json.loads, (made.make(tmp_path / "a") / "trials.jsonl").open())
        if line["study"] != "detection"
    ]
    folder = made.write(tmp_path / "b", lines)
    pages = [write_report(folder, tmp_path / f"{n}.html").page.read_bytes() for n in range(2)]
    assert pages[0] == pages[1]


@pytest.mark.slow
def test_the_command(tmp_path):
    """Exit codes and streams: 0 and the page, 3 for what cannot be read, 2 for wrong usage."""
    from tests.cli.test_commands import run

    folder = made.write(
        tmp_path / "r", [made.line("scaling", n, N=2**n, cost={"insertion_seconds": 0.1}) for n in (6, 7)]
    )
    out = tmp_path / "report.html"
    done = run("report", folder, "-o", out, "--tables", tmp_path / "t", "--figures", tmp_path / "f")
    assert (done.returncode, done.stderr) == (0, "")
    assert str(out) in done.stdout
    assert Reader(out.read_text("utf-8")).tags.count("svg") == 1
    assert {path.suffix for path in (tmp_path / "f").iterdir()} == {".svg", ".png"}
    missing = run("report", tmp_path / "nowhere", "-o", out)
    assert (missing.returncode, len(missing.stderr.splitlines())) == (3, 1)
    (folder / "trials.jsonl").write_text("{}\n")
    damaged = run("report", folder, "-o", out)
    assert (damaged.returncode, "line 1" in damaged.stderr) == (3, True)
    assert run("report", folder, "-o", folder / "results.json").returncode == 2


@pytest.mark.slow
def test_reading_needs_no_drawing(folder):
    """Tables can be had without matplotlib."""
    import subprocess

    code = (
        "import sys; from pathlib import Path; from onnxnnw.report.results import read_results; "
        "from onnxnnw.report.tables.standard_tables import standard_tables; "
        f"standard_tables(read_results(Path({str(Path(folder))!r}))); print('matplotlib' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_results_read_twice_are_equal(folder, results):
    """Nothing is guessed."""
    assert read_results(folder) == results
