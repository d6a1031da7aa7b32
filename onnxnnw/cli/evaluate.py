"""evaluate: run a campaign, or say what it would take."""

import sys
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from onnxnnw.cli import show
from onnxnnw.cli.bars import Bar
from onnxnnw.recipes import Precision

if TYPE_CHECKING:
    from onnxnnw.campaign.results import RunSummary
    from onnxnnw.campaign.settings import Campaign
    from onnxnnw.campaign.step import Step

__all__ = ["register"]

SHOWN_FAILURES = 5
"""Failed steps that are named while the campaign goes on; the end says how many there were."""

LINE_EVERY_S = 10.0
"""Seconds between two lines where there is no terminal that could redraw one; a step that takes longer is always named."""


def _presets(wanted: bool) -> None:
    if not wanted:
        return
    from onnxnnw.campaign import preset, preset_names

    show.pairs([(name, ", ".join(network.name for network in preset(name).networks)) for name in preset_names()])
    raise typer.Exit


def evaluate(
    campaign: Annotated[Path | None, typer.Argument(help="A campaign's TOML file.")] = None,
    preset: Annotated[str | None, typer.Option("--preset", help="A campaign that comes with the package.")] = None,
    list_presets: Annotated[
        bool, typer.Option("--list", callback=_presets, is_eager=True, help="List the presets.")
    ] = False,
    out: Annotated[Path | None, typer.Option("--output", "-o", help="Folder for the results.")] = None,
    data: Annotated[Path | None, typer.Option("--data", help="Directory of the tasks' data.")] = None,
    jobs: Annotated[int, typer.Option("--jobs", min=0, help="Steps at once on this machine; 0: one per core.")] = 1,
    cluster: Annotated[
        str | None,
        typer.Option("--cluster", help="Address of a Dask scheduler whose workers share the cache's folder."),
    ] = None,
    cache: Annotated[
        Path | None, typer.Option("--cache", help="Folder of finished steps; ~/.cache/onnxnnw/campaigns by default.")
    ] = None,
    precision: Annotated[
        Precision | None,
        typer.Option(
            "--precision", help="What to train in; by default what the campaign says, or the processor is fast in."
        ),
    ] = None,
    provider: Annotated[
        str, typer.Option("--provider", help="What networks are run on: cpu or cuda; the GPU when there is one.")
    ] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say how many steps, how long, how much disk.")] = False,
    compress: Annotated[bool, typer.Option("--compress", help="Pack the trials.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Evaluate methods as the standard does: train, mark, modify, verify; interrupted, it goes on where it was.

    Example: onnxnnw evaluate --preset smoke -o results
    """
    from onnxnnw.errors import CannotLook, UsageError
    from onnxnnw.runtime import find_provider

    chosen = _campaign(campaign, preset, precision)
    if find_provider(provider):
        chosen = replace(chosen, provider=provider)
    store = cache or _usual_cache()
    if dry_run:
        _tell(chosen, data, store, jobs, as_json)
        return
    if out is None:
        raise UsageError("give a folder for the results with -o")
    from onnxnnw.campaign.results import compress_trials
    from onnxnnw.campaign.running import evaluate as run

    ran = run(chosen, out, store, data, _workers(jobs, cluster), Shown())
    if compress:
        compress_trials(out)
    if as_json:
        show.document({"format": "onnxnnw/ran/1", **asdict(ran), "results": str(out)})
    else:
        _show(ran, out)
    if ran.failed:
        more = f"; and {len(ran.failed) - 3} more" if len(ran.failed) > 3 else ""
        raise CannotLook(f"{len(ran.failed)} of {ran.steps} steps failed: {'; '.join(ran.failed[:3])}{more}")


def _show(ran: "RunSummary", out: Path) -> None:
    share = ran.overhead_seconds / ran.seconds if ran.seconds else 0.0
    rows = [
        ("results", str(out)),
        ("trials", f"{ran.trials:,}"),
        ("steps", f"{ran.steps:,}, {ran.done:,} of them done now"),
        ("time", f"{_duration(ran.seconds)} in steps, {share:.1%} around them"),
        ("trained in", ran.precision),
        ("next", f"onnxnnw report {out} -o report.html"),
    ]
    show.pairs(rows)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(evaluate)


def _campaign(path: Path | None, name: str | None, precision: Precision | None) -> "Campaign":
    from onnxnnw.campaign import load_campaign, preset
    from onnxnnw.errors import UsageError

    if (path is None) == (name is None):
        raise UsageError("give a campaign's file or --preset, one of the two")
    chosen = load_campaign(path) if path is not None else preset(str(name))
    return chosen if precision is None else replace(chosen, precision=precision.value)


def _usual_cache() -> Path:
    import os

    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "onnxnnw" / "campaigns"


def _workers(jobs: int, cluster: str | None) -> Any:
    from onnxnnw.campaign.workers import in_this_process, on_cluster, on_this_machine

    if cluster is not None:
        return on_cluster(cluster)
    return in_this_process() if jobs == 1 else on_this_machine(jobs)


def _tell(campaign: "Campaign", data: Path | None, cache: Path, jobs: int, as_json: bool) -> None:
    from onnxnnw.campaign.cache import Cache
    from onnxnnw.campaign.estimate import estimate
    from onnxnnw.campaign.plan import planned
    from onnxnnw.campaign.steps.evaluated_network import identity_of

    found = estimate(planned(campaign, "" if data is None else identity_of(data)), Cache(cache))
    if as_json:
        show.document({"format": "onnxnnw/estimate/1", **asdict(found)})
        return
    rows = [
        (kind, f"{count:>5} steps  {_duration(seconds):>9}") for kind, (count, seconds) in sorted(found.by_kind.items())
    ]
    show.pairs(rows)
    several = f", {_duration(found.seconds / jobs)} with {jobs} at once at best" if jobs > 1 else ""
    print(
        f"{found.trials:,} trials from {found.steps:,} steps, {found.done:,} of them done, trained in {found.precision}"
    )
    print(f"left: {_duration(found.seconds)} on one core{several}; {found.bytes / 1e6:,.0f} MB on the disk")
    print(f"{found.measured:.0%} of that time rests on steps measured before, the rest on what is usual")


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class Shown:
    """A campaign on stderr: one line that redraws itself on a terminal, a line now and then elsewhere."""

    def __init__(self) -> None:
        self.steps = self.done = self.failures = 0
        self.left = 0.0
        self.running: dict[str, str] = {}
        self.last = 0.0
        self.bar = Bar()
        self.terminal = self.bar.on_terminal
        self.timer: threading.Timer | None = None
        self.lock = threading.RLock()

    def begin(self, steps: int, done: int, seconds_left: float) -> None:
        with self.lock:
            self.steps, self.done, self.left = steps, done, seconds_left
            self._print()

    def started(self, step: "Step") -> None:
        with self.lock:
            self.running[step.address] = step.title
            self._line()

    def finished(self, step: "Step", seconds: float, seconds_left: float) -> None:
        with self.lock:
            self.running.pop(step.address, None)
            self.done += 1
            self.left = seconds_left
            self._print() if self.done == self.steps else self._line()

    def failed(self, step: "Step", reason: str) -> None:
        with self.lock:
            self.running.pop(step.address, None)
            self.failures += 1
            if self.failures <= SHOWN_FAILURES:  # one that much is made from would fill the screen
                self.noticed(f"failed: {step.title}: {reason}")

    def noticed(self, sentence: str) -> None:
        self.bar.say(show.visible(sentence))

    def _line(self) -> None:
        """Now on a terminal; elsewhere when the last one is old enough, of whatever is running then."""
        wait = 0.0 if self.terminal else self.last + LINE_EVERY_S - time.monotonic()
        if wait > 0:
            if self.timer is None:
                self.timer = threading.Timer(wait, self._late)
                self.timer.daemon = True
                self.timer.start()
        elif self.running or self.terminal:
            self._print()

    def _late(self) -> None:
        with self.lock:
            if self.timer is not None and self.running:
                self._print()
            self.timer = None

    def _print(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        self.last = time.monotonic()
        left = f", about {_duration(self.left)} left" if self.done < self.steps else ""
        names = f": {'; '.join(self.running.values())}" if self.running else ""
        text = f"{self.done:,} of {self.steps:,} steps{left}{names}"
        if not self.terminal:
            print(text[:200], file=sys.stderr, flush=True)
            return
        self.bar.show(text, self.done, self.steps)
        if self.done == self.steps:
            self.bar.close()
