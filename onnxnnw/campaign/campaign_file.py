"""Read a campaign from its file and check it: impossible entries are reported before anything is trained."""

import tomllib
from collections.abc import Mapping
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

from onnxnnw.campaign.settings import (
    CAMPAIGN_FORMAT,
    MAX_NAME,
    SHIPPED,
    Campaign,
    Costs,
    EvaluatedNetwork,
    Fingerprints,
    Generated,
    Marks,
    Reduction,
    Scales,
    Shares,
    UnicitySettings,
    Value,
)
from onnxnnw.errors import UnknownName, UsageError
from onnxnnw.files import read_regular
from onnxnnw.modifications.base import find_modification
from onnxnnw.parameters import from_table, of_type
from onnxnnw.recipes import SCHEDULES, find_precision
from onnxnnw.records.record import MAX_POSITIONS
from onnxnnw.runtime import find_provider
from onnxnnw.standard.grids import TASKS

__all__ = ["load_campaign", "preset", "preset_names"]

MAX_BYTES = 2**20
MAX_AMOUNT = 1_000_000


def preset_names() -> list[str]:
    """The names of the campaigns that come with the package."""
    folder = resources.files("onnxnnw.campaign").joinpath("presets")
    return sorted(file.name.removesuffix(".toml") for file in folder.iterdir() if file.name.endswith(".toml"))


def preset(name: str) -> Campaign:
    """A campaign that comes with the package.

    Raises:
        UnknownName: There is none of this name.
    """
    if name not in preset_names():
        raise UnknownName("preset", name, preset_names())
    text = resources.files("onnxnnw.campaign").joinpath("presets", f"{name}.toml").read_text("utf-8")
    return _campaign(tomllib.loads(text), name)


def load_campaign(path: Path) -> Campaign:
    """A campaign from its file.

    Raises:
        UsageError: It cannot be read, or says something impossible; the message says where.
    """
    try:
        content = tomllib.loads(read_regular(path, UsageError, MAX_BYTES).decode("utf-8"))
    except (ValueError, RecursionError) as error:  # tomllib lets int() complain itself about too many digits
        raise UsageError(f"{path} is not TOML: {error}") from None
    campaign = _campaign(content, path.stem)
    return replace(campaign, networks=tuple(_beside(network, path.parent) for network in campaign.networks))


def _beside(network: EvaluatedNetwork, folder: Path) -> EvaluatedNetwork:
    """Resolve the files that a campaign names relative to its own folder."""
    files = tuple(name if name == SHIPPED else str(folder / name) for name in network.file)
    return replace(network, file=files, samples=str(folder / network.samples) if network.samples else "")


def _campaign(content: dict[str, Any], name: str) -> Campaign:
    source = dict(content)
    if content.pop("format", None) != CAMPAIGN_FORMAT:
        raise UsageError(f'a campaign begins with format = "{CAMPAIGN_FORMAT}"')
    content.setdefault("name", name)
    lists = {"networks": EvaluatedNetwork, "marks": Marks, "fingerprints": Fingerprints, "cuts": Reduction}
    singles = {"generated": Generated, "unicity": UnicitySettings, "sharing": Shares, "scaling": Scales, "costs": Costs}
    for key, kind in lists.items():
        if key in content:
            entries = content[key]
            if not isinstance(entries, list):
                raise UsageError(f"campaign: {key} is a list of tables, [[{key}]]")
            content[key] = tuple(from_table(kind, entry, f"{key} {number}") for number, entry in enumerate(entries, 1))
    if "networks" in content:
        content["networks"] = tuple(_named(network) for network in content["networks"])
    for key, kind in singles.items():
        if key in content:
            content[key] = from_table(kind, content[key], key)
    changes = content.get("modifications", {})
    if not isinstance(changes, dict) or not all(isinstance(value, dict) for value in changes.values()):
        raise UsageError("campaign: modifications is a table of tables: name = { parameter = [values] }")
    content["modifications"] = {name: _listed(values, name) for name, values in changes.items()}
    campaign = from_table(Campaign, {**content, "source": source}, "campaign")
    _check(campaign)
    return campaign


def _named(network: EvaluatedNetwork) -> EvaluatedNetwork:
    """The campaign, named after its file if it has no name."""
    return network if network.name or not network.file else replace(network, name=Path(network.file[0]).stem[:MAX_NAME])


def _check(campaign: Campaign) -> None:
    known = [network.name for network in campaign.networks]
    if not all(known):
        raise UsageError("a network has a name, or a file whose name it takes")
    if not known or len(set(known)) < len(known):
        raise UsageError("a campaign has [[networks]], each once")
    if len(campaign.name) > MAX_NAME:
        raise UsageError(f"campaign: a name has at most {MAX_NAME} characters")
    if campaign.sharing is not None and not all(0 <= share <= 1 for share in campaign.sharing.shares):
        raise UsageError("sharing: shares lie between 0 and 1")
    _check_positions(campaign)
    if campaign.scaling is not None and (campaign.scaling.repeats < 1 or not campaign.scaling.positions):
        raise UsageError("scaling: repeats and positions are at least 1")
    if campaign.costs is not None and (
        min(campaign.costs.repeats, campaign.costs.pairs) < 0
        or campaign.costs.batches < 1
        or campaign.costs.pairs > 1000
    ):
        raise UsageError("costs: repeats are at least 0, pairs 0 to 1,000, batches at least 1")
    if campaign.seed < 0 or not 0 < campaign.rate < 1:
        raise UsageError("campaign: the seed is at least 0, the rate between 0 and 1")
    find_precision(campaign.precision)
    find_provider(campaign.provider)
    _check_amounts(campaign)
    for network in campaign.networks:
        if network.epochs < (not network.file) or network.published_epochs < 1 or network.training < 0:
            raise UsageError(f"{network.name}: epochs are at least 1, training samples at least 0")
        if network.file and network.epochs:
            raise UsageError(
                f"{network.name}: is finished (file), so it has no epochs of its own; a block of marks may have"
            )
        if network.own and not (network.file and network.samples and network.metric):
            raise UsageError(f"{network.name}: an own network has file, samples and metric, all three")
        if network.own and network.name in TASKS:
            raise UsageError(
                f"{network.name}: is a network of the standard, whose tables have its name; call this one otherwise (name = …)"
            )
        if network.own and SHIPPED in network.file:
            raise UsageError(f"{network.name}: a shipped network is measured by its task; leave out samples and metric")
        if network.rate < 0:
            raise UsageError(f"{network.name}: a rate is above 0, or 0 for the network's own")
        if network.schedule and network.schedule not in SCHEDULES:
            raise UnknownName("schedule", network.schedule, SCHEDULES)
    blocks: list[Marks | Fingerprints] = [*campaign.marks, *campaign.fingerprints]
    for block in blocks:
        if min(block.networks, block.payloads) < 1 or block.testing < 0:
            raise UsageError(f"{block.title}: networks and payloads are at least 1, testing at least 0")
        for name in block.on:
            if name not in known:
                raise UnknownName(f"network in {block.title!r}", name, known)
        for name in (*block.modifications, *block.values):
            if name not in campaign.modifications:
                raise UnknownName(f"modification in {block.title!r}", name, campaign.modifications)
        for name in block.values:
            if name not in block.modifications:
                raise UsageError(f"{block.title}: values of {name}, which is not among its modifications")
    for name, values in campaign.modifications.items():
        find_modification(name)
        if not values:
            raise UsageError(f"modification {name}: a parameter with its values is wanted")
    for marks in campaign.marks:
        for parameter in marks.published:
            if parameter not in marks.parameters:
                raise UnknownName(f"parameter in {marks.title!r}", parameter, marks.parameters)
            if any(isinstance(value, str) for value in marks.parameters[parameter]):
                raise UsageError(
                    f"{marks.title}: tables have numbers only, so {parameter} cannot be among those published"
                )
        if min((0, *marks.alpha)) < 0 or min(marks.wrong_keys, marks.epochs, marks.rate) < 0:
            raise UsageError(f"{marks.title}: alpha, epochs, rate and wrong_keys are at least 0")


def _check_positions(campaign: Campaign) -> None:
    """Refuse marks of no position, of more than any network has, and of no strength, where no method checks its own parameters."""
    wanted = [(f"{block.title}: positions", block.positions) for block in campaign.fingerprints]
    if campaign.sharing is not None:
        wanted.append(("sharing: positions", campaign.sharing.positions))
        if not 0 < campaign.sharing.strength < float("inf"):
            raise UsageError("sharing: the strength is above 0")
    if campaign.scaling is not None:
        wanted += [("scaling: positions", positions) for positions in campaign.scaling.positions]
    if campaign.unicity is not None:
        wanted.append(("unicity: positions", campaign.unicity.positions))
        if campaign.unicity.epochs < 0:
            raise UsageError("unicity: epochs are at least 0")
    for name, positions in wanted:
        if not 1 <= positions <= MAX_POSITIONS:
            raise UsageError(f"{name[:200]} are 1 to {MAX_POSITIONS:,}, not {positions:,}")


def _check_amounts(campaign: Campaign) -> None:
    """Refuse campaigns that are too large to plan or run."""
    blocks: list[Marks | Fingerprints] = [*campaign.marks, *campaign.fingerprints]
    amounts = [(f"{block.title}: networks × payloads", block.networks * block.payloads) for block in blocks]
    amounts += [(f"{marks.title}: wrong_keys", marks.wrong_keys) for marks in campaign.marks]
    if campaign.unicity is not None:
        amounts.append(("unicity: networks × keys", campaign.unicity.networks * campaign.unicity.keys))
        if min(campaign.unicity.networks, campaign.unicity.keys) < 1:
            raise UsageError("unicity: networks and keys are at least 1")
        for network in campaign.networks:
            if 0 < len(network.file) < campaign.unicity.networks:
                files = f"{len(network.file)} file" + "s" * (len(network.file) > 1)
                raise UsageError(
                    f"unicity: {campaign.unicity.networks} networks are asked of {network.name}, which has {files}"
                )
    if campaign.generated is not None:
        amounts += [("generated: training", campaign.generated.training), ("testing", campaign.generated.testing)]
        if min(campaign.generated.training, campaign.generated.testing) < 1 or campaign.generated.seed < 0:
            raise UsageError("generated: training and testing are at least 1, the seed at least 0")
    for name, amount in amounts:
        if amount > MAX_AMOUNT:
            raise UsageError(f"{name[:200]} are {amount:,}, more than the {MAX_AMOUNT:,} that can be")


def _listed(values: Any, where: str) -> dict[str, tuple[Value, ...]]:
    """Each parameter with a tuple of its values."""
    listed: dict[str, tuple[Value, ...]] = of_type(Mapping[str, tuple[Value, ...]], values, where)
    empty = next((name for name, some in listed.items() if not some), None)
    if empty is not None:
        raise UsageError(f"{where}: {empty} has no values")
    return listed
