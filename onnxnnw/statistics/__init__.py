"""The probabilities behind a verdict: numerical functions only; all p-values as log10.

Derivations and calibration: docs/reference/statistics.md. Nothing here imports scipy, because the fast path of ``verify`` lives
from starting quickly; the tests compare with scipy.
"""

from onnxnnw.statistics.added import HostCancelled, associate_added, associate_signs
from onnxnnw.statistics.association import (
    Association,
    Correlations,
    associate_fingerprint,
    associate_watermark,
    beside_ancestor,
    correlations,
    correlations_of_groups,
    pearson,
    standardise,
)
from onnxnnw.statistics.sequential import SequentialTest
from onnxnnw.statistics.tails import (
    least_reads,
    log10_binomial_tail,
    log10_normal_tail,
    log10_of_either,
    refuse_impossible_rate,
    required_reads,
    required_symbols,
)

__all__ = [
    "Association",
    "Correlations",
    "HostCancelled",
    "SequentialTest",
    "associate_added",
    "associate_fingerprint",
    "associate_signs",
    "associate_watermark",
    "beside_ancestor",
    "correlations",
    "correlations_of_groups",
    "least_reads",
    "log10_binomial_tail",
    "log10_normal_tail",
    "log10_of_either",
    "pearson",
    "refuse_impossible_rate",
    "required_reads",
    "required_symbols",
    "standardise",
]
