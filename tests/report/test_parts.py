"""Several folders on one page, cells that are counted, and pages that are checked against their trials."""

from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from onnxnnw.cli.entry import build_app
from onnxnnw.errors import UnreadableData
from onnxnnw.report.certificate import certificate
from onnxnnw.report.figures.panels import all_figures
from onnxnnw.report.parts import joined
from onnxnnw.report.results import read_results
from onnxnnw.report.settings import by_setting
from onnxnnw.report.tables.cells_measured import cells_measured
from onnxnnw.report.tables.measures import metrics_of
from onnxnnw.report.tables.standard_tables import standard_tables
from onnxnnw.report.trials import Detection
from onnxnnw.report.units import training_of
from onnxnnw.report.writing import all_tables, check_report, write_report
from tests.support import made_results as made

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def halves(tmp_path_factory):
    """One made campaign in two folders: NCT, and everything else."""
    place, rng = tmp_path_factory.mktemp("halves"), np.random.default_rng(1)
    lines = [*made.detections(rng), *made.other_studies(rng)]
    is_nct = [(line.get("mark") or {}).get("method") == "nct" for line in lines]
    return [
        made.write(place / "nct", [line for line, nct in zip(lines, is_nct, strict=True) if nct], name="nct"),
        made.write(place / "rest", [line for line, nct in zip(lines, is_nct, strict=True) if not nct], name="rest"),
    ]


@pytest.fixture(scope="module")
def page(halves, tmp_path_factory):
    """The page of both; its figures take most of these tests' time."""
    return write_report(halves, tmp_path_factory.mktemp("page") / "page.html").page


def texts(results):
    """Every entry of every table."""
    return [[entry.text for entry in table.entries] for table in all_tables(results)]


def test_a_campaign_in_parts_has_the_tables_of_the_whole(halves, results):
    """Cutting it by method changes no number."""
    whole = joined([read_results(folder) for folder in halves])
    assert texts(whole) == texts(results)
    assert whole.name == "nct + rest"


def test_the_same_part_twice_counts_once(halves):
    one = read_results(halves[0])
    assert len(joined([one, one]).trials) == len(one.trials)


def test_parts_that_answer_to_one_setting_keep_rows_of_their_own(tmp_path):
    """Other trainings of the same network are another experiment: nothing is averaged over both."""
    parts = []
    for name in ("first", "second"):
        lines = [{**line, "trial": f"{name}-{line['trial']}"} for line in made.detections(np.random.default_rng(1))]
        parts.append(read_results(made.write(tmp_path / name, lines, name=name)))
    settings = by_setting(joined(parts).of(Detection))
    assert len(settings) == 2 * len(by_setting(parts[0].of(Detection)))
    assert all(setting.block.endswith(("first", "second")) for setting in settings)


def test_parts_of_one_campaign_share_its_trainings(tmp_path):
    """Cut by topic, one training stays one draw, however many parts ask it."""
    campaign = {"networks": [{"name": "resnet8", "epochs": 12}]}
    parts, lines = [], [line for line in made.detections(np.random.default_rng(1)) if line["network"] == "resnet8"]
    for number in range(3):
        some = [{**line, "trial": f"{number}-{line['trial']}"} for line in lines]
        folder = made.write(tmp_path / str(number), some, name=str(number), campaign=campaign, inputs={"seed": "1"})
        parts.append(read_results(folder))
    other = made.write(tmp_path / "o", lines, name="o", campaign=campaign, inputs={"seed": "2"})
    trainings = [len({training_of(trial) for trial in part.trials}) for part in (parts[0], joined(parts))]
    assert trainings[0] == trainings[1]
    assert len({training_of(trial) for trial in joined([*parts, read_results(other)]).trials}) == 2 * trainings[0]


def test_the_order_of_folders_decides_no_number(tmp_path):
    """A trial that stands in two parts counts for the larger one, whichever is given first."""
    lines = list(made.detections(np.random.default_rng(1)))
    small = read_results(made.write(tmp_path / "small", lines[::3], name="small"))
    more = [{**line, "trial": f"more-{line['trial']}"} for line in lines[1::3]]
    large = read_results(made.write(tmp_path / "large", [*lines, *more], name="large"))
    one, other = (sorted(map(sorted, texts(joined(parts)))) for parts in ([small, large], [large, small]))
    assert one == other


def test_a_part_may_have_the_name_that_another_would_get(tmp_path):
    lines = [list(made.detections(np.random.default_rng(seed))) for seed in (1, 2, 3)]
    names = ("x (2)", "x", "x")
    parts = [
        read_results(
            made.write(tmp_path / str(n), [{**line, "trial": f"{n}-{line['trial']}"} for line in some], name=name)
        )
        for n, (name, some) in enumerate(zip(names, lines, strict=True))
    ]
    assert [part.name for part in joined(parts).parts] == ["x (2)", "x", "x (3)"]


def test_the_metric_that_a_campaign_names_first_is_quoted_first(tmp_path):
    """Lines have their numbers by name."""
    line = made.line(
        "detection",
        0,
        network="net",
        mark=made.mark(),
        truth=True,
        modification=None,
        quality={"cosine": 0.9, "mse": 2.0, "top1": 50.0},
        unmarked={"cosine": 1.0, "mse": 1.0, "top1": 60.0},
        verdict=made.verdict(-9.0, {}, True),
    )
    campaign = {"networks": [{"file": ["folder/net.onnx"], "samples": "s.npz", "metric": ["top1", "mse", "cosine"]}]}
    (trial,) = read_results(made.write(tmp_path / "own", [line], campaign=campaign)).trials
    assert metrics_of([trial]) == ("top1", "mse", "cosine")


def test_trials_of_one_name_that_differ_are_refused(tmp_path):
    lines = list(made.detections(np.random.default_rng(1)))[:1]
    one = read_results(made.write(tmp_path / "a", lines, name="a"))
    other = read_results(made.write(tmp_path / "b", [{**lines[0], "model": 7}], name="b"))
    with pytest.raises(UnreadableData, match="one thing in a and another in b"):
        joined([one, other])


def test_cells_are_counted_as_the_summary_counts_them(results):
    """Measured ones are some of those published, and of a campaign of M = 2 and D = 3 hardly one is of one network."""
    cells = cells_measured(standard_tables(results))
    assert sum(cell.published for cell in cells) == 615
    assert 0 < sum(cell.measured for cell in cells) < 615
    assert all(cell.single <= cell.measured <= cell.published for cell in cells)


def test_a_single_network_is_told(tmp_path):
    """M = D = 1."""
    lines = [line for line in made.detections(np.random.default_rng(1)) if (line["model"], line["payload"]) == (0, 0)]
    cells = cells_measured(standard_tables(read_results(made.write(tmp_path / "one", lines))))
    assert sum(cell.measured for cell in cells) > 0
    assert all(cell.single == cell.measured for cell in cells)


def test_a_page_is_what_follows_from_its_trials(halves, page):
    for folders in (halves, halves[::-1]):
        found = check_report(folders, page)
        assert (found.same, found.sentences) == (True, ())
        assert found.numbers > 500


@pytest.mark.parametrize(
    ("old", "new"), [("</button>", "9</button>"), ("<h3>", "<h3>Not "), ("</main>", "<p>All agree.</p></main>")]
)
def test_what_a_page_shows_is_held_against_the_trials(halves, page, tmp_path, old, new):
    """Its certificate alone would let every number be another one."""
    text = page.read_text()
    assert old in text
    (tmp_path / "changed.html").write_text(text.replace(old, new, 1))
    found = check_report(halves, tmp_path / "changed.html")
    assert not found.same
    assert any("shows what does not follow" in sentence for sentence in found.sentences)


@pytest.mark.parametrize(
    "smuggled",
    [
        "<style>td.measured button{font-size:0}</style>",
        '<rect style="position: fixed"/>',
        "<foreignObject><p>All agree.</p></foreignObject>",
        '<g onclick="alert(1)"/>',
        '<use href="https://example.org/#a"/>',
        "<svg/>",
    ],
)
def test_a_figure_holds_nothing_that_could_cover_the_page(halves, page, tmp_path, smuggled):
    """Figures are not compared line by line; so what is in them is limited."""
    text = page.read_text()
    place = text.index(">", text.index("<svg")) + 1
    (tmp_path / "changed.html").write_text(text[:place] + smuggled + text[place:])
    found = check_report(halves, tmp_path / "changed.html")
    assert not found.same
    assert any("as no figure of this version does" in sentence for sentence in found.sentences)


def test_a_changed_trial_is_noticed(halves, page, tmp_path):
    """Another number, another digest; the page is said to be of other trials."""
    changed = tmp_path / "nct"
    changed.mkdir()
    for file in halves[0].iterdir():
        (changed / file.name).write_text(file.read_text().replace('"pearson": 0.9', '"pearson": 0.8', 3))
    found = check_report([changed, halves[1]], page)
    assert not found.same
    assert any("trials are not those" in sentence for sentence in found.sentences)


def test_what_is_no_page_is_said(results, tmp_path):
    (tmp_path / "page.html").write_text("<html></html>")
    with pytest.raises(UnreadableData, match="certificate"):
        check_report([tmp_path], tmp_path / "page.html")
    assert certificate(results, ())["numbers"] == 0


def test_the_command_counts_and_checks(halves, page):
    """Exit code 0 where the page is right, 1 where a part is missing."""
    runner, app = CliRunner(), build_app()
    both = [str(folder) for folder in halves]
    counted = runner.invoke(app, ["report", *both, "--count"])
    assert "of 615 cells measured" in counted.stdout
    assert runner.invoke(app, ["report", *both, "--check", str(page)]).exit_code == 0
    missing = runner.invoke(app, ["report", both[0], "--check", str(page)])
    assert (missing.exit_code, "was not given" in missing.stdout) == (1, True)


def test_studies_without_a_mark_are_not_averaged_over_parts_or_networks(tmp_path):
    """Figure 4, unicity, search and Figure 5: each part and each network has numbers of its own."""
    lines = list(made.other_studies(np.random.default_rng(1)))
    parts = []
    for name, network in (("first", "resnet8"), ("second", "resnet8"), ("third", "vgg16")):
        own = [{**line, "trial": f"{name}-{line['trial']}", "network": network} for line in lines]
        parts.append(read_results(made.write(tmp_path / name, own, name=name)))
    alone, together = all_tables(parts[0]), all_tables(joined(parts))
    for id in ("figure-4", "unicity", "search"):
        one, every = (next(table for table in tables if table.id == id) for tables in (alone, together))
        rows = [[entry.text for entry in row[1:]] for group in one.groups for row in group.rows]
        found = [[entry.text for entry in row[1:]] for group in every.groups for row in group.rows]
        assert found == rows * 3
    figures = {figure.id: len(figure.panels) for figure in all_figures(joined(parts))}
    assert [figures[f"plate-{name}"] for name in ("figure-4", "figure-5", "unicity")] == [
        3 * len(figure.panels)
        for name in ("figure-4", "figure-5", "unicity")
        for figure in all_figures(parts[0])
        if figure.id == f"plate-{name}"
    ]


def test_the_head_of_a_page_of_many_parts_is_short(tmp_path):
    """Three names at most, dates in order, and every machine that the parts ran on."""
    lines = list(made.detections(np.random.default_rng(1)))[:2]
    parts = []
    for number in range(5):
        own = [{**line, "trial": f"{number}-{line['trial']}"} for line in lines]
        part = read_results(made.write(tmp_path / str(number), own, name=f"part{number}"))
        parts.append(replace(part, date=f"2026-11-{20 - number}", environment=(("hardware", f"machine {number % 2}"),)))
    whole = joined(parts)
    assert whole.name == "part0 + part1 + 3 more"
    assert whole.date == "2026-11-16, 2026-11-17, 2026-11-18, 2026-11-19, 2026-11-20"
    assert whole.environment == (("hardware", "machine 0; machine 1"),)
    assert joined(parts[:3]).name == "part0 + part1 + part2"
