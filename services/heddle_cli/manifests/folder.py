"""Reads a folder of campaigns and agents as they should be: nothing here asks a server."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path as File
from typing import Any

from google.protobuf.json_format import ParseError
from pydantic import ValidationError

from heddle.campaign.v1alpha1.campaign_pb2 import Campaign, CampaignState
from heddle.runtime.v1.agent_pb2 import AgentSpec
from heddle_cli.agent_files import agent_spec
from heddle_cli.manifests.campaign_file import CampaignFile
from heddle_cli.manifests.documents import Document, Fault, FaultyFiles, Path, documents, path_of
from heddle_cli.manifests.messages import fill

MANAGED_BY = "heddle.dev/managed-by"
"""Label of a campaign or an agent: the set of files that it belongs to."""
NAME = "heddle.dev/name"
"""Label of a campaign: its name in that set."""

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_OURS = ("campaign", "state")
_STATES = {
    "draft": CampaignState.CAMPAIGN_STATE_DRAFT,
    "active": CampaignState.CAMPAIGN_STATE_ACTIVE,
    "paused": CampaignState.CAMPAIGN_STATE_PAUSED,
}
_NO_FIELD = re.compile(r'has no field named "([^"]*)" at "AgentSpec\.?([^"]*)"')
_BAD_FIELD = re.compile(r"Failed to parse (\S+) field: (.*)")


@dataclass(frozen=True)
class AgentManifest:
    """An agent as it should be."""

    document: Document
    agent_id: str
    spec: AgentSpec
    """With its label."""


@dataclass(frozen=True)
class CampaignManifest:
    """A campaign as it should be."""

    document: Document
    name: str
    campaign: Campaign
    """With its labels, and without anything that only a server sets."""
    state: CampaignState.ValueType
    """DRAFT, ACTIVE or PAUSED."""


@dataclass(frozen=True)
class Manifests:
    """A set of files."""

    managed_by: str
    agents: tuple[AgentManifest, ...]
    campaigns: tuple[CampaignManifest, ...]
    whole: bool
    """Whether this is all of the set: a folder, and not one file of it."""
    faults: tuple[Fault, ...] = ()
    """What is wrong in files, whose documents are left out."""
    agents_known: frozenset[str] | None = frozenset()
    """Agents that the set names, also where their document has a fault. None: a file cannot be read at all."""


def read_manifests(place: str, managed_by: str = "") -> Manifests:
    """The files of a folder and of the folders in it, or one file.

    `managed_by`: name of the set; the folder's own if left out. Raises FaultyFiles with everything that is wrong.
    """
    manifests = sound_manifests(place, managed_by)
    if manifests.faults:
        raise FaultyFiles(manifests.faults)
    return manifests


def sound_manifests(place: str, managed_by: str = "") -> Manifests:
    """The same with what is wrong beside what is sound. Raises FaultyFiles where there is no file at all."""
    files = list(_files(File(place)))
    if not files:
        raise FaultyFiles([Fault(place, 1, "", "holds no *.yaml: name a folder or a file with agents and campaigns")])
    name = managed_by or (File(place) if File(place).is_dir() else File(place).parent).resolve().name
    faults: list[Fault] = []
    if not _NAME.fullmatch(name):
        faults.append(
            Fault(place, 1, "", f"{name!r} cannot name a set: give one of letters, digits, - and _ with --name")
        )
    agents: list[AgentManifest] = []
    campaigns: list[CampaignManifest] = []
    found, unread = _documents(files)
    faults += unread
    for document in found:
        try:
            if "agent_id" in document.fields:
                agents.append(_agent(document, name))
            else:
                campaigns.append(_campaign(document, name))
        except FaultyFiles as faulty:
            faults += faulty.faults
    faults += _twice([(each.document, "agent_id", each.agent_id) for each in agents])
    faults += _twice([(each.document, "campaign", each.name) for each in campaigns])
    known = frozenset(str(each.fields.get("agent_id", "")) for each in found)
    return Manifests(
        name,
        tuple(agents),
        tuple(campaigns),
        File(place).is_dir(),
        tuple(in_order(faults)),
        None if unread else known,
    )


def in_order(faults: Iterable[Fault]) -> list[Fault]:
    """By file and line."""
    return sorted(faults, key=lambda each: (each.file, each.line))


def _documents(files: Iterable[File]) -> tuple[list[Document], list[Fault]]:
    found: list[Document] = []
    faults: list[Fault] = []
    for file in files:
        try:
            found += documents(file.read_text(encoding="utf-8"), str(file))
        except FaultyFiles as faulty:
            faults += faulty.faults
        except (OSError, UnicodeDecodeError) as error:
            faults.append(Fault(str(file), 1, "", f"cannot be read: {error}"))
    return found, faults


def _files(place: File) -> Iterable[File]:
    if place.is_dir():
        found = (each for pattern in ("*.yaml", "*.yml") for each in place.rglob(pattern))
        return sorted(each for each in found if not any(part.startswith(".") for part in each.relative_to(place).parts))
    return [place] if place.exists() else []


def _agent(document: Document, managed_by: str) -> AgentManifest:
    fields = dict(document.fields)
    agent_id = fields.pop("agent_id")
    if not isinstance(agent_id, str) or not _NAME.fullmatch(agent_id):
        raise FaultyFiles([document.fault(("agent_id",), "must be 1 to 64 letters, digits, - and _")])
    try:
        spec = agent_spec(fields)
    except ParseError as error:
        raise FaultyFiles([_agent_fault(document, str(error))]) from error
    spec.labels[MANAGED_BY] = managed_by
    return AgentManifest(document, agent_id, spec)


def _agent_fault(document: Document, problem: str) -> Fault:
    """Where a field of an agent's file does not fit; protobuf tells its path in words."""
    if unknown := _NO_FIELD.search(problem):
        name, above = unknown.groups()
        path = path_of(above)
        return document.fault((*path, name), _no_field(name, _fields_at(AgentSpec.DESCRIPTOR, path)))
    path = ()
    while bad := _BAD_FIELD.fullmatch(problem):
        path, problem = (*path, bad[1]), bad[2]
    return document.fault(path, problem.rstrip("."))


def _campaign(document: Document, managed_by: str) -> CampaignManifest:
    if "campaign" not in document.fields:
        raise FaultyFiles([document.fault((), "is neither an agent (agent_id: ID) nor a campaign (campaign: NAME)")])
    try:
        file = CampaignFile.model_validate(document.fields)
    except ValidationError as error:
        raise FaultyFiles(list(_faults(document, error))) from error
    campaign = Campaign()
    fill(campaign, file, leave=_OURS)
    campaign.labels.update({MANAGED_BY: managed_by, NAME: file.campaign})
    return CampaignManifest(document, file.campaign, campaign, _STATES[file.state])


def _faults(document: Document, error: ValidationError) -> Iterator[Fault]:
    for each in error.errors(include_url=False):
        path: Path = each["loc"]
        match each["type"]:
            case "extra_forbidden":
                yield document.fault(path, _no_field(str(path[-1]), _fields_at(Campaign.DESCRIPTOR, path[:-1])))
            case "missing":
                yield document.fault(path, "must be there")
            case "value_error":
                yield document.fault(path, each["msg"].removeprefix("Value error, "))
            case "string_too_short":
                yield document.fault(path, "must not be empty")
            case "string_type":
                yield document.fault(path, "must be text: put it in quotes")
            case _:
                yield document.fault(path, each["msg"][:1].lower() + each["msg"][1:])


def _fields_at(kind: Any, path: Path) -> Iterable[str]:
    """The fields of a message of `kind`, or of one below it."""
    for step in path:
        if isinstance(step, str):
            kind = kind.fields_by_name[step].message_type
    return kind.fields_by_name


def _no_field(name: str, known: Iterable[str]) -> str:
    near = get_close_matches(name, list(known), n=1)
    return f"there is no such field: do you mean {near[0]}?" if near else "there is no such field"


def _twice(named: Sequence[tuple[Document, str, str]]) -> Iterator[Fault]:
    first: dict[str, Document] = {}
    for document, field, name in named:
        before = first.setdefault(name, document)
        if before is not document:
            yield document.fault((field,), f"{name} stands in {before.file} too: one of them must go")
