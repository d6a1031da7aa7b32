"""The results of a campaign on the disk: its description, and one line per trial; see docs/guide/report.md."""

import gzip
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from onnxnnw.campaign.cache import CachedStep
from onnxnnw.campaign.environment import environment
from onnxnnw.campaign.settings import Campaign
from onnxnnw.campaign.steps.evaluated_network import NetworkSetup
from onnxnnw.campaign.steps.given_network import GivenNetworkStep
from onnxnnw.campaign.trial import Plan
from onnxnnw.errors import CannotLook, UsageError
from onnxnnw.files import read_regular
from onnxnnw.network_file.writing import write_whole
from onnxnnw.recipes import UNSAID, Precision

__all__ = [
    "RESULTS",
    "RESULTS_FORMAT",
    "TRIALS",
    "RunSummary",
    "compress_trials",
    "continued",
    "refuse_foreign",
    "refuse_other_inputs",
    "write_results",
]

RESULTS_FORMAT = "onnxnnw/results/1"
RESULTS, TRIALS, PACKED = "results.json", "trials.jsonl", "trials.jsonl.gz"
MAX_RESULTS = 16 * 2**20


@dataclass(frozen=True)
class RunSummary:
    """The summary of a run: trials written, steps done and failed, seconds.

    Attributes:
        trials: How many were written.
        steps: How many there are, and how many of them this run did.
        seconds, overhead_seconds: Of all steps, whichever run did them, and of everything around them, on the workers and in
            this process.
        failed: Sentences, one a step that could not be done.
        precision: What the trainings computed in.
    """

    trials: int
    steps: int
    done: int
    seconds: float
    overhead_seconds: float
    failed: tuple[str, ...] = ()
    precision: str = ""


def refuse_foreign(out: Path, campaign: Campaign) -> None:
    """Refuse a folder that holds the results of another campaign, before hours of work.

    A campaign that was changed is another one, whatever its name, which is its file's by default: finished steps are found
    in the cache wherever results go.

    Raises:
        UsageError: It does.
    """
    head = _head(out)
    if head is None:
        return
    if head.name != campaign.name:
        raise UsageError(f"{out} holds the results of another campaign, {head.name}; name another folder")
    if head.campaign != json.loads(json.dumps(_said(campaign))):
        name = head.name
        raise UsageError(
            f"{out} holds the results of another campaign called {name}, or of this one before it was changed; name another folder"
        )


def refuse_other_inputs(out: Path, plan: Plan) -> None:
    """Refuse a folder with results of this campaign that were made from other networks, samples or data.

    Raises:
        UsageError: It holds such results.
    """
    head = _head(out)
    if head is None:
        return
    now = _inputs(plan)
    changed = [name for name, content in head.inputs.items() if now.get(name, content) != content]
    gone = [name for name in head.inputs if name not in now and name.startswith("network ")]
    if changed or gone:
        names = ", ".join([*changed, *gone])[:200]
        raise UsageError(f"{out} holds the results of this campaign with other contents ({names}); name another folder")


def continued(out: Path, campaign: Campaign) -> Campaign:
    """The campaign in the precision of the results that its folder holds, so that it goes on as it began, on any machine.

    Raises:
        UsageError: It asks for another one.
    """
    head = _head(out)
    if head is None:
        return campaign
    if campaign.precision not in ("", head.precision):
        raise UsageError(
            f"{out} holds the results of this campaign in {head.precision}, not in {campaign.precision}; name another folder"
        )
    return replace(campaign, precision=head.precision)


class _Head(NamedTuple):
    """What results that are there already say of themselves: their campaign, and what they were made from."""

    name: str
    campaign: Any
    precision: Precision
    inputs: dict[str, str]


def _head(out: Path) -> _Head | None:
    """The head of the results in a folder; None where there are none."""
    try:
        if not (out / RESULTS).exists():
            return None
        head = json.loads(read_regular(out / RESULTS, UsageError, MAX_RESULTS).decode("utf-8"))
        precision = Precision(head.get("environment", {}).get("precision", UNSAID))
        return _Head(head["name"], head["campaign"], precision, dict(head.get("inputs", {})))
    except UsageError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UsageError(f"{out} holds a {RESULTS} of no known campaign; name another folder") from None


def _said(campaign: Campaign) -> dict[str, Any]:
    """The campaign as it was read; its fields where it was made in Python, but for the precision, which results name anyway."""
    return dict(campaign.source) or {name: value for name, value in asdict(campaign).items() if name != "precision"}


def write_results(plan: Plan, entries: Mapping[str, CachedStep], ran: RunSummary, out: Path) -> RunSummary:
    """Write all trials whose steps are done; each file takes its name when it is whole.

    Raises:
        CannotLook: The folder cannot be written.
    """
    lines = [
        json.dumps(trial.line(entries, plan.precision), sort_keys=True, ensure_ascii=True, allow_nan=False)
        for trial in plan.trials
        if all(step.address in entries for step in trial.steps())
    ]
    campaign = plan.campaign
    content: dict[str, Any] = {
        "format": RESULTS_FORMAT,
        "name": campaign.name,
        "campaign": _said(campaign),
        "cuts": [asdict(cut) for cut in campaign.cuts],
        "environment": {**environment(), "precision": plan.precision.value},
        "inputs": _inputs(plan),
        "date": time.strftime("%Y-%m-%d"),
        "steps": {
            "count": ran.steps,
            "done": ran.done,
            "seconds": round(ran.seconds, 1),
            "overhead_seconds": round(ran.overhead_seconds, 1),
            "failed": list(ran.failed),
        },
    }
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_whole(out / TRIALS, "".join(line + "\n" for line in lines).encode())
        (out / PACKED).unlink(missing_ok=True)  # of an earlier run: two lists of trials are read by nobody
        write_whole(out / RESULTS, json.dumps(content, indent=2, ensure_ascii=True).encode() + b"\n")
    except OSError as error:
        raise CannotLook(f"{out}: results cannot be written: {error.strerror}") from error
    return replace(ran, trials=len(lines))


def _inputs(plan: Plan) -> dict[str, str]:
    """What the trials were made from, by content: data, samples, finished networks, the seed."""
    found = {"seed": str(plan.campaign.seed)}
    for step in plan.steps:
        if isinstance(step, GivenNetworkStep):
            found[f"network {step.sha256[:12]}"] = step.sha256
        setup = getattr(step, "setup", None)
        if isinstance(setup, NetworkSetup):
            name = f"data of {setup.network}"
            if setup.own is not None:
                found[name] = setup.own.samples
            elif isinstance(setup.data, str):
                found[name] = setup.data
    return found


def compress_trials(out: Path) -> Path:
    """Pack the trials of a folder, for keeping; the same trials give the same bytes."""
    content = (out / TRIALS).read_bytes()
    packed = out / PACKED
    write_whole(packed, gzip.compress(content, mtime=0))
    (out / TRIALS).unlink()
    return packed
