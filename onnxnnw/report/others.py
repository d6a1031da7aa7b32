"""What the standard asks for without a table, and what it does not ask for: wrong keys, unicity, search, cost, environment."""

from collections.abc import Iterable, Sequence

from onnxnnw.report import counts
from onnxnnw.report.results import Results
from onnxnnw.report.settings import Setting, by_setting, method_name, modification_name, modifications_of, network_name
from onnxnnw.report.sheets import (
    Column,
    Entry,
    Group,
    Sheet,
    averaged,
    counted,
    fixed,
    label,
    missing,
    seconds,
    shared,
)
from onnxnnw.report.tables import increase_entry, iterations_entry
from onnxnnw.report.trials import Detection, Injection, Retrieval, Scaling, Searched, Sharing, Trial, Unicity

__all__ = ["cost_sheets", "environment_sheet", "false_positive_sheet", "fingerprint_sheets", "sharing_sheets"]

FALSE_POSITIVES = "false positives"
COST = "cost"


def _name(setting: Setting) -> str:
    method = method_name(setting.method, setting.kind) if setting.method else ""
    return ", ".join(part for part in (method, setting.name, setting.block) if part)


# --- networks that do not carry the mark ------------------------------------------------------------------------------


def false_positive_sheet(results: Results) -> tuple[Sheet, ...]:
    """Unmarked networks and wrong keys: how often the mark was "found" that is not there, with exact limits."""
    absent = [trial for trial in results.of(Detection) if not trial.truth]
    if not absent:
        return ()
    families = dict.fromkeys(setting.family for setting in by_setting(absent))
    together = [_false_positive_row("every trial without the mark", absent)] if len(families) > 1 else []
    together += [_false_positive_row(method_name(*family), _of_family(absent, family)) for family in families]
    groups = [Group("All together", tuple(together))]
    for setting, own in by_setting(absent).items():
        unmarked = [trial for trial in own if trial.key is None]
        rows = [_false_positive_row("unmarked, all modifications", unmarked)] if unmarked else []
        for at, chosen in modifications_of(trial for trial in own if trial.key is not None).items():
            rows.append(_false_positive_row(f"wrong keys, {modification_name(at)}", chosen))
        groups.append(Group(_name(setting), tuple(rows)))
    over = "strict test"
    columns = (
        Column("asked", numeric=False),
        Column("trials"),
        Column("traced", over),
        Column("95 % limits", over),
        Column("p ≤ 5 %", over),
        Column("95 % limits", over),
        Column("p ≤ 1 %", over),
        Column("95 % limits", over),
        Column("retrieved", "standard's decision"),
        Column("95 % limits", "standard's decision"),
    )
    notes = (
        "Limits are exact binomial ones (Clopper and Pearson). A calibrated p-value is at most 5 % in at most 5 % of these "
        "trials. NCT's standard decision is two-sided at 5 % and positive: nominally 2.5 %.",
    )
    title = "Networks without the mark: unmarked ones asked with right records, and wrong keys"
    return (
        Sheet(
            "false-positives",
            FALSE_POSITIVES,
            title,
            columns,
            tuple(groups),
            "Unmarked networks and wrong keys",
            notes=notes,
        ),
    )


def _of_family(trials: Iterable[Detection], family: tuple[str, str]) -> list[Detection]:
    return [trial for trial in trials if trial.mark and (trial.mark.method, trial.mark.kind) == family]


def _false_positive_row(name: str, trials: Sequence[Detection]) -> tuple[Entry, ...]:
    traced = sum(trial.verdict.traced for trial in trials)
    retrieved = sum(trial.verdict.retrieved for trial in trials)
    row = [label(name), counted(len(trials), trials)]
    shares = ((traced, len(trials)), counts.at_most(trials, 0.05), counts.at_most(trials, 0.01))
    for hits, asked in (*shares, (retrieved, len(trials))):
        share = counts.share(hits, asked)
        row += [shared(share, trials), _limits(share)]
    return tuple(row)


def _limits(share: counts.Share | None) -> Entry:
    if share is None:
        return missing("no p is claimed")
    return label(f"{100 * share.low:.3g} … {100 * share.high:.3g} %")


# --- fingerprints -----------------------------------------------------------------------------------------------------


def fingerprint_sheets(results: Results) -> tuple[Sheet, ...]:
    """Unicity and search [NNW-TEC 5.3.1]."""
    return (*_unicity(results.of(Unicity)), *_search(results.of(Searched)))


def _unicity(trials: Sequence[Unicity]) -> Iterable[Sheet]:
    if not trials:
        return
    rows = []
    for setting, own in by_setting(trials).items():
        same, other = [t for t in own if t.truth], [t for t in own if not t.truth]
        closest = max((t.verdict.effect for t in other if t.verdict.effect is not None), default=None)
        rows.append(
            (
                label(_name(setting)),
                shared(counts.share(sum(t.verdict.traced for t in same), len(same)), same),
                shared(counts.share(sum(t.verdict.traced for t in other), len(other)), other),
                shared(counts.share(sum(t.verdict.retrieved for t in other), len(other)), other),
                missing("no pair")
                if closest is None
                else Entry(fixed(3)(closest), "measured", closest, trials=tuple(other)),
            )
        )
    columns = (
        Column("setting", numeric=False),
        Column("own network traced"),
        Column("another network traced", "strict decision"),
        Column("another network retrieved", "standard's decision"),
        Column("largest effect in another"),
    )
    notes = (
        "Every record asked of every network. Limits take pairs as independent; pairs that share a network are not quite.",
    )
    yield Sheet(
        "unicity",
        "fingerprints",
        "Unicity: records against networks",
        columns,
        (Group("", tuple(rows)),),
        "Unicity",
        "unicity",
        notes=notes,
    )


def _search(trials: Sequence[Searched]) -> Iterable[Sheet]:
    if not trials:
        return
    groups = []
    for setting, own in by_setting(trials).items():
        rows = []
        for size in sorted({trial.records for trial in own}):
            kept = [trial for trial in own if trial.records == size]
            right = counts.share(sum(trial.right for trial in kept), len(kept))
            rows.append((label(f"{size:,}"), shared(right, kept), cost_entry(kept, "seconds_per_record")))
        groups.append(Group(_name(setting), tuple(rows)))
    columns = (Column("records"), Column("best match was the right one"), Column("seconds per record"))
    yield Sheet("search", "fingerprints", "Search: one network among many records", columns, tuple(groups), "Search")


# --- Figure 4 ---------------------------------------------------------------------------------------------------------


def sharing_sheets(results: Results) -> tuple[Sheet, ...]:
    """The numbers behind Figure 4."""
    trials = results.of(Sharing)
    if not trials:
        return ()
    groups = []
    for N, mark, role in sorted({(t.N, t.number, t.role) for t in trials}):
        own = [trial for trial in trials if (trial.N, trial.number, trial.role) == (N, mark, role)]
        rows = []
        for share in sorted({trial.share for trial in own}):
            kept = [trial for trial in own if trial.share == share]
            values = [
                averaged(counts.mean(t.values.get(name) for t in kept), fixed(3), kept)
                for name in ("spearman", "pearson")
            ]
            rows.append(
                (
                    label(f"{100 * share:.4g} %"),
                    *values,
                    shared(counts.share(sum(t.retrieved for t in kept), len(kept)), kept),
                )
            )
        groups.append(Group(f"Mark {mark}{f', {role}' if role else ''}, N = {N}", tuple(rows)))
    columns = (
        Column("replaced"),
        Column("Spearman"),
        Column("Pearson"),
        Column("retrieved, standard's decision"),
    )
    title = "Figure 4 in numbers: a mark whose Weights are replaced by another mark"
    return (Sheet("figure-4", "nct watermark", title, columns, tuple(groups), "Figure 4", "sharing"),)


# --- cost -------------------------------------------------------------------------------------------------------------


def cost_entry(trials: Sequence[Trial], name: str) -> Entry:
    """Mean of one duration in seconds, or of one memory figure in MB (10^6 bytes)."""
    kept = [trial for trial in trials if name in trial.cost]
    form, scale = (fixed(1), 1e-6) if name.endswith("_bytes") else (seconds, 1.0)
    return averaged(counts.mean(trial.cost[name] for trial in kept), form, kept, scale)


_INJECTION = (
    "seconds_per_batch",
    "unmarked_seconds_per_batch",
    "peak_memory_bytes",
    "unmarked_peak_memory_bytes",
    "inference_seconds",
    "unmarked_inference_seconds",
)


def cost_sheets(results: Results) -> tuple[Sheet, ...]:
    """Injection, retrieval, verification: seconds and memory, means with 95 % limits [NNW-NNT]."""
    return (
        *_injection(results.of(Injection)),
        *_retrieval(results.of(Retrieval)),
        *_verification(results.of(Detection)),
        *_scaling(results.of(Scaling)),
    )


def _injection(trials: Sequence[Injection]) -> Iterable[Sheet]:
    if not trials:
        return
    rows = [
        (
            label(_name(setting)),
            iterations_entry(own),
            *(cost_entry(own, name) for name in _INJECTION),
            increase_entry(own),
        )
        for setting, own in by_setting(trials).items()
    ]
    overs = ("seconds per batch", "peak memory, MB", "inference, seconds")
    pairs = [(over, title) for over in overs for title in ("marked", "unmarked")]
    columns = (
        Column("setting", numeric=False),
        Column("batch iterations until inserted"),
        *(Column(title, over) for over, title in pairs),
        Column("a batch takes longer by, %"),
    )
    yield Sheet("injection", COST, "Injection: time and memory", columns, (Group("", tuple(rows)),), "Injection")


def _retrieval(trials: Sequence[Retrieval]) -> Iterable[Sheet]:
    if not trials:
        return
    rows = [
        (
            label(_name(setting)),
            cost_entry(own, "seconds"),
            cost_entry(own, "command_seconds"),
            cost_entry(own, "memory_bytes"),
        )
        for setting, own in by_setting(trials).items()
    ]
    columns = (
        Column("setting", numeric=False),
        Column("seconds"),
        Column("as a command, seconds"),
        Column("peak memory, MB"),
    )
    yield Sheet(
        "retrieval",
        COST,
        "Detection, decoding, matching: time and memory",
        columns,
        (Group("", tuple(rows)),),
        "Retrieval",
    )


def _verification(trials: Sequence[Detection]) -> Iterable[Sheet]:
    names = ("verify_seconds", "modify_seconds", "measure_seconds")
    timed = [trial for trial in trials if trial.cost.keys() & set(names)]
    if not timed:
        return
    rows = [
        (label(_name(setting)), counted(len(own), own), *(cost_entry(own, name) for name in names))
        for setting, own in by_setting(timed).items()
    ]
    columns = (
        Column("setting", numeric=False),
        Column("trials"),
        Column("verify", "seconds per trial"),
        Column("modify", "seconds per trial"),
        Column("measure the quality", "seconds per trial"),
    )
    yield Sheet("trial-cost", COST, "What the trials themselves took", columns, (Group("", tuple(rows)),))


def _scaling(trials: Sequence[Scaling]) -> Iterable[Sheet]:
    if not trials:
        return
    groups = []
    for network in dict.fromkeys((trial.network, trial.size) for trial in trials):
        own = [trial for trial in trials if (trial.network, trial.size) == network]
        rows = []
        for N in sorted({trial.N for trial in own}):
            kept = [trial for trial in own if trial.N == N]
            insertion, detection = (cost_entry(kept, n) for n in ("insertion_seconds", "detection_seconds"))
            rows.append((label(f"{N:,}"), insertion, detection))
        groups.append(Group(network_name(*network), tuple(rows)))
    columns = (Column("N"), Column("insertion, seconds"), Column("detection, seconds"))
    yield Sheet("figure-5", COST, "Figure 5 in numbers: time against N", columns, tuple(groups), "Figure 5", "scaling")


def environment_sheet(results: Results) -> Sheet:
    """The testing environment, which the standard asks to be stated; trials done elsewhere name theirs."""
    groups = [Group("Campaign", _pairs(results.environment) or ((label("environment"), missing("not stated")),))]
    others = dict.fromkeys(
        t.environment for t in results.trials if t.environment and t.environment != results.environment
    )
    groups += [Group(f"Trials, environment {number}", _pairs(own)) for number, own in enumerate(list(others)[:20], 1)]
    columns = (Column("what", numeric=False), Column("", numeric=False))
    return Sheet("environment", COST, "Testing environment", columns, tuple(groups))


def _pairs(pairs: Iterable[tuple[str, str]]) -> tuple[tuple[Entry, ...], ...]:
    return tuple((label(name), label(text)) for name, text in pairs)
