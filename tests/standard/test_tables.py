"""Every published table of NNW-TEC V1.0 is here: the grids that it is printed for, and how one is found."""

import pytest

from onnxnnw.standard import grids
from onnxnnw.standard.contradictions import CONTRADICTIONS
from onnxnnw.standard.grids import ALPHA, BOLD, CLAUSES, LAMBDA, MARKS, MODIFICATIONS, RHO, ROLES, TASKS, N, W
from onnxnnw.standard.tables import TABLES, find_robustness, printed_robustness

ROBUSTNESS = [table for table in TABLES.values() if table.property == "robustness"]
CLASSIFICATION = ("vgg16", "resnet8")
PARAMETERS = {"alpha": ALPHA, "N": N, "lambda": LAMBDA, "rho": RHO}


def test_tables_2_to_23_are_here():
    """In the order of print, each under its own number."""
    assert list(range(2, 24)) == list(TABLES)
    assert all(number == table.number for number, table in TABLES.items())


@pytest.mark.parametrize("table", ROBUSTNESS, ids=lambda table: f"Table {table.number}")
def test_a_robustness_table_is_printed_for_the_whole_grid(table):
    """Every network, every strength and, for NCT, every alpha once for the mark and once for the error."""
    assert MODIFICATIONS[table.modification].values == table.values
    columns = [{"alpha": alpha, **BOLD["nct"]} for alpha in ALPHA] if table.method == "nct" else [BOLD[table.method]]
    quantity = {"nct": "corr", "rtw": "ber", "tbw": "percent"}[table.method]
    expected = {
        (network, kind, tuple(sorted(published.items())), value)
        for network in table.networks
        for kind in (quantity, "error")
        for published in columns
        for value in table.values
    }
    actual = [(c.network, c.quantity, tuple(sorted(c.published.items())), c.value) for c in table.cells]
    assert expected == set(actual)
    assert len(expected) == len(actual)


@pytest.mark.parametrize("method", ["nct", "rtw", "tbw"])
@pytest.mark.parametrize("network", CLASSIFICATION)
@pytest.mark.parametrize("modification", [name for name in MODIFICATIONS if name != "watermark-overwriting"])
def test_robustness_is_found_by_method_network_and_modification(method, network, modification):
    """For each there is exactly one table, and its column has every strength."""
    table = find_robustness(method, network, modification)
    assert table is not None
    assert (method, modification, True) == (table.method, table.modification, network in table.networks)
    assert MODIFICATIONS[modification].values == tuple(printed_robustness(method, network, modification))


def test_a_lookup_gives_the_mark_first_and_the_alpha_asked_for():
    """Table 5 at S = .05: corr, error at alpha = 50 and, unasked, at 90."""
    assert printed_robustness("nct", "resnet8", "gaussian-noise", alpha=50)[0.05] == ("0.982", "01.7")
    assert printed_robustness("nct", "resnet8", "gaussian-noise")[0.05] == ("0.999", "1")


@pytest.mark.parametrize(
    "asked",
    [
        ("tbw", "resnet8", "watermark-overwriting"),
        ("nct", "rdn", "gaussian-noise"),
        ("nct", "vgg16", "random-pruning"),
    ],
)
def test_what_is_not_printed_is_not_found(asked):
    """Not an error: the standard gives no table for Watermark Overwriting, other tasks or other modifications."""
    assert find_robustness(*asked) is None
    assert printed_robustness(*asked) == {}


@pytest.mark.parametrize(
    ("number", "parameters"), [(2, ("alpha", "N")), (12, ("lambda",)), (17, ("rho",))], ids=["nct", "rtw", "tbw"]
)
def test_imperceptibility_is_printed_for_the_whole_grid(number, parameters):
    """Tables 2, 12 and 17 give the impact for each network and each combination of the method's parameters."""
    for network in CLASSIFICATION:
        cells = TABLES[number].select(network, "impact")
        for name in parameters:
            assert PARAMETERS[name] == tuple(dict.fromkeys(cell.published[name] for cell in cells))
        combinations = {tuple(cell.published[name] for name in parameters) for cell in cells}
        size = 1
        for name in parameters:
            size *= len(PARAMETERS[name])
        assert size == len(combinations) == len(cells)


def test_table_3_is_printed_for_the_other_tasks_of_table_1():
    """Each with its metrics, at alpha = 0 and N = 512."""
    other = {network: task.metrics for network, task in TASKS.items() if network not in CLASSIFICATION}
    assert other.keys() == set(TABLES[3].networks)
    for network, metrics in other.items():
        assert metrics == tuple(cell.metric for cell in TABLES[3].select(network))
    assert all(cell.published == {"alpha": 0, **BOLD["nct"]} for cell in TABLES[3].cells)


def test_table_22_repeats_what_other_tables_print_but_for_one_contradiction():
    """Its samples are cells of Tables 2, 12 and 17; ResNet8 at N = 16144, alpha = 90 is 192 here and 175 there."""
    origin = {"nct": 2, "rtw": 12, "tbw": 17}
    differing = {}
    for cell in TABLES[22].cells:
        (there,) = TABLES[origin[cell.method]].select(cell.network, "impact", cell.published)
        if there.printed != cell.printed:
            differing[cell.network, cell.published["N"]] = (there.printed, cell.printed)
    assert differing == {("resnet8", 16144): ("175", "192")}


def test_every_cell_says_what_it_is():
    """A number, of a known quantity; errors and impacts name their metric, marks do not; every network is one of Table 1."""
    for table in TABLES.values():
        for cell in table.cells:
            assert cell.number >= 0
            assert cell.quantity in ("impact", "error", "corr", "ber", "percent", "iterations", "increase")
            assert bool(cell.metric) is (cell.quantity in ("impact", "error"))
            assert cell.method == (table.method or cell.method)
            assert cell.network in TASKS or table.number == 23
            if cell.metric:
                assert cell.metric in TASKS[cell.network].metrics


def test_a_selection_holds_what_agrees_and_nothing_else():
    """One number of Table 4, and the empty selection of a strength that is not printed."""
    (cell,) = TABLES[4].select("vgg16", "error", {"alpha": 50}, 0.5)
    assert cell.printed == "0.744"
    assert TABLES[4].select(value=0.2) == ()
    assert TABLES[4].select() == TABLES[4].cells


@pytest.mark.parametrize("found", CONTRADICTIONS, ids=lambda found: found.where)
def test_a_contradiction_names_existing_tables(found):
    """And each of these tables carries it as a flag; both sentences are there."""
    assert set(found.tables) <= set(TABLES)
    assert len(set(found.tables)) == len(found.tables)
    assert all(found.contradiction in TABLES[number].flags for number in found.tables)
    assert found.contradiction.endswith(".")
    assert found.choice.endswith(".")


def test_flags_are_contradictions_and_nothing_else():
    """Each once, in the order of the list."""
    for number, table in TABLES.items():
        assert tuple(c.contradiction for c in CONTRADICTIONS if number in c.tables) == table.flags


def test_every_grid_has_its_clause():
    """What grids.py offers as a number of the standard is named in CLAUSES, and nothing that is not there."""
    offered = {name for name in grids.__all__ if name not in ("CLAUSES", "MODIFICATIONS", "Strength", "EvaluationTask")}
    assert offered == set(CLAUSES)


def test_the_first_of_five_marks_is_overwritten_by_the_others():
    """W counts the marks after the first; each mark has its Actor."""
    assert len(ROLES) == len(MARKS) == len(W) + 1
