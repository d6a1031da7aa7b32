"""What a campaign says of its networks: which trainings are one and the same, and which metric comes first."""

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from onnxnnw.report.fields import Fields, Numbers
from onnxnnw.report.trials import Detection, Trial

__all__ = ["CampaignNetwork", "networks_of"]


@dataclass(frozen=True)
class CampaignNetwork:
    """One network of a campaign.

    Attributes:
        origin: See ``Trial``.
        metrics: Of an own network, the one that is quoted first.
    """

    origin: str
    metrics: tuple[str, ...] = ()

    def in_order(self, trial: Trial) -> Trial:
        """The same trial with its qualities in the order of the metrics: a line has them by name."""
        if not self.metrics or not isinstance(trial, Detection):
            return trial
        return replace(
            trial,
            quality=self._sorted(trial.quality) or {},
            unmodified=self._sorted(trial.unmodified),
            unmarked=self._sorted(trial.unmarked),
        )

    def _sorted(self, numbers: Numbers | None) -> Numbers | None:
        places = {name: place for place, name in enumerate(self.metrics)}
        return numbers and dict(sorted(numbers.items(), key=lambda item: places.get(item[0], len(places))))


def networks_of(head: Fields, part: str) -> dict[str, CampaignNetwork]:
    """The networks by name; none of a campaign that says nothing of them.

    Args:
        head: Of ``results.json``.
        part: The campaign's name: without a seed its trainings are its own.
    """
    campaign, inputs = head.content.get("campaign"), head.texts("inputs")
    listed = campaign.get("networks") if isinstance(campaign, dict) else None
    files = [pair for pair in inputs if pair[0].startswith("network ")]
    found = {}
    for network in listed if isinstance(listed, list) else ():
        if not isinstance(network, dict):
            continue
        given, metrics = _texts(network.get("file")), _texts(network.get("metric"))
        name = network.get("name") or (Path(given[0]).stem if given else "")
        said = {key: value for key, value in network.items() if value not in (None, "", 0, [], ())}
        content = json.dumps([said, dict(inputs).get("seed", part), files if given else []], sort_keys=True)
        found[str(name)] = CampaignNetwork(hashlib.sha256(content.encode()).hexdigest()[:16], tuple(metrics))
    return found


def _texts(value: Any) -> list[str]:
    return [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, str)]
