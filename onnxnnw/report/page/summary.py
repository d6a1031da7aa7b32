"""The verdict of a campaign in plain words: sentences and their main numbers."""

from collections.abc import Sequence
from dataclasses import dataclass

from onnxnnw.report import counts
from onnxnnw.report.results import Results
from onnxnnw.report.settings import by_setting, method_name, modification_name, modifications_of, network_name
from onnxnnw.report.tables.cells_measured import cells_measured
from onnxnnw.report.tables.measures import found_entries, impact_entry, metrics_of
from onnxnnw.report.tables.table import Column, ReportTable, RowGroup, TableEntry, label, note, shared
from onnxnnw.report.trials import Detection, Searched, UnicityTrial

__all__ = ["Loss", "Summary", "Tile", "summarise", "trials_of"]


@dataclass(frozen=True)
class Tile:
    """A key figure of the summary; ``good`` is None where it is neither good nor bad."""

    entry: TableEntry
    caption: str
    good: bool | None = None


@dataclass(frozen=True)
class Loss:
    """Where a mark was not found any more: by the strict decision, in so many networks of so many."""

    setting: str
    modification: str
    entry: TableEntry


@dataclass(frozen=True)
class Summary:
    """The first section of the page."""

    headline: str
    subject: str
    sentences: tuple[str, ...]
    tiles: tuple[Tile, ...]
    losses: tuple[Loss, ...]
    overview: ReportTable | None
    published: int
    compared: int


def summarise(results: Results, tables: Sequence[ReportTable]) -> Summary:
    """Compute the summary of a campaign.

    Args:
        tables: The standard's, of which published figures are counted.
    """
    detections = results.of(Detection)
    marked = [t for t in detections if t.truth and t.key is None and t.modification is not None]
    watermarks = [t for t in marked if t.mark is None or t.mark.kind == "watermark"]
    prints = [t for t in marked if t.mark is not None and t.mark.kind != "watermark"]
    unmarked = [t for t in detections if not t.truth and t.key is None]
    wrong = [t for t in detections if t.key is not None]
    tiles = [
        *_found(watermarks, "modified networks still carry the mark"),
        *_found(prints, "modified networks are still known by their fingerprint"),
        *_accused(wrong, "wrong keys accused a network"),
        *_accused(unmarked, "questions to unmarked networks found a mark"),
        *_accused([t for t in results.of(UnicityTrial) if not t.truth], "fingerprints took another network for theirs"),
        *_search(results.of(Searched)),
    ]
    cells = cells_measured(tables)
    return Summary(
        _headline(watermarks or prints, wrong or unmarked, "wrong keys" if wrong else "questions to unmarked networks"),
        _subject(results, detections),
        tuple(_sentences(watermarks, prints, unmarked, wrong)),
        tuple(tiles),
        _losses(marked),
        _overview(detections),
        sum(cell.published for cell in cells),
        sum(cell.measured for cell in cells),
    )


def _headline(marked: Sequence[Detection], others: Sequence[Detection], what: str) -> str:
    """The verdict in one sentence; empty where nothing was modified."""
    if not marked:
        return ""
    found = sum(t.verdict.traced for t in marked)
    watermark = marked[0].mark is None or marked[0].mark.kind == "watermark"
    said = f"The {'mark' if watermark else 'fingerprint'} was found in {found:,} of {len(marked):,} modified networks"
    if not others:
        return f"{said}."
    return f"{said}; {sum(t.verdict.traced for t in others):,} of {len(others):,} {what} found one."


def _overview(trials: Sequence[Detection]) -> ReportTable | None:
    """A row for each setting: what its mark costs, how often it is found, and how often where it is not."""
    rows = []
    for setting, own in by_setting(trials).items():
        marked = [t for t in own if t.truth and t.key is None]
        modified = [t for t in marked if t.modification is not None]
        metric = next(iter(metrics_of(marked)), "")
        impact = impact_entry(marked, metric) if setting.kind == "watermark" else note("none by nature")
        row = [label(setting.full_name), impact, *found_entries(modified)]
        for asked in ([t for t in own if not t.truth and t.key is None], [t for t in own if t.key is not None]):
            row.append(shared(counts.share(asked, lambda t: t.verdict.traced), asked))
        rows.append(tuple(row))
    over = "modified networks with the mark found"
    columns = (
        Column("setting", numeric=False),
        Column("impact, %"),
        Column("standard's decision", over),
        Column("strict decision", over),
        Column("unmarked networks", "traced all the same"),
        Column("wrong keys", "traced all the same"),
    )
    return ReportTable("overview", "summary", "At a glance", columns, (RowGroup("", tuple(rows)),)) if rows else None


def _found(trials: Sequence[Detection], caption: str) -> list[Tile]:
    share = counts.share(trials, lambda t: t.verdict.traced)
    return [] if share is None else [Tile(shared(share, trials), caption)]


def _accused(trials: Sequence[Detection] | Sequence[UnicityTrial], caption: str) -> list[Tile]:
    share = counts.share(list(trials), lambda t: t.verdict.traced)  # type: ignore[attr-defined]
    return [] if share is None else [Tile(shared(share, trials), caption, share.hits == 0)]


def _search(trials: Sequence[Searched]) -> list[Tile]:
    share = counts.share(trials, lambda t: t.right)
    return [] if share is None else [Tile(shared(share, trials), "searches found the right record first")]


def _subject(results: Results, detections: Sequence[Detection]) -> str:
    settings = by_setting(results.trials)
    methods = dict.fromkeys(method_name(s.method, s.kind) for s in settings if s.method)
    networks = dict.fromkeys(network_name(s.network, s.size) for s in settings)
    models = len({t.model for t in detections})
    payloads = len({t.payload for t in detections if t.payload is not None})
    names = f"{_and(list(methods)) or 'Nothing'} on {_and(list(networks)) or 'no network'}"
    size = f"up to M = {models} trainings of each and D = {payloads} payloads" if detections else ""
    return ", ".join(part for part in (names, size, f"{len(results.trials):,} trials") if part) + "."


def _sentences(
    watermarks: Sequence[Detection],
    prints: Sequence[Detection],
    unmarked: Sequence[Detection],
    wrong: Sequence[Detection],
) -> list[str]:
    said = []
    for what, trials in (("The mark was", watermarks), ("The fingerprint was", prints)):
        if trials:
            strict, nominal = (
                sum(counts.found(t.verdict, d) for t in trials) for d in (counts.STRICT, counts.STANDARD)
            )
            said.append(
                f"{what} found in {strict:,} of {len(trials):,} modified networks by the strict test; "
                f"the standard's own decision finds it in {nominal:,}."
            )
    for what, trials in (("wrong keys", wrong), ("questions to unmarked networks", unmarked)):
        if trials:
            strict, nominal = (
                sum(counts.found(t.verdict, d) for t in trials) for d in (counts.STRICT, counts.STANDARD)
            )
            share = counts.share(trials, lambda t: t.verdict.traced)
            limit = (
                f" (by {share.units:,} keys: at most {100 * share.high:.2g} % with 95 % confidence)" if share else ""
            )
            rates = sorted({t.verdict.rate for t in trials})
            rate = " to ".join(dict.fromkeys(f"{r:g}".replace("e-0", "e-") for r in (rates[0], rates[-1])))
            said.append(
                f"{strict:,} of {len(trials):,} {what} found a mark{limit} at a false-positive rate of {rate}; "
                f"by the standard's decision, nominal at 5 %, {nominal:,} did."
            )
    return said


def _losses(trials: Sequence[Detection]) -> tuple[Loss, ...]:
    found = []
    for setting, own in by_setting(trials).items():
        for at, chosen in modifications_of(own).items():
            share = counts.share(chosen, lambda t: t.verdict.traced)
            if share is not None and share.hits < len(chosen):
                name = f"{method_name(setting.method, setting.kind)}, {setting.name}"
                found.append(Loss(name, modification_name(at), shared(share, chosen)))
    return tuple(found)


def _and(names: Sequence[str]) -> str:
    return " and ".join(part for part in (", ".join(names[:-1]), names[-1]) if part) if names else ""


def trials_of(tables: Sequence[ReportTable]) -> frozenset[str]:
    """Ids of the trials that these tables show."""
    return frozenset(trial.id for table in tables for entry in table.entries for trial in entry.trials)
