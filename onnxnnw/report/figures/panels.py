"""The figures of a report: each panel is a title, a caption and the function that draws it into an ``ax``."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING

from onnxnnw.report import counts
from onnxnnw.report.figures import plots as figures
from onnxnnw.report.figures.plots import Curve, Point
from onnxnnw.report.results import Results
from onnxnnw.report.settings import (
    Setting,
    by_setting,
    method_name,
    modifications_of,
    network_name,
    running,
    symbol,
    unit_of,
)
from onnxnnw.report.tables.measures import metrics_of, values_of
from onnxnnw.report.trials import Detection, Scaling, Sharing, UnicityTrial
from onnxnnw.report.units import TRAININGS
from onnxnnw.standard.tables import TABLES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["MAX_PANELS", "Panel", "ReportFigure", "affordable", "all_figures"]

MAX_PANELS = 400
"""Drawings on one page: each takes a fifth of a second and some 15 KB."""

_PREFERRED = ("pearson", "ber", "percent")
"""What the standard's tables print of a mark, by the names of the verdicts."""
_MARKS = {"pearson": "corr (Pearson)", "percent": "triggers answered as recorded, %"}
_PRINTED = {"pearson": "corr", "ber": "ber", "percent": "percent"}


@dataclass(frozen=True)
class Panel:
    """One drawing."""

    id: str
    title: str
    draw: "Callable[[Axes], Axes]"


@dataclass(frozen=True)
class ReportFigure:
    """Panels that stand side by side under one caption, before the tables of the same topic."""

    id: str
    chapter: str
    topic: str
    caption: str
    panels: tuple[Panel, ...]


def all_figures(results: Results) -> tuple[ReportFigure, ...]:
    """All figures for which there are trials."""
    detections = [trial for trial in results.of(Detection) if trial.key is None]
    return (
        *_trade(detections),
        *_robustness([trial for trial in detections if trial.truth]),
        *_sharing(results.of(Sharing)),
        *_scaling(results.of(Scaling)),
        *_unicity(results.of(UnicityTrial)),
        *_null(results.of(Detection)),
        *_frontier([trial for trial in detections if trial.truth]),
    )


def affordable(drawn: Sequence[ReportFigure], most: int = MAX_PANELS) -> tuple[tuple[ReportFigure, ...], int]:
    """The first figures with at most so many panels together, and the number of panels left out."""
    kept, panels = [], 0
    for figure in drawn:
        if panels + len(figure.panels) > most:
            break
        kept.append(figure)
        panels += len(figure.panels)
    return tuple(kept), sum(len(figure.panels) for figure in drawn) - panels


def _robustness(marked: Sequence[Detection]) -> Iterable[ReportFigure]:
    for number, ((method, kind), inner) in enumerate(groupby(by_setting(marked).items(), key=lambda i: i[0].family)):
        settings = list(inner)
        every = [trial for _, trials in settings for trial in trials]
        for place, name in enumerate(dict.fromkeys(at.name for at in modifications_of(every) if at is not None)):
            panels = _robustness_panels(f"robustness-{number}-{place}", name, settings)
            if panels:
                caption = (
                    f"Robustness of {method_name(method, kind)} against {running(name)}. Filled markers: "
                    "measured, with 95 % confidence limits of the mean; hollow and dashed: published."
                )
                yield ReportFigure(f"robustness-{number}-{place}", f"{method} {kind}", name, caption, panels)


def _robustness_panels(
    name_id: str, modification: str, settings: Sequence[tuple[Setting, Sequence[Detection]]]
) -> tuple[Panel, ...]:
    found: list[Panel] = []
    for network, inner in groupby(settings, key=lambda item: (item[0].network, item[0].size)):
        own = {
            setting: [
                t
                for t in trials
                if t.modification and (t.modification.name, t.modification.settings) == (modification, ())
            ]
            for setting, trials in inner
        }
        own = {setting: trials for setting, trials in own.items() if trials}
        every = [trial for trials in own.values() for trial in trials]
        at = [m for m in modifications_of(every) if m is not None and m.value is not None]
        values = list(dict.fromkeys(m.value for m in at if m.value is not None))
        if len(values) < 2:
            continue
        names = values_of(every)
        mark = next((value for value in _PREFERRED if value in names), names[0] if names else "")
        quantities = [(mark, False)] if mark else []
        quantities += [(metric, True) for metric in metrics_of(every)[:1]]
        for quantity, is_error in quantities:
            curves = [_curve(setting, trials, modification, quantity, is_error) for setting, trials in own.items()]
            shown = f"error ({unit_of(quantity)}), %" if is_error else _MARKS.get(quantity, unit_of(quantity))
            draw = partial(
                figures.robustness,
                curves=curves,
                values=values,
                parameter=symbol(modification, at[0].parameter),
                quantity=shown,
            )
            found.append(Panel(f"{name_id}-{len(found)}", f"{network_name(*network)}: {shown}", draw))
    return tuple(found)


def _curve(setting: Setting, trials: Sequence[Detection], modification: str, quantity: str, is_error: bool) -> Curve:
    measured = {}
    for at, chosen in modifications_of(trials).items():
        if is_error:
            mean = counts.mean(chosen, lambda trial: counts.error(trial, quantity), TRAININGS)
        else:
            mean = counts.mean(chosen, lambda trial: trial.verdict.values.get(quantity))
        if at is not None and at.value is not None and mean is not None:
            measured[at.value] = mean
    wanted = "error" if is_error else _PRINTED.get(quantity, "")
    published = {
        cell.value: float(cell.printed)
        for table in TABLES.values()
        if (table.property, table.modification) == ("robustness", modification)
        for cell in table.cells
        if cell.quantity == wanted
        and cell.value is not None
        and setting.agrees(cell.network, cell.method, cell.published)
    }
    return Curve(_short(setting), measured, published)


def _short(setting: Setting) -> str:
    """A name for a legend: the network stands in the panel's title."""
    name = setting.name.removeprefix(network_name(setting.network, setting.size)).lstrip(", ")
    return name or setting.block or network_name(setting.network, setting.size)


def _sharing(trials: Sequence[Sharing]) -> Iterable[ReportFigure]:
    panels = []
    settings = by_setting(trials)
    several = len({(setting.network, setting.size) for setting in settings}) > 1
    asked = [
        (number, setting, *one)
        for number, (setting, of_setting) in enumerate(settings.items())
        for one in sorted({(trial.N, trial.at_epoch_0) for trial in of_setting})
    ]
    for place, setting, N, early in asked:
        own = sorted(
            (trial for trial in settings[setting] if (trial.N, trial.at_epoch_0) == (N, early)),
            key=lambda t: (t.number, t.share),
        )
        marks = {}
        for (number, role), inner in groupby(own, key=lambda t: (t.number, t.role)):
            points = {}
            for share, same in groupby(inner, key=lambda t: t.share):
                mean = counts.mean(same, lambda trial: trial.values.get("spearman"))
                if mean is not None:
                    points[share] = mean.value
            marks[f"mark {number}{f', {role}' if role else ''}"] = points
        name, title = (f"figure-4-{N}-epoch-0", f"N = {N}, at epoch 0") if early else (f"figure-4-{N}", f"N = {N}")
        if len(settings) > 1:
            of = network_name(setting.network, setting.size) if several else ""
            name, title = f"{name}-{place}", ", ".join(text for text in (title, of, setting.block) if text)
        panels.append(Panel(name, title, partial(figures.sharing, marks=marks, N=N)))
    if panels:
        caption = (
            "Figure 4. Correlation of a mark against the share of its Weights that another mark replaced. Marks are written into "
            "the trained network, or, where epoch 0 is said, before the training, as in the standard. The solid line is the "
            "5 % threshold (two-sided, Spearman) of the N used; the dotted one is the 0.018 that the standard draws and that fits "
            "none of its N."
        )
        yield ReportFigure("plate-figure-4", "nct watermark", "sharing", caption, tuple(panels))


def _scaling(trials: Sequence[Scaling]) -> Iterable[ReportFigure]:
    panels = []
    for number, (setting, own) in enumerate(by_setting(trials).items()):
        series = []
        for name in ("insertion_seconds", "detection_seconds"):
            means = {
                N: counts.mean([trial for trial in own if trial.N == N], partial(_cost, name=name), TRAININGS)
                for N in sorted({t.N for t in own})
            }
            series.append({N: mean for N, mean in means.items() if mean is not None and mean.value > 0})
        draw = partial(figures.scaling, insertion=series[0], detection=series[1])
        panels.append(Panel(f"figure-5-{number}", setting.full_name, draw))
    if panels:
        caption = (
            "Figure 5. Time of insertion and detection against N; the dotted guide grows as N log N [NNW-TEC 7.2.7]."
        )
        yield ReportFigure("plate-figure-5", "cost", "scaling", caption, tuple(panels))


def _cost(trial: Scaling, name: str) -> float | None:
    return trial.cost.get(name)


def _unicity(trials: Sequence[UnicityTrial]) -> Iterable[ReportFigure]:
    panels = []
    for number, (setting, own) in enumerate(by_setting(trials).items()):
        records = sorted({(trial.record, trial.key) for trial in own})
        networks = sorted({trial.candidate for trial in own})
        if len(records) * len(networks) > 10_000:
            continue
        found = {(trial.record, trial.key, trial.candidate): trial.verdict.log10_p for trial in own}
        rows = [[found.get((*record, network)) for network in networks] for record in records]
        several = len({key for _, key in records}) > 1
        names = [f"{record}, key {key}" if several else str(record) for record, key in records]
        draw = partial(figures.unicity, log10_p=rows, records=names, networks=[str(network) for network in networks])
        panels.append(Panel(f"unicity-{number}", setting.name, draw))
    if panels:
        caption = "Unicity: −log10 p of every record in every network. A record finds itself in its own network only."
        yield ReportFigure("plate-unicity", "fingerprints", "unicity", caption, tuple(panels))


def _null(trials: Sequence[Detection]) -> Iterable[ReportFigure]:
    found: dict[str, list[float]] = {}
    for setting, own in by_setting(trial for trial in trials if not trial.truth).items():
        claimed = [trial.verdict.log10_p for trial in own if trial.verdict.log10_p is not None]
        found.setdefault(method_name(setting.method, setting.kind), []).extend(claimed)
    kept = {name: values for name, values in found.items() if values}
    if kept:
        caption = (
            "p-values of all trials without the mark, against uniform ones, both logarithmic. A point above the line is a p-value "
            "that is smaller than it may be; tests of discrete marks lie below it."
        )
        draw = partial(figures.null_distribution, log10_p=kept)
        yield ReportFigure(
            "plate-null", "false positives", "", caption, (Panel("null", "unmarked networks and wrong keys", draw),)
        )


def _frontier(marked: Sequence[Detection]) -> Iterable[ReportFigure]:
    panels = []
    for number, (network, inner) in enumerate(
        groupby(sorted(by_setting(marked).items(), key=_by_network), key=_by_network)
    ):
        points: dict[str, list[tuple[float, float]]] = {}
        rates = set()
        for setting, own in inner:
            metric = next(iter(metrics_of(own)), "")
            for trial in own:
                error, p = counts.error(trial, metric), trial.verdict.log10_p
                if error is not None and p is not None:
                    points.setdefault(method_name(setting.method, setting.kind), []).append((error, -p))
                    rates.add(trial.verdict.rate)
        if points:
            draw = partial(figures.frontier, points=points, log10_rate=math.log10(min(rates)))
            panels.append(Panel(f"frontier-{number}", network_name(*network), draw))
    if panels:
        caption = (
            "Does the mark outlive the network? Each point is a modified network: how much worse it became, and how strong "
            "its mark still is. Below the line the strict test has lost it; a mark that outlives its network is lost at the "
            "far right only."
        )
        yield ReportFigure("plate-frontier", "outlasting", "", caption, tuple(panels))


def _trade(trials: Sequence[Detection]) -> Iterable[ReportFigure]:
    panels = []
    settings = [(s, own) for s, own in by_setting(t for t in trials if t.truth).items() if s.kind == "watermark"]
    for number, (network, inner) in enumerate(groupby(sorted(settings, key=_by_network), key=_by_network)):
        points = []
        for setting, own in inner:
            metric = next(iter(metrics_of(own)), "")
            mean = counts.mean(own, partial(counts.impact, metric=metric), TRAININGS)
            modified = [trial.verdict.traced for trial in own if trial.modification is not None]
            if mean is not None and modified:
                name = f"{method_name(setting.method)} {_short(setting)}"
                points.append(Point(name, mean.value, sum(modified) / len(modified)))
        if points:
            draw = partial(figures.imperceptibility_against_robustness, points=points)
            panels.append(Panel(f"trade-{number}", network_name(*network), draw))
    if panels:
        caption = (
            "Imperceptibility against robustness: the impact of a mark, and the share of modified networks in which the strict "
            "test still finds it. Best is top left. Shares depend on which modifications were tried."
        )
        yield ReportFigure("plate-trade", "summary", "", caption, tuple(panels))


def _by_network(item: tuple[Setting, object]) -> tuple[str, str]:
    return item[0].network, item[0].size
