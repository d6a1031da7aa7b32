"""Published samples of imperceptibility and computational cost: NNW-TEC V1.0, Tables 22 and 23, and the text on cost."""

from collections.abc import Mapping

from onnxnnw.standard.cells import Cell, Table

__all__ = ["INJECTION", "TABLES"]


def _sample(method: str, network: str, published: Mapping[str, float], printed: str) -> Cell:
    return Cell(network, "impact", printed, published, None, "classification-error", method)


def _cost(method: str, iterations: str, increase: str) -> tuple[Cell, Cell]:
    """Average over networks, none of which is named."""
    return (
        Cell("", "iterations", iterations, {}, method=method),
        Cell("", "increase", increase, {}, method=method),
    )


_EARLY, _LATE = {"alpha": 0.0, "N": 64.0}, {"alpha": 90.0, "N": 16144.0}

TABLES: tuple[Table, ...] = (
    Table(
        22,
        "8",
        "Samples of Imperceptibility results.",
        "",
        "imperceptibility",
        "",
        (
            _sample("nct", "vgg16", _EARLY, "0"),
            _sample("nct", "vgg16", _LATE, "1"),
            _sample("nct", "resnet8", _EARLY, "0"),
            _sample("nct", "resnet8", _LATE, "192"),
            _sample("rtw", "vgg16", {"lambda": 0.01}, "2"),
            _sample("rtw", "resnet8", {"lambda": 0.01}, "5"),
            _sample("tbw", "vgg16", {"rho": 10.0}, "7"),
            _sample("tbw", "resnet8", {"rho": 10.0}, "7"),
        ),
    ),
    Table(
        23,
        "8",
        "Samples of Computational Cost results.",
        "",
        "computational cost",
        "",
        (*_cost("nct", "0", "0"), *_cost("rtw", "500", "16.64"), *_cost("tbw", "504", "62.69")),
    ),
)

INJECTION: Mapping[str, tuple[str, str]] = {"rtw": ("500", "16.67"), "tbw": ("504", "62.69")}
"""Batch iterations until inserted and increase of the training time in %, as the text has them [7.3.6, 7.4.6]."""
