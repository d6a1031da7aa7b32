"""The evaluation grids of NNW-TEC V1.0: parameters of methods, strengths of modifications, networks and thresholds."""

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = [
    "ALPHA",
    "BOLD",
    "CLAUSES",
    "LAMBDA",
    "MARKS",
    "MODIFICATIONS",
    "RHO",
    "ROLES",
    "SHARED_LEVEL",
    "SIGNIFICANCE",
    "SSIM_C1",
    "SSIM_C2",
    "TASKS",
    "TRIGGERS_RETRIEVED_ABOVE",
    "B",
    "E",
    "EvaluationTask",
    "N",
    "P",
    "S",
    "Strength",
    "W",
]

ALPHA: tuple[int, ...] = (0, 5, 50, 90)
"""Epoch of the training at which NCT's watermark is inserted [7.2.4; Table 2]."""

N: tuple[int, ...] = (64, 512, 4096, 16144)
"""Weights in NCT's mark [7.2.4; Table 2]."""

LAMBDA: tuple[float, ...] = (0.001, 0.01, 0.1, 1.0)
"""What RTW's Regularization Term is multiplied by [7.3.2; Table 12]."""

RHO: tuple[int, ...] = (1, 5, 10, 50, 100)
"""TBW's parameter, which the standard does not define; read as trigger images joined to each batch [7.4.3; Table 17]."""

S: tuple[float, ...] = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0)
"""Gaussian noise: its deviation over that of the layer's Weights [7.2.6, 7.3.5, 7.4.5; NNW-NNT, Modification table]."""

E: tuple[int, ...] = (1, 3, 5, 7, 10)
"""Fine-tuning: further epochs, E in [1, 10] [7.2.6, 7.3.5, 7.4.5]; these are printed."""

B: tuple[int, ...] = (16, 8, 6, 4, 2)
"""Quantization: bits, B in [2, 16] [7.2.6, 7.3.5, 7.4.5]; these are printed."""

P: tuple[int, ...] = (10, 20, 50, 80, 90)
"""Pruning: percentage of the Weights set to zero, P in [10, 90] [7.2.6, 7.3.5, 7.4.5]; these are printed."""

ROLES: tuple[str, ...] = ("Architect", "Trainer", "Tracker", "Distributor", "Generic user")
"""The Actors who may own a mark [5.2.2], in the order of the five marks that can be associated with them [7.2.6]."""

MARKS: tuple[int, ...] = (1, 2, 3, 4, 5)
"""First to fifth mark of Watermark Overwriting and Figure 4 [7.2.6]."""

W: tuple[int, ...] = (1, 2, 3, 4)
"""Watermark Overwriting: marks inserted over the first [7.2.6, "the last 4 marks"]."""

CLAUSES: Mapping[str, str] = {
    "ALPHA": "7.2.4",
    "N": "7.2.4",
    "LAMBDA": "7.3.2",
    "RHO": "7.4.3",
    "S": "7.2.6",
    "E": "7.2.6",
    "B": "7.2.6",
    "P": "7.2.6",
    "ROLES": "7.2.6",
    "MARKS": "7.2.6",
    "W": "7.2.6",
    "BOLD": "7.2.6, 7.3.3, 7.4.5",
    "SIGNIFICANCE": "3",
    "SSIM_C1": "3",
    "SSIM_C2": "3",
    "SHARED_LEVEL": "7.2.6",
    "TRIGGERS_RETRIEVED_ABOVE": "7.4.4",
    "TASKS": "6.1",
}
"""Where each of these numbers stands first."""


@dataclass(frozen=True)
class Strength:
    """How a modification's strength is called: by the standard, and as a parameter of the package's modification."""

    symbol: str
    parameter: str
    values: tuple[float, ...]


MODIFICATIONS: Mapping[str, Strength] = {
    "gaussian-noise": Strength("S", "ratio", S),
    "fine-tuning": Strength("E", "epochs", E),
    "quantization": Strength("B", "bits", B),
    "magnitude-pruning": Strength("P", "percentage", P),
    "watermark-overwriting": Strength("W", "marks", W),
}
"""The standard's five Modifications by the package's names [3; 7.2.6]; Gaussian noise is NNW-NNT's."""

BOLD: Mapping[str, Mapping[str, float]] = {"nct": {"N": 512}, "rtw": {"lambda": 0.01}, "tbw": {"rho": 10}}
"""What robustness is evaluated with [7.2.6; 7.3.3 and 7.3.5; 7.4.5]; set in bold type in Tables 12 and 17."""

SIGNIFICANCE = 0.05
"""Level at which Spearman's correlation says that an NCT mark is retrieved [3, "Rho Spearman Value"]."""

SHARED_LEVEL = 0.018
"""The line of Figure 4, "the threshold of detection at 5 % significance level" [7.2.6]; it fits none of the printed N."""

SSIM_C1, SSIM_C2 = 6.5025, 58.5225
"""Constants of the structural similarity, for values of 0 to 255 [3, "SSIM"]."""

TRIGGERS_RETRIEVED_ABOVE = 40
"""Percentage of the triggers above which a TBW mark counts as retrieved [7.4.4]."""


@dataclass(frozen=True)
class EvaluationTask:
    """What a network is evaluated with: a data set by the standard's name, metrics by the package's."""

    dataset: str
    metrics: tuple[str, ...]


TASKS: Mapping[str, EvaluationTask] = {
    "vgg16": EvaluationTask("CIFAR10", ("classification-error",)),
    "resnet8": EvaluationTask("CIFAR10", ("classification-error",)),
    "pix2pix": EvaluationTask("Cityscapes", ("psnr", "ssim")),
    "rdn": EvaluationTask("Div2K", ("psnr", "ssim")),
    "deeplabv3": EvaluationTask("Cityscapes", ("miou",)),
}
"""Table 1: networks, data sets and performance measures [6.1]."""
