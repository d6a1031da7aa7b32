"""Published imperceptibility: NNW-TEC V1.0, Tables 2, 3, 12 and 17, as printed."""

from collections.abc import Iterator

from onnxnnw.standard.cells import Cell, Table

__all__ = ["TABLES"]


def _nct(network: str, printed: str) -> Iterator[Cell]:
    """Rows of alpha, N, impact."""
    for row in printed.strip().splitlines():
        alpha, positions, impact = row.split()
        published = {"alpha": float(alpha), "N": float(positions)}
        yield Cell(network, "impact", impact, published, None, "classification-error", "nct")


def _other(method: str, parameter: str, quantity: str, network: str, printed: str) -> Iterator[Cell]:
    """Rows of parameter, impact, extracted mark."""
    for row in printed.strip().splitlines():
        value, impact, mark = row.split()
        published = {parameter: float(value)}
        yield Cell(network, "impact", impact, published, None, "classification-error", method)
        yield Cell(network, quantity, mark, published, method=method)


def _task(network: str, metric: str, printed: str) -> Cell:
    return Cell(network, "impact", printed, {"alpha": 0.0, "N": 512.0}, None, metric, "nct")


_TABLE_2 = (
    *_nct(
        "vgg16",
        """
        0 64 0
        0 512 6
        0 4096 4
        0 16144 14
        5 64 1
        5 512 5
        5 4096 0
        5 16144 5
        50 64 5
        50 512 3
        50 4096 5
        50 16144 2
        90 64 3
        90 512 1
        90 4096 3
        90 16144 1
        """,
    ),
    *_nct(
        "resnet8",
        """
        0 64 0
        0 512 6
        0 4096 3
        0 16144 1
        5 64 11
        5 512 6
        5 4096 8
        5 16144 3
        50 64 11
        50 512 8
        50 4096 5
        50 16144 26
        90 64 13
        90 512 2
        90 4096 30
        90 16144 175
        """,
    ),
)
_TABLE_3 = (
    _task("deeplabv3", "miou", "8.7"),
    _task("rdn", "psnr", "0"),
    _task("rdn", "ssim", "0"),
    _task("pix2pix", "psnr", "3.2"),
    _task("pix2pix", "ssim", "3.4"),
)
_TABLE_12 = (
    *_other("rtw", "lambda", "ber", "vgg16", "0.001 5 0.14\n0.01 2 0\n0.1 5 0\n1 11 0"),
    *_other("rtw", "lambda", "ber", "resnet8", "0.001 7 0.25\n0.01 5 0\n0.1 6 0\n1 7 0"),
)
_TABLE_17 = (
    *_other("tbw", "rho", "percent", "vgg16", "1 22 100\n5 12 100\n10 7 100\n50 28 100\n100 12 100"),
    *_other("tbw", "rho", "percent", "resnet8", "1 11 100\n5 15 100\n10 7 100\n50 14 100\n100 16 100"),
)


def _table(number: int, clause: str, title: str, method: str, cells: tuple[Cell, ...]) -> Table:
    return Table(number, clause, title, method, "imperceptibility", "", cells)


TABLES: tuple[Table, ...] = (
    _table(2, "7.2.5", "Imperceptibility of NCT evaluation for image classification task.", "nct", _TABLE_2),
    _table(
        3,
        "7.2.5",
        "Imperceptibility evaluation for three tasks (Semantic Segmentation, Up-Sampling, Generative)",
        "nct",
        _TABLE_3,
    ),
    _table(12, "7.3.4", "Imperceptibility of RTW evaluation for image classification task.", "rtw", _TABLE_12),
    _table(17, "7.4.4", "Imperceptibility of TBW evaluation for image classification task.", "tbw", _TABLE_17),
)
