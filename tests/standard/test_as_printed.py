"""Every cell of Tables 1 to 23, read again out of the text of NNW-TEC V1.0, and the numbers that the text itself gives."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from onnxnnw.standard.grids import (
    ALPHA,
    BOLD,
    MODIFICATIONS,
    SHARED_LEVEL,
    SIGNIFICANCE,
    SSIM_C1,
    SSIM_C2,
    TASKS,
    TRIGGERS_RETRIEVED_ABOVE,
    N,
)
from onnxnnw.standard.tables import TABLES
from onnxnnw.standard.usability import INJECTION

TEXT = Path(__file__).parents[2].parent / "shared" / "standard" / "nnw-tec-v1.0.txt"
pytestmark = pytest.mark.skipif(not TEXT.exists(), reason="the standard's text is not at hand")

NETWORKS = {"VGG16": "vgg16", "ResNet8": "resnet8", "Pix2pix": "pix2pix", "pix2pix": "pix2pix", "RDN": "rdn"}
NETWORKS |= {"DeepLabV3": "deeplabv3", "DeepLab": "deeplabv3"}
METRICS = {"mIoU": "miou", "PSNR": "psnr", "SSIM": "ssim", "Classification error": "classification-error"}
NUMBER = re.compile(r"\d*\.?\d+")


@pytest.fixture(scope="module")
def text():
    """The standard without marks of bold and italic type."""
    return re.sub(r" +", " ", re.sub(r"\*|</?[bi]>", "", TEXT.read_text()))


def body(text: str, number: int) -> Iterator[list[str]]:
    """The lines of a table below its caption, each as its columns; it ends before a paragraph."""
    caption = re.compile(rf"^Table {number}\.? (.+)$", re.MULTILINE)
    *_, found = caption.finditer(text)
    started = False
    for line in text[found.end() :].splitlines():
        columns = [column.strip() for column in line.split("\t")]
        if len(columns) == 1 and started and line.strip():
            return
        started |= len(columns) > 1
        if started and line.strip():
            yield columns


def rows(text: str, number: int) -> Iterator[list[str]]:
    """Those lines that end in a number."""
    return (columns for columns in body(text, number) if NUMBER.fullmatch(columns[-1]))


@pytest.mark.parametrize("table", TABLES.values(), ids=lambda table: f"Table {table.number}")
def test_captions(table, text):
    """As printed."""
    captions = re.findall(rf"^Table {table.number}\.? (.+)$", text, re.MULTILINE)
    assert table.title == captions[-1].strip()


@pytest.mark.parametrize("table", TABLES.values(), ids=lambda table: f"Table {table.number}")
def test_a_table_stands_in_its_clause(table, text):
    """The heading before the caption that has this number is the last one that has any."""
    *_, caption = re.finditer(rf"^Table {table.number}\.? ", text, re.MULTILINE)
    headings = re.findall(r"^#+ (\d[\d.]*) ", text[: caption.start()], re.MULTILINE)
    assert table.clause == headings[-1].rstrip(".")


@pytest.mark.parametrize(
    "table", [t for t in TABLES.values() if t.property == "robustness"], ids=lambda table: f"Table {table.number}"
)
def test_robustness(table, text):
    """Tables 4 to 11, 13 to 16 and 18 to 21: strength, then mark and error for each column, column heads included."""
    heads = " ".join(" ".join(columns) for columns in body(text, table.number) if not NUMBER.fullmatch(columns[-1]))
    assert [NETWORKS[name] for name in re.findall("VGG16|ResNet8", heads)] == list(table.networks)
    marks = {"corr": "corr", "BER": "ber", "%": "percent"}
    names = [marks.get(head, head) for head in re.findall(r"corr|error|BER|%", heads)]
    if table.method == "nct":
        assert [int(alpha) for alpha in re.findall(r"\\alpha = (\d+)", heads)] == list(ALPHA)
    assert heads.split()[0].strip("$") == MODIFICATIONS[table.modification].symbol
    expected = [
        (float(strength), name, printed)
        for strength, *printed_row in rows(text, table.number)
        for name, printed in zip(names, printed_row, strict=True)
    ]
    assert expected == [(cell.value, cell.quantity, cell.printed) for cell in table.cells]


@pytest.mark.parametrize("number", [2, 12, 17])
def test_imperceptibility(number, text):
    """Model, the method's parameters, impact, and for RTW and TBW the extracted mark."""
    table = TABLES[number]
    names = tuple(table.cells[0].published)
    expected, network = [], ""
    for columns in rows(text, number):
        network = NETWORKS.get(columns[0], network)
        numbers = [column for column in columns if NUMBER.fullmatch(column)]
        published = dict(zip(names, map(float, numbers), strict=False))
        expected += [(network, published, printed) for printed in numbers[len(names) :]]
    assert expected == [(cell.network, cell.published, cell.printed) for cell in table.cells]


@pytest.mark.parametrize(("number", "method", "symbol"), [(12, "rtw", "lambda"), (17, "tbw", "rho")])
def test_bold_type_shows_what_robustness_is_evaluated_with(number, method, symbol):
    """Tables 12 and 17 set .01 and 10 in bold for both networks."""
    printed = TEXT.read_text().split(f"Table {number}. ")[-1].split("\n\n#")[0]
    bold = {float(number) for number in re.findall(r"<b>([\d.]+)</b>", printed)}
    assert {symbol: bold} == {name: {value} for name, value in BOLD[method].items()}


def test_table_3(text):
    """Three networks with the metrics of their tasks."""
    expected = [
        (NETWORKS[columns[1]], METRICS[metric], printed)
        for columns in body(text, 3)
        for metric, printed in re.findall(r"(mIoU|PSNR|SSIM) = ([\d.]+)", " ".join(columns))
    ]
    assert expected == [(cell.network, cell.metric, cell.printed) for cell in TABLES[3].cells]


def test_table_22(text):
    """Samples of imperceptibility: method, model and parameters are printed once for several rows."""
    symbols = {r"\alpha": "alpha", "N": "N", r"\lambda": "lambda", r"\text{Rho}": "rho"}
    expected, method, network = [], "", ""
    for columns in rows(text, 22):
        for column in columns[:-2]:
            method = column.lower() if column in ("NCT", "RTW", "TBW") else method
            network = NETWORKS.get(column, network)
        assert columns[-2].startswith("$")
        pairs = (part.split("=") for part in columns[-2].strip("$").split(","))
        published = {symbols[name.strip()]: float(value) for name, value in pairs}
        expected.append((method, network, published, columns[-1]))
    assert expected == [(cell.method, cell.network, cell.published, cell.printed) for cell in TABLES[22].cells]


def test_table_23(text):
    """Batch iterations until the mark is inserted, and how much longer each takes."""
    expected = [
        (columns[0].lower(), quantity, printed)
        for columns in rows(text, 23)
        for quantity, printed in zip(("iterations", "increase"), columns[1:], strict=True)
    ]
    assert expected == [(cell.method, cell.quantity, cell.printed) for cell in TABLES[23].cells]


def test_table_1(text):
    """Networks, data sets and performance measures."""
    lines = list(body(text, 1))
    datasets = lines[1][2:]
    expected = {}
    for columns in lines[2:]:
        measures = columns[-len(datasets) :]
        ((dataset, measure),) = [pair for pair in zip(datasets, measures, strict=True) if pair[1] != "-"]
        metrics = tuple(METRICS[name] for name in measure.split(" and "))
        expected[NETWORKS[columns[-len(datasets) - 1]]] = (dataset, metrics)
    assert expected == {network: (task.dataset, task.metrics) for network, task in TASKS.items()}


@pytest.mark.parametrize("symbol", ["S", "E", "B", "P"])
def test_strengths_are_those_of_the_text(symbol, text):
    """The set of S, and the limits of E, B and P, in each clause on robustness."""
    (values,) = [strength.values for strength in MODIFICATIONS.values() if strength.symbol == symbol]
    if symbol == "S":
        found = re.findall(r"S \\in \\\{([^}]*)\\\}", text)
        assert [sorted(values)] * 3 == [sorted(float(n) for n in one.split(",")) for one in found]
    else:
        found = re.findall(rf"\${symbol} \\in \[(\d+),\s?(\d+)\]", text)
        assert [(min(values), max(values))] * 3 == [(int(low), int(high)) for low, high in found]


def test_thresholds_are_those_of_the_text(text):
    """0.05, 40 and the line of Figure 4; N = 512; the constants of SSIM."""
    assert f"with a {SIGNIFICANCE} significance level" in text
    assert f"retrieved if % is superior to {TRIGGERS_RETRIEVED_ABOVE}" in text
    assert f"The $y={SHARED_LEVEL}$ corresponds to the threshold of detection" in text
    assert f"$N$ is fixed to {BOLD['nct']['N']}" in text
    assert BOLD["nct"]["N"] in N
    for name, value in (("C_1", SSIM_C1), ("C_2", SSIM_C2)):
        assert f"<math>{name} = {value}</math>" in text


@pytest.mark.parametrize("method", INJECTION)
def test_injection_costs_what_the_text_says(method, text):
    """7.3.6 and 7.4.6."""
    clause = {"rtw": "7.3.6", "tbw": "7.4.6"}[method]
    (printed,) = re.findall(rf"^#+ {re.escape(clause)} .*?(?=^#)", text, re.MULTILINE | re.DOTALL)
    iterations, increase = INJECTION[method]
    assert f"inserted after {iterations} batch iterations" in printed
    assert f"increased by {increase}%" in printed
