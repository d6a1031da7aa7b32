"""The setting of a trial: trials of one setting share a row of a table; and its names in print."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from onnxnnw.report.trials import Detection, MarkSetting, Modified, Trial
from onnxnnw.standard.grids import BOLD, MODIFICATIONS, TASKS

__all__ = [
    "NO_MARK",
    "Setting",
    "by_setting",
    "method_name",
    "modification_name",
    "modifications_of",
    "network_name",
    "number",
    "published_name",
    "running",
    "setting_of",
    "symbol",
    "unit_of",
]

_METHODS = ("nct", "rtw", "tbw")
_PARAMETERS = ("alpha", "N", "added", "lambda", "rho")
_NAMES: Mapping[str, str] = {
    "vgg16": "VGG16",
    "resnet8": "ResNet8",
    "rdn": "RDN",
    "pix2pix": "pix2pix",
    "deeplabv3": "DeepLabV3",
    "nct": "NCT",
    "rtw": "RTW",
    "tbw": "TBW",
    "alpha": "α",
    "added": "λ added",
    "lambda": "λ",
    "rho": "ρ",
    "gaussian-noise": "Gaussian noise addition",
    "fine-tuning": "Fine-tuning",
    "quantization": "Quantization",
    "magnitude-pruning": "Magnitude pruning",
    "watermark-overwriting": "Watermark overwriting",
    "overwriting-in-training": "Watermark overwriting in training",
    "channel-permutation": "Channel permutation (beyond the standard)",
    "channel-rescaling": "Channel rescaling (beyond the standard)",
    "sign-flip": "Sign flips of channels (beyond the standard)",
    "dummy-channels": "Dummy channels (beyond the standard)",
    "cloned-channels": "Cloned channels (beyond the standard)",
    "corr": "corr",
    "ber": "BER",
    "percent": "%",
    "impact": "impact, %",
    "error": "error, %",
    "spearman": "Spearman",
    "pearson": "Pearson",
    "iterations": "batch iterations",
    "increase": "increase of time, %",
    "classification-error": "classification error",
    "top1": "Top-1",
    "psnr": "PSNR",
    "ssim": "SSIM",
    "ssim-windowed": "SSIM, windowed",
    "miou": "mIoU",
    "log10_p": "log10 p",
}


_FALLING = ("quantization", "float-quantization")
"""Modifications that are stronger where their value is smaller."""

Kind = TypeVar("Kind", bound=Trial)


@dataclass(frozen=True)
class Setting:
    """A network under one mark of one block; ``order`` is how it is sorted, and takes no part in comparisons."""

    network: str
    size: str
    method: str
    kind: str
    published: tuple[tuple[str, float], ...]
    block: str
    order: tuple[object, ...] = field(compare=False)

    @property
    def family(self) -> tuple[str, str]:
        """Method and kind: what a chapter is about."""
        return self.method, self.kind

    @property
    def name(self) -> str:
        """For people: network, size where it is not the reference, the published parameters."""
        published = published_name(dict(self.published))
        return ", ".join(part for part in (network_name(self.network, self.size), published) if part)

    @property
    def full_name(self) -> str:
        """The same with method and block."""
        method = method_name(*self.family) if self.method else ""
        return ", ".join(part for part in (method, self.name, self.block) if part)

    def agrees(self, network: str, method: str, published: Mapping[str, float]) -> bool:
        """Whether a printed cell is about this setting: what the cell leaves open is as the standard sets it in bold."""
        own = dict(self.published)
        wanted = {**BOLD.get(method, {}), **published}
        return (
            (self.method, self.kind) == (method, "watermark")
            and network in ("", self.network)
            and "added" not in own  # to weights, which is beyond the standard
            and published.keys() <= own.keys()
            and all(_same(own[name], value) for name, value in wanted.items() if name in own)
        )


NO_MARK = MarkSetting("", "", (), (), None, "")
"""Of trials that several marks or none belong to."""


def setting_of(trial: Trial) -> Setting:
    """The setting that a trial belongs to."""
    mark = trial.mark or NO_MARK
    published = tuple(sorted(mark.published, key=lambda pair: _place(_PARAMETERS, pair[0])))
    networks = list(TASKS)
    order = (
        _place(_METHODS, mark.method),
        mark.kind != "watermark",
        _place(networks, trial.network),
        trial.size != "reference",
        trial.size,
        published,
        mark.block,
    )
    return Setting(trial.network, trial.size, mark.method, mark.kind, published, mark.block, order)


def by_setting(trials: Iterable[Kind]) -> dict[Setting, list[Kind]]:
    """Trials under their settings, these in the order of print."""
    found: dict[Setting, list[Kind]] = {}
    for trial in trials:
        found.setdefault(setting_of(trial), []).append(trial)
    return {setting: found[setting] for setting in sorted(found, key=lambda s: s.order)}


def modifications_of(trials: Iterable[Detection]) -> dict[Modified | None, list[Detection]]:
    """Trials under their modification: none first, then in the standard's order, from weak to strong."""
    found: dict[Modified | None, list[Detection]] = {}
    for trial in trials:
        found.setdefault(trial.modification, []).append(trial)
    return {modification: found[modification] for modification in sorted(found, key=_strength)}


def _strength(modification: Modified | None) -> tuple[object, ...]:
    if modification is None:
        return ((-1, ""), (), 0.0)
    value = modification.value or 0.0
    falling = modification.name in _FALLING
    return (_place(list(MODIFICATIONS), modification.name), modification.settings, -value if falling else value)


def _place(names: Iterable[str], name: str) -> tuple[int, str]:
    known = list(names)
    return (known.index(name), "") if name in known else (len(known), name)


def _same(left: float, right: float) -> bool:
    return abs(left - right) <= 1e-9 * max(abs(left), abs(right))


def number(value: float) -> str:
    """A parameter as it is written by hand: ``0.1``, ``512``."""
    return f"{value:.0f}" if value == int(value) and abs(value) < 1e15 else f"{value:.6g}"


def network_name(network: str, size: str = "reference") -> str:
    """For people."""
    name = _NAMES.get(network, network)
    return name if size == "reference" else f"{name} ({size})"


def method_name(method: str, kind: str = "watermark") -> str:
    """For people: a fingerprint is named as one."""
    name = _NAMES.get(method, method)
    return name if kind == "watermark" else f"{name} {kind}"


def published_name(published: Mapping[str, float]) -> str:
    """``α = 90, N = 512``."""
    return ", ".join(f"{_NAMES.get(name, name)} = {number(value)}" for name, value in published.items())


def symbol(modification: str, parameter: str | None = None) -> str:
    """The letter of a modification's parameter, or its name where the standard has no letter."""
    known = MODIFICATIONS.get(modification)
    return known.symbol if known else (parameter or "value")


def modification_name(modification: Modified | str | None) -> str:
    """``Gaussian noise addition, S = 0.1``."""
    if modification is None:
        return "not modified"
    if isinstance(modification, str):
        return _NAMES.get(modification, modification.replace("-", " ").capitalize())
    further = (f"{key.replace('_', ' ')} {number(value)}" for key, value in modification.settings)
    name = ", ".join((modification_name(modification.name), *further))
    if modification.value is None:
        return name
    return f"{name}, {symbol(modification.name, modification.parameter)} = {number(modification.value)}"


def running(modification: str) -> str:
    """A modification's name within a sentence: Gauss keeps his capital."""
    name = modification_name(modification)
    return name if name.startswith("Gaussian") else name[:1].lower() + name[1:]


def unit_of(quantity: str) -> str:
    """The name of a quantity or metric for people."""
    return _NAMES.get(quantity, quantity)
