"""Published robustness of the three methods: NNW-TEC V1.0, Tables 4 to 11, 13 to 16 and 18 to 21, as printed.

Each entry is (mark, error) as printed, by the modification's parameter. ``mark`` is the correlation (NCT), the BER (RTW) or
the share of triggers in percent (TBW); ``error`` the relative error in percent. NCT's are those of alpha = 90. VGG16's columns
of Table 21 are exchanged in print from P = 10 on; they stand here as printed.
"""

from collections.abc import Mapping

__all__ = ["PUBLISHED", "TABLES"]

Column = Mapping[float, tuple[str, str]]

TABLES: Mapping[tuple[str, str], Mapping[str, int]] = {
    ("nct", "gaussian-noise"): {"vgg16": 4, "resnet8": 5},
    ("nct", "fine-tuning"): {"vgg16": 6, "resnet8": 7},
    ("nct", "quantization"): {"vgg16": 8, "resnet8": 9},
    ("nct", "magnitude-pruning"): {"vgg16": 10, "resnet8": 11},
    ("rtw", "gaussian-noise"): {"vgg16": 13, "resnet8": 13},
    ("rtw", "fine-tuning"): {"vgg16": 14, "resnet8": 14},
    ("rtw", "quantization"): {"vgg16": 15, "resnet8": 15},
    ("rtw", "magnitude-pruning"): {"vgg16": 16, "resnet8": 16},
    ("tbw", "gaussian-noise"): {"vgg16": 18, "resnet8": 18},
    ("tbw", "fine-tuning"): {"vgg16": 19, "resnet8": 19},
    ("tbw", "quantization"): {"vgg16": 20, "resnet8": 20},
    ("tbw", "magnitude-pruning"): {"vgg16": 21, "resnet8": 21},
}
"""Number of the table by method, modification and network."""


def _column(parameters: str, marks: str, errors: str) -> Column:
    return {
        float(parameter): (mark, error)
        for parameter, mark, error in zip(parameters.split(), marks.split(), errors.split(), strict=True)
    }


_S, _E, _B, _P = ".001 .005 .01 .05 .1 .5 1", "1 3 5 7 10", "16 8 6 4 2", "10 20 50 80 90"

PUBLISHED: Mapping[tuple[str, str, str], Column] = {
    ("nct", "vgg16", "gaussian-noise"): _column(
        _S, "0.999 0.999 0.999 0.999 0.999 0.999 0.998", "0.8 0 0.6 0.9 2.3 81.2 600"
    ),
    ("nct", "resnet8", "gaussian-noise"): _column(
        _S, "0.999 0.999 0.999 0.999 0.998 0.979 0.887", "0.1 0.2 0.8 1 8.5 204 355"
    ),
    ("nct", "vgg16", "fine-tuning"): _column(_E, "0.999 0.999 0.999 0.999 0.999", "0 0 0 0.1 0.1"),
    ("nct", "resnet8", "fine-tuning"): _column(_E, "0.999 0.999 0.999 0.999 0.999", "0 0 0 0 0.1"),
    ("nct", "vgg16", "quantization"): _column(_B, "0.999 0.999 0.999 0.99 0.882", "0 0 1 765 765"),
    ("nct", "resnet8", "quantization"): _column(_B, "0.999 0.999 0.998 0.993 0.876", "0 0 2 41 281"),
    ("nct", "vgg16", "magnitude-pruning"): _column(_P, "0.999 0.999 0.999 0.999 0.999", "0 0 9 288 764"),
    ("nct", "resnet8", "magnitude-pruning"): _column(_P, "0.999 0.998 0.993 0.978 0.964", "0 2 94 266 294"),
    ("rtw", "vgg16", "gaussian-noise"): _column(_S, "0 0 0 0 0 0 0", "0 0 0 0.1 1.7 67 407"),
    ("rtw", "resnet8", "gaussian-noise"): _column(_S, "0 0 0 0 0 0 0", "0 0.3 0.1 3 19 240 354"),
    ("rtw", "vgg16", "fine-tuning"): _column(_E, "0 0 0 0 0", "0 0 0 0 0"),
    ("rtw", "resnet8", "fine-tuning"): _column(_E, "0 0 0 0 0", "0 0 0 0 0"),
    ("rtw", "vgg16", "quantization"): _column(_B, "0 0 0 0 0", "0.4 0.7 1.3 9.4 765"),
    ("rtw", "resnet8", "quantization"): _column(_B, "0 0 0 0 0", "0 0 1.7 13 345"),
    ("rtw", "vgg16", "magnitude-pruning"): _column(_P, "0 0 0 0 0", "0 0.5 10.9 476 763"),
    ("rtw", "resnet8", "magnitude-pruning"): _column(_P, "0 0 0 0 0", "0 3.1 73 335 372"),
    ("tbw", "vgg16", "gaussian-noise"): _column(_S, "100 100 100 100 100 66 9", "0 0 0.6 0.2 0.6 71 597"),
    ("tbw", "resnet8", "gaussian-noise"): _column(_S, "100 100 100 92 77 10 8", "0 0.3 0.5 5.8 13 280 264"),
    ("tbw", "vgg16", "fine-tuning"): _column(_E, "100 100 100 100 100", "0 0 0 0 0"),
    ("tbw", "resnet8", "fine-tuning"): _column(_E, "100 100 100 100 100", "0 0 0 0 0"),
    ("tbw", "vgg16", "quantization"): _column(_B, "100 100 100 99 12", "0 0.4 1.1 10 683"),
    ("tbw", "resnet8", "quantization"): _column(_B, "100 100 100 54 12", "1 1 4 39 249"),
    ("tbw", "vgg16", "magnitude-pruning"): _column(_P, "0 2 15 600 682", "100 100 93 14 14"),
    ("tbw", "resnet8", "magnitude-pruning"): _column(_P, "99 95 30 13 10", "1 16 161 268 273"),
}
