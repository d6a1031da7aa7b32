"""Published robustness: NNW-TEC V1.0, Tables 4 to 11, 13 to 16 and 18 to 21, row by row as printed.

VGG16's columns of Table 21 are exchanged in print; they stand here under the headings that they are printed under.
"""

from onnxnnw.standard.cells import Table, robustness_cells
from onnxnnw.standard.grids import ALPHA, BOLD

__all__ = ["TABLES"]

_NAMES = {"vgg16": "VGG16", "resnet8": "ResNet8"}


def _nct(number: int, network: str, modification: str, against: str, printed: str) -> Table:
    """A table of one network: (corr, error) for each alpha."""
    columns = [(network, {"alpha": float(alpha), **BOLD["nct"]}) for alpha in ALPHA]
    title = f"Robustness of NCT against {against} for the {_NAMES[network]} model."
    cells = tuple(robustness_cells("nct", "corr", columns, printed))
    return Table(number, "7.2.6", title, "nct", "robustness", modification, cells)


def _other(number: int, method: str, modification: str, against: str, printed: str) -> Table:
    """A table of both networks: (BER or %, error) for VGG16, then for ResNet8."""
    columns = [(network, BOLD[method]) for network in _NAMES]
    quantity, clause = {"rtw": ("ber", "7.3.5"), "tbw": ("percent", "7.4.5")}[method]
    title = f"Robustness of {method.upper()} against {against} for the VGG16 model and ResNet8."
    cells = tuple(robustness_cells(method, quantity, columns, printed))
    return Table(number, clause, title, method, "robustness", modification, cells)


TABLES: tuple[Table, ...] = (
    _nct(
        4,
        "vgg16",
        "gaussian-noise",
        "Gaussian noise addition",
        """
        .001 0.999 0.1  0.999 1   0.999 0.003 0.999 0.8
        .005 0.999 0.8  0.999 1   0.999 0.005 0.999 0
        .01  0.999 0.7  0.999 0.7 0.999 0.009 0.999 0.6
        .05  0.999 0.7  0.999 1.2 0.999 0.029 0.999 0.9
        .1   0.999 0.9  0.999 1.5 0.999 0.029 0.999 2.3
        .5   0.999 85.3 0.999 100 0.999 0.744 0.999 81.2
        1    0.997 513  0.996 530 0.998 6.571 0.998 600
        """,
    ),
    _nct(
        5,
        "resnet8",
        "gaussian-noise",
        "Gaussian noise addition",
        """
        .001 0.712 0   0.821 0.1 0.982 0    0.999 0.1
        .005 0.712 1.3 0.821 0   0.982 0    0.999 0.2
        .01  0.712 0.6 0.820 0.3 0.982 0    0.999 0.8
        .05  0.710 7.1 0.824 2   0.982 01.7 0.999 1
        .1   0.711 10  0.819 7.5 0.981 11.4 0.998 8.5
        .5   0.681 263 0.759 247 0.949 47.5 0.979 204
        1    0.625 364 0.610 402 0.871 63.5 0.887 355
        """,
    ),
    _nct(
        6,
        "vgg16",
        "fine-tuning",
        "fine-tuning",
        """
        1  0.998 0 0.999 0   0.999 0 0.999 0
        3  0.998 0 0.999 0   0.999 0 0.999 0
        5  0.998 0 0.999 0   0.999 0 0.999 0
        7  0.998 0 0.999 0   0.999 0 0.999 0.1
        10 0.998 0 0.999 0.1 0.999 0 0.999 0.1
        """,
    ),
    _nct(
        7,
        "resnet8",
        "fine-tuning",
        "fine-tuning",
        """
        1  0.713 0 0.821 0   0.983 0 0.999 0
        3  0.713 0 0.821 0   0.982 0 0.999 0
        5  0.713 0 0.821 0   0.982 0 0.999 0
        7  0.713 0 0.821 0.1 0.982 0 0.999 0
        10 0.712 0 0.821 0.1 0.982 0 0.999 0.1
        """,
    ),
    _nct(
        8,
        "vgg16",
        "quantization",
        "quantization",
        """
        16 0.998 0   0.999 0   0.999 2   0.999 0
        8  0.998 0   0.999 1   0.999 1   0.999 0
        6  0.998 1   0.999 1   0.999 1   0.999 1
        4  0.993 841 0.993 734 0.994 814 0.99  765
        2  0.883 841 0.880 734 0.882 814 0.882 765
        """,
    ),
    _nct(
        9,
        "resnet8",
        "quantization",
        "quantization",
        """
        16 0.748 0   0.716 0   0.992 0   0.999 0
        8  0.748 0   0.716 1   0.992 0   0.999 0
        6  0.747 2   0.718 1   0.993 0   0.998 2
        4  0.744 34  0.709 23  0.987 8   0.993 41
        2  0.644 341 0.643 317 0.863 161 0.876 281
        """,
    ),
    _nct(
        10,
        "vgg16",
        "magnitude-pruning",
        "magnitude pruning",
        """
        10 0.998 0   0.996 0   0.999 0   0.999 0
        20 0.998 0   0.999 0   0.999 0   0.999 0
        50 0.998 12  0.999 9   0.999 11  0.999 9
        80 0.998 586 0.999 350 0.999 525 0.999 288
        90 0.998 841 0.999 730 0.999 814 0.999 764
        """,
    ),
    _nct(
        11,
        "resnet8",
        "magnitude-pruning",
        "magnitude pruning",
        """
        10 0.748 0   0.716 1   0.992 0   0.999 0
        20 0.748 4   0.716 2   0.990 5   0.998 2
        50 0.750 47  0.714 100 0.985 125 0.993 94
        80 0.732 272 0.681 315 0.964 313 0.978 266
        90 0.732 327 0.654 337 0.940 346 0.964 294
        """,
    ),
    _other(
        13,
        "rtw",
        "gaussian-noise",
        "Gaussian noise addition",
        """
        .001 0 0   0 0
        .005 0 0   0 0.3
        .01  0 0   0 0.1
        .05  0 0.1 0 3
        .1   0 1.7 0 19
        .5   0 67  0 240
        1    0 407 0 354
        """,
    ),
    _other(
        14,
        "rtw",
        "fine-tuning",
        "fine-tuning",
        """
        1  0 0 0 0
        3  0 0 0 0
        5  0 0 0 0
        7  0 0 0 0
        10 0 0 0 0
        """,
    ),
    _other(
        15,
        "rtw",
        "quantization",
        "quantization",
        """
        16 0 0.4 0 0
        8  0 0.7 0 0
        6  0 1.3 0 1.7
        4  0 9.4 0 13
        2  0 765 0 345
        """,
    ),
    _other(
        16,
        "rtw",
        "magnitude-pruning",
        "magnitude pruning",
        """
        10 0 0    0 0
        20 0 0.5  0 3.1
        50 0 10.9 0 73
        80 0 476  0 335
        90 0 763  0 372
        """,
    ),
    _other(
        18,
        "tbw",
        "gaussian-noise",
        "Gaussian noise addition",
        """
        .001 100 0   100 0
        .005 100 0   100 0.3
        .01  100 0.6 100 0.5
        .05  100 0.2 92  5.8
        .1   100 0.6 77  13
        .5   66  71  10  280
        1    9   597 8   264
        """,
    ),
    _other(
        19,
        "tbw",
        "fine-tuning",
        "fine-tuning",
        """
        1  100 0 100 0
        3  100 0 100 0
        5  100 0 100 0
        7  100 0 100 0
        10 100 0 100 0
        """,
    ),
    _other(
        20,
        "tbw",
        "quantization",
        "quantization",
        """
        16 100 0   100 1
        8  100 0.4 100 1
        6  100 1.1 100 4
        4  99  10  54  39
        2  12  683 12  249
        """,
    ),
    _other(
        21,
        "tbw",
        "magnitude-pruning",
        "magnitude pruning",
        """
        10 0   100 99 1
        20 2   100 95 16
        50 15  93  30 161
        80 600 14  13 268
        90 682 14  10 273
        """,
    ),
)
