"""The standard's tables as printed, what was measured beside them, and tables for whatever the standard does not know."""

import statistics

import pytest

from onnxnnw.report.counts import STRICT, counts
from onnxnnw.report.page.summary import summarise
from onnxnnw.report.results import read_results
from onnxnnw.report.tables.standard_tables import iterations_entry, standard_tables
from onnxnnw.report.tables.table import NOT_MEASURED, ReportTable
from onnxnnw.report.trials import Detection, read_trial
from onnxnnw.report.units import key_of
from onnxnnw.report.writing import all_tables
from onnxnnw.standard.tables import TABLES
from tests.support import made_results as made


@pytest.fixture(scope="module")
def tables(results) -> dict[str, ReportTable]:
    """All tables of the made campaign by their name."""
    return {table.id: table for table in all_tables(results)}


def rows_of(table: ReportTable, group: str) -> list[list[str]]:
    """The texts of a group of rows."""
    (found,) = [one for one in table.groups if one.title == group]
    return [[entry.text for entry in row] for row in found.rows]


def column(table: ReportTable, over: str, title: str) -> int:
    """The place of a column."""
    (place,) = [n for n, one in enumerate(table.columns) if (one.over, one.title) == (over, title)]
    return place


def test_all_tables_of_results_are_there(results):
    """2 to 23, in the order of print."""
    assert [table.number for table in standard_tables(results)] == list(range(2, 24))


@pytest.mark.parametrize("number", TABLES)
def test_every_figure_stands_as_printed(number, tmp_path):
    """Each printed cell once, character for character, whatever was measured; nothing was, and each cell says so."""
    empty = read_results(made.write(tmp_path, []))
    table = {table.number: table for table in standard_tables(empty)}[number]
    shown = [entry.text for entry in table.entries if entry.role == "published"]
    assert sorted(shown) == sorted(cell.printed for cell in TABLES[number].cells)
    assert not table.measured
    assert {entry.text for entry in table.entries if entry.role == "missing"} == {NOT_MEASURED}
    assert table.flags == TABLES[number].flags


def test_rows_are_as_wide_as_their_headings(tables):
    """In every table."""
    for table in tables.values():
        assert {len(row) for group in table.groups for row in group.rows} <= {len(table.columns)}, table.id


def test_ids_are_unique(results):
    """They are file names and anchors."""
    ids = [table.id for table in all_tables(results)]
    assert len(ids) == len(set(ids))


def test_table_5_beside_the_trials(tables, folder):
    """A row recomputed from the lines of the file: alpha = 90, S = 0.5."""
    import json

    lines = [json.loads(line) for line in (folder / "trials.jsonl").read_text().splitlines()]
    own = [
        line
        for line in lines
        if line["study"] == "detection"
        and line["truth"]
        and (line["mark"]["kind"], line["mark"]["published"]) == ("watermark", {"alpha": 90, "N": 512})
        and line["modification"] == {"name": "gaussian-noise", "parameter": "ratio", "value": 0.5}
    ]
    assert len(own) == made.M * made.D
    (row,) = [row for row in rows_of(tables["table-5"], "ResNet8, α = 90, N = 512") if row[0] == "0.5"]
    table = tables["table-5"]
    pearson = statistics.fmean(line["verdict"]["values"]["pearson"] for line in own)
    error = statistics.fmean(
        100 * abs(a["classification-error"] - b["classification-error"]) / b["classification-error"]
        for a, b in ((line["quality"], line["unmodified"]) for line in own)
    )
    assert row[column(table, "corr", "published")] == "0.979"
    assert row[column(table, "corr", "Pearson")] == f"{pearson:.3f}"
    assert row[column(table, "error, %", "measured")] == f"{error:.2f}"
    found = sum(line["verdict"]["decision"] == "traced" for line in own)
    assert row[column(table, "mark found in", "strict decision")] == f"{found} of 6"


def test_table_12_gives_ber_and_impact(tables):
    """Both of lambda = 0.01, and the published pair beside them."""
    (row,) = [row for row in rows_of(tables["table-12"], "ResNet8") if row[0] == "λ = 0.01"]
    table = tables["table-12"]
    assert row[column(table, "impact, %", "published")] == "5"
    assert row[column(table, "impact, %", "measured")] == "6.00"
    assert row[column(table, "BER", "published")] == "0"
    assert float(row[column(table, "BER", "measured")]) < 0.05


def test_table_23_compares_iterations_and_time(tables):
    """RTW's 500 iterations and 16.64 % beside those measured; NCT's zeros too."""
    (row,) = rows_of(tables["table-23"], "RTW")
    assert row[1:] == ["500", "480", "16.64", "17.0"]
    assert [row[1:] for row in rows_of(tables["table-23"], "NCT")] == [["0", "0", "0", "0.0"]] * 2


def modified(number: int, block: str, name: str, parameter: str, value: float, pearson: float) -> dict:
    """One line of a marked network after one modification."""
    return made.line(
        "detection",
        number,
        truth=True,
        mark=made.mark(block=block),
        modification={"name": name, "parameter": parameter, "value": value},
        quality=made.quality(13.0),
        unmodified=made.quality(12.0),
        unmarked=made.quality(11.0),
        verdict=made.verdict(-50, {"pearson": pearson}, True),
    )


def test_two_blocks_of_one_configuration_stay_apart(tmp_path):
    """Averages over different things would compare with nothing."""
    lines = [
        modified(number, block, "gaussian-noise", "ratio", 0.1, pearson)
        for number, (block, pearson) in enumerate([("strong", 0.9), ("weak", 0.5)])
    ]
    table = {s.number: s for s in standard_tables(read_results(made.write(tmp_path, lines)))}[5]
    for block, value in (("strong", "0.900"), ("weak", "0.500")):
        rows = rows_of(table, f"ResNet8, α = 90, N = 512, {block}")
        assert [row[2] for row in rows if row[0] == "0.1"] == [value]


def test_a_block_that_asked_nothing_of_a_table_has_no_rows_in_it(tmp_path):
    """Noise in one part and fine-tuning in another: each stands in its own table, once."""
    asked = [("strong", "gaussian-noise", "ratio", 0.1), ("weak", "fine-tuning", "epochs", 1)]
    lines = [modified(number, *one, 0.9) for number, one in enumerate(asked)]
    found = {table.number: table for table in standard_tables(read_results(made.write(tmp_path, lines)))}
    for number in (5, 7):
        headings = [group.title for group in found[number].groups if "α = 90" in group.title]
        assert headings == ["ResNet8, α = 90, N = 512"]
        assert [row[2] for row in rows_of(found[number], headings[0]) if row[2] != NOT_MEASURED] == ["0.900"]


def test_a_small_network_is_named_as_such(tmp_path):
    """Figures of a small size stand under a heading that says it."""
    line = made.line(
        "detection", 0, size="small", truth=True, mark=made.mark(), quality={}, verdict=made.verdict(-9, {}, True)
    )
    found = all_tables(read_results(made.write(tmp_path, [line])))
    names = [entry.text for table in found if table.number == 2 for entry in table.entries if "small" in entry.text]
    assert names == ["α = 90, N = 512, small"]


def test_cuts_stand_beside_their_tables(tables, results):
    """And beside no other."""
    (cut,) = results.cuts
    touched = {table.number for table in tables.values() if cut.sentence in table.cuts}
    assert touched == set(cut.tables)


def test_a_method_that_the_standard_does_not_know(tables):
    """Imperceptibility, robustness per modification and detections, unaided, with its own numbers."""
    own = {table.id for table in tables.values() if table.chapter == "spread watermark"}
    assert own == {
        "imperceptibility-spread-watermark",
        "detections-spread-watermark",
        *(
            f"robustness-spread-watermark-{name}"
            for name in made.MODIFICATIONS
            if name not in ("fine-tuning", "magnitude-pruning")
        ),
    }
    titles = [one.title for one in tables["robustness-spread-watermark-gaussian-noise"].columns]
    assert titles[:3] == ["S", "likelihood", "SER"]


def test_no_trial_of_a_marked_network_is_left_out(tables, results):
    """Every one stands behind some number."""
    shown = {trial.id for table in tables.values() for entry in table.entries for trial in entry.trials}
    assert {trial.id for trial in results.trials} <= shown


def test_detections_agree_with_the_counts(tables, results):
    """The strict counts of one modification, network by network."""
    own = [
        trial
        for trial in results.of(Detection)
        if trial.key is None
        and trial.mark
        and (trial.mark.method, trial.mark.published) == ("tbw", (("rho", 10.0),))
        and trial.modification is not None
        and (trial.modification.name, trial.modification.value) == ("gaussian-noise", 1.0)
    ]
    expected = counts(own, STRICT)
    (group,) = tables["detections-tbw-watermark"].groups
    (row,) = [row for row in group.rows if row[0].text == "Gaussian noise addition, S = 1"]
    assert [entry.text for entry in row[8:12]] == [
        str(expected.true_positives),
        str(expected.true_negatives),
        str(expected.false_positives),
        str(expected.false_negatives),
    ]
    assert row[1].text == str(made.M * (made.D + 1))


def test_false_positives_are_those_of_all_trials_without_the_mark(tables, results):
    """The first row is about all of them, with exact limits."""
    absent = [trial for trial in results.of(Detection) if not trial.truth]
    row = tables["false-positives"].groups[0].rows[0]
    assert row[1].text == f"{len(absent):,}"
    keys = len({key_of(trial) for trial in absent})
    assert 0 < keys < len(absent)
    assert row[2].text == f"{sum(trial.verdict.traced for trial in absent):,} of {len(absent):,} ({keys} keys)"
    assert row[2].high == pytest.approx(1 - 0.025 ** (1 / keys))


def test_the_summary_says_what_the_trials_say(results):
    """Found in so many of so many, wrong keys, and how many published figures have a measured one beside them."""
    tables = standard_tables(results)
    summary = summarise(results, tables)
    marked = [t for t in results.of(Detection) if t.truth and t.modification and t.mark and t.mark.kind == "watermark"]
    found = sum(trial.verdict.traced for trial in marked)
    keys = sum(t.key is not None for t in results.of(Detection))
    assert summary.headline == (
        f"The mark was found in {found:,} of {len(marked):,} modified networks; 0 of {keys:,} wrong keys found one."
    )
    assert summary.published == sum(len(table.cells) for table in TABLES.values())
    assert 0 < summary.compared < summary.published


def test_a_summary_of_nothing(tmp_path):
    """No trials: nothing is claimed."""
    empty = read_results(made.write(tmp_path, []))
    summary = summarise(empty, standard_tables(empty))
    assert (summary.headline, summary.tiles, summary.losses, summary.overview, summary.compared) == (
        "",
        (),
        (),
        None,
        0,
    )


def test_memory_and_its_margin_are_in_the_same_unit(tables, results):
    """Two figures in bytes: mean and half the interval in MB, by hand."""
    from onnxnnw.report.trials import Retrieval

    rows = [row for group in tables["retrieval"].groups for row in group.rows]
    bytes_ = {trial.cost["memory_bytes"] for trial in results.of(Retrieval)}
    assert bytes_ == {61_000_000, 61_000_001}
    assert {(row[3].text, row[3].margin) for row in rows} == {("61.0", "0.0")}
    assert rows[0][3].value == pytest.approx(61.0000005)
    half = 12.7062047 * 2**-0.5 / 2**0.5 * 1e-6  # Student's t of one degree of freedom, deviation over the root of two
    assert rows[0][3].high - rows[0][3].value == pytest.approx(half, rel=1e-3)


@pytest.mark.parametrize(
    ("published", "iterations", "said"),
    [
        ({"alpha": 90.0}, [None, None], "not by training"),
        ({"rho": 10.0}, [None, None], "never complete (0 of 2)"),
        ({"rho": 10.0}, [500.0, None], "500 (1 of 2 complete)"),
        ({"rho": 10.0}, [500.0, 510.0], "505"),
    ],
)
def test_iterations_say_what_was_not_complete(published, iterations, said):
    """A mark that training inserts and never completes is not one that training does not insert."""
    own = made.mark("nct" if "alpha" in published else "tbw", "watermark", published, "")
    lines = [
        made.line("injection", n, network="resnet8", mark=own, iterations=i, cost={}) for n, i in enumerate(iterations)
    ]
    entry = iterations_entry([read_trial(one, f"line {number}") for number, one in enumerate(lines, 1)])
    assert entry.text == said
