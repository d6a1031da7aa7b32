"""What a policy asks of which file: the questions, before any file is opened."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from onnxnnw.errors import CannotLook
from onnxnnw.gate.addresses import Repositories, names
from onnxnnw.gate.places import changed_since, expand, matches, networks_in, relative
from onnxnnw.gate.policy import Bundle, Member, Policy, PolicyEntry
from onnxnnw.sources.addresses import address_of, is_repository

__all__ = ["Job", "jobs_of"]

_Place = Path | str
"""A file of this disk, or an address."""


@dataclass(frozen=True)
class Job:
    """One question about one file.

    Attributes:
        path: The file, or its address.
        network: Name of the entry that says what it must be; empty where nothing does, or a digest does.
        member: The file of a bundle.
        bundle: Name of the bundle.
        mode: Whether its answer counts.
        missing: Whether the file is named and not there.
        error: Why a repository could not be looked through, which then stands for its files.
    """

    path: Path | str
    network: str = ""
    member: Member | None = None
    bundle: str = ""
    mode: str = ""
    missing: bool = False
    error: CannotLook | None = None


def jobs_of(
    policy: Policy, paths: Sequence[Path | str], revision: str = "", kept: Sequence[Path] = ()
) -> tuple[list[Job], int]:
    """What is to be asked, and how many networks were left out as unchanged.

    Args:
        paths: Files, folders and, as texts, addresses; none for all files that the policy names.
        revision: Where given, networks that are as they were then are left out.
        kept: Files by which the answers may change too.

    Raises:
        CannotLook: A folder cannot be read, or git says nothing. That a repository cannot be asked is its answer.
        UsageError: An address is none.
    """
    repositories = Repositories()
    named, jobs = _given(policy, paths, repositories) if paths else _of_policy(policy, repositories)
    bundled = {place for bundle in policy.bundles for member in bundle.members if (place := _here(policy, member))}
    inside = {relative(path, policy.folder) for path in bundled}
    chosen = list(named)
    if revision:
        here = [path for path in chosen if isinstance(path, Path)]
        everything = [*here, *(path for path in bundled if path not in named)]
        changed = set(changed_since(everything, revision, [policy.path, *kept]))
        chosen = [path for path in named if path in changed or _outside_git(path, named[path])]
        bundled &= changed
    for each in chosen:
        jobs += [Job(each, entry.name, mode=entry.mode) for entry in named[each]]
        if not named[each] and policy.others == "refuse" and not _in_a_bundle(policy, each, inside):
            jobs.append(Job(each, mode=policy.mode))
    for bundle in policy.bundles:
        asked = not paths or _touched(policy, bundle, paths, chosen)
        if asked and (not revision or any(_here(policy, one) in bundled or one.address for one in bundle.members)):
            jobs += [_job_of(policy, bundle, member) for member in bundle.members]
    return jobs, len(named) - len(chosen)


def _given(
    policy: Policy, paths: Sequence[_Place], repositories: Repositories
) -> tuple[dict[_Place, list[PolicyEntry]], list[Job]]:
    """Files and addresses that were given, with the entries that name them."""
    named: dict[_Place, list[PolicyEntry]] = {}
    jobs: list[Job] = []
    for address in [path for path in paths if isinstance(path, str) and not is_repository(path)]:
        address_of(address)  # one that is none is said before anything is asked
    for path in paths:
        if isinstance(path, Path):
            for file in networks_in(path) if path.is_dir() else [path]:
                name = relative(file, policy.folder)
                named.setdefault(file, [entry for entry in policy.networks if matches(name, entry.files)])
            continue
        files = repositories.files(path) if is_repository(path) else [path]
        if isinstance(files, CannotLook):
            jobs.append(Job(path, mode=policy.mode, error=files))
            continue
        for one in files:
            beside = _as_given(path, one)
            entries = [e for e in policy.networks if any(_speaks_of(said, one, beside) for said in e.addresses)]
            named.setdefault(one, entries)
    return named, jobs


def _as_given(repository: str, file: str) -> str:
    """A file's address with the revision by which its repository was given, and not the commit that this is."""
    if not is_repository(repository):
        return file
    return f"{repository.rstrip('/')}/{file.split('/', 4)[4]}"


def _speaks_of(said: str, *given: str) -> bool:
    return any(names(said, one) for one in given)


def _of_policy(policy: Policy, repositories: Repositories) -> tuple[dict[_Place, list[PolicyEntry]], list[Job]]:
    """All files and addresses that the policy names."""
    named: dict[_Place, list[PolicyEntry]] = {}
    jobs: list[Job] = []
    for entry in policy.networks:
        for glob in entry.files:
            found = [path for path in expand(policy.folder, glob) if path.exists() or path.is_symlink()]
            if not found and not any(m.network == entry.name for bundle in policy.bundles for m in bundle.members):
                jobs.append(Job(policy.folder / glob, entry.name, mode=entry.mode, missing=True))
            for file in found:
                entries = named.setdefault(file, [])
                entries += [entry] if entry not in entries else []
        for address in entry.addresses:
            asks = is_repository(address) and entry.mode != "off"
            files = repositories.files(address) if asks else [address]
            if isinstance(files, CannotLook):
                jobs.append(Job(address, entry.name, mode=entry.mode, error=files))
                continue
            for one in files:
                entries = named.setdefault(one, [])
                entries += [entry] if entry not in entries else []
    return named, jobs


def _here(policy: Policy, member: Member) -> Path | None:
    """Where a bundle's file lies; None behind an address."""
    return None if member.address else policy.folder / member.path


def _outside_git(path: _Place, entries: Iterable[PolicyEntry]) -> bool:
    """Whether git cannot say that an answer is as it was: behind an address, or where a registry may have changed."""
    return not isinstance(path, Path) or any(entry.registry for entry in entries)


def _in_a_bundle(policy: Policy, place: _Place, inside: set[str]) -> bool:
    """Whether a bundle names the file, so that it says what it must be."""
    if isinstance(place, Path):
        return relative(place, policy.folder) in inside
    return any(member.address and names(member.path, place) for bundle in policy.bundles for member in bundle.members)


def _touched(policy: Policy, bundle: Bundle, paths: Sequence[_Place], chosen: Sequence[_Place]) -> bool:
    """Whether one of a bundle's files was given, or lies in a folder that was."""
    given = {relative(file, policy.folder) for file in chosen if isinstance(file, Path)}
    folders = [relative(path, policy.folder) for path in paths if isinstance(path, Path)]
    addresses = [place for place in chosen if not isinstance(place, Path)]
    for member in bundle.members:
        if member.address:
            if any(names(member.path, address) for address in addresses):
                return True
        elif os.path.normpath(member.path) in given or any(_covers(place, member.path) for place in folders):
            return True
    return False


def _covers(place: str, member: str) -> bool:
    return member == place or place == "." or member.startswith(f"{place}/")


def _job_of(policy: Policy, bundle: Bundle, member: Member) -> Job:
    place = _here(policy, member)
    if place is None:
        return Job(member.path, member.network, member, bundle.name, bundle.mode)
    there = place.exists() or place.is_symlink()
    return Job(place, member.network, member, bundle.name, bundle.mode, bool(member.network) and not there)
