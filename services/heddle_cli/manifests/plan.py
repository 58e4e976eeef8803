"""What has to be done so that a server has what a set of files says. Reads, and changes nothing."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum

from google.protobuf.field_mask_pb2 import FieldMask

from heddle.campaign.v1alpha1.campaign_pb2 import Campaign, CampaignState
from heddle.campaign.v1alpha1.campaign_service_pb2 import (
    CreateCampaignRequest,
    ListCampaignsRequest,
    ListCampaignsResponse,
    UpdateCampaignRequest,
)
from heddle.runtime.v1.agent_pb2 import Agent, AgentSpec
from heddle.runtime.v1.agent_service_pb2 import (
    CreateAgentRequest,
    GetAgentRequest,
    ListAgentsRequest,
    ListAgentsResponse,
    UpdateAgentRequest,
)
from heddle_campaign.codec.campaigns import SETTINGS
from heddle_cli.manifests.changes import FieldChange, field_changes
from heddle_cli.manifests.documents import Document, Fault, FaultyFiles, path_of
from heddle_cli.manifests.folder import MANAGED_BY, NAME, AgentManifest, CampaignManifest, Manifests, in_order
from heddle_cli.named_campaigns import campaigns_of
from heddle_cli.paging import collect
from heddle_cli.session import Session
from heddle_core.errors import IllegalTransition, InvalidField
from heddle_core.ids import is_id
from heddle_core.runtime_errors import AgentNotFound

_EVERYTHING = 100_000


class Action(Enum):
    """What is done with one thing."""

    CREATE = "create"
    UPDATE = "update"
    UNCHANGED = "unchanged"
    REMOVE = "remove"


@dataclass(frozen=True)
class AgentStep:
    """What is done with one agent."""

    action: Action
    agent_id: str
    document: Document | None
    """Where it stands; None for one that no file names any more."""
    spec: AgentSpec
    etag: str = ""
    changes: tuple[FieldChange, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class CampaignStep:
    """What is done with one campaign."""

    action: Action
    name: str
    document: Document | None
    """Where it stands; None for one that no file names any more."""
    campaign: Campaign
    """As it should be, with its id where it has one; of one that is removed, as it is."""
    changes: tuple[FieldChange, ...] = ()
    state_from: CampaignState.ValueType = CampaignState.CAMPAIGN_STATE_DRAFT
    state_to: CampaignState.ValueType = CampaignState.CAMPAIGN_STATE_DRAFT
    note: str = ""


Step = AgentStep | CampaignStep


@dataclass(frozen=True)
class Plan:
    """Everything, in the order in which it is done: a campaign needs its agents, and outlives none of them."""

    managed_by: str
    steps: tuple[Step, ...]


async def make_plan(session: Session, manifests: Manifests, *, prune: bool = False, adopt: bool = False) -> Plan:
    """What differs between files and server.

    `prune`: what this set manages and no longer names is removed; `adopt`: agents of the same id that nobody manages,
    or another set, become this set's. Raises FaultyFiles with the faults of the files and everything that the server
    does not take.
    """
    agents = await _named_agents(session, manifests)
    campaigns = await _campaigns(session, manifests.managed_by)
    gone = await _gone_agents(session, manifests) if prune else []
    faults = [*manifests.faults, *_unknown_agents(manifests, agents, {each.agent_id for each in gone})]
    steps: list[Step] = []
    for manifest in manifests.agents:
        try:
            step = _agent_step(manifest, agents.get(manifest.agent_id), manifests.managed_by, adopt=adopt)
            await _ask_whether(session, step)
            steps.append(step)
        except FaultyFiles as faulty:
            faults += faulty.faults
        except InvalidField as error:
            faults += placed(manifest.document, error)
    for manifest in manifests.campaigns:
        try:
            steps.append(await _campaign_step(session, manifest, campaigns.get(manifest.name)))
        except InvalidField as error:
            faults += placed(manifest.document, error)
    if faults:
        raise FaultyFiles(in_order(faults))
    if prune:
        steps += _gone_campaigns(campaigns, {each.name for each in manifests.campaigns})
        steps += gone
    return Plan(manifests.managed_by, tuple(steps))


def creation_of(step: AgentStep) -> CreateAgentRequest:
    """The request that makes an agent, without its id."""
    return CreateAgentRequest(agent_id=step.agent_id, spec=step.spec)


def update_of(step: AgentStep, request_id: str = "", *, validate_only: bool = False) -> UpdateAgentRequest:
    """The request that makes an agent what it should be."""
    return UpdateAgentRequest(
        request_id=request_id,
        agent_id=step.agent_id,
        spec=step.spec,
        update_mask=FieldMask(paths=["*"]),
        etag=step.etag,
        validate_only=validate_only,
    )


def placed(document: Document, error: InvalidField) -> list[Fault]:
    """What a server refuses, with the lines of the file. It names fields as `campaign.schedule.cron`."""
    return [document.fault(path_of(each.field.partition(".")[2]), each.remedy) for each in error.violations]


async def _named_agents(session: Session, manifests: Manifests) -> Mapping[str, Agent]:
    """Those of the server that the files name, by their ids."""
    named = {each.agent_id for each in manifests.agents}
    named |= {agent.agent_id for each in manifests.campaigns for agent in each.campaign.agents}
    found: dict[str, Agent] = {}
    for agent_id in sorted(each for each in named if is_id(each)):
        try:
            found[agent_id] = (await session.stubs.agents.GetAgent(GetAgentRequest(agent_id=agent_id))).agent
        except AgentNotFound:
            continue
    return found


def _unknown_agents(manifests: Manifests, there: Mapping[str, Agent], gone: set[str]) -> Iterator[Fault]:
    """Agents of campaigns that neither the server nor the files have; those that are disabled may come later."""
    if manifests.agents_known is None:
        return
    for manifest in manifests.campaigns:
        for place, each in enumerate(manifest.campaign.agents):
            if each.disabled or not is_id(each.agent_id) or each.agent_id in manifests.agents_known:
                continue
            agent = there.get(each.agent_id)
            path = ("agents", place, "agent_id")
            if agent is None:
                remedy = f"there is no agent {each.agent_id}: `heddle agents list` tells those that are there"
                yield manifest.document.fault(path, f"{remedy}, or put its file beside this one")
            elif agent.archived or each.agent_id in gone:
                why = "is archived" if agent.archived else "is removed with --prune"
                yield manifest.document.fault(path, f"agent {each.agent_id} {why}: name another")
            elif each.agent_version > agent.version:
                remedy = f"agent {each.agent_id} has versions up to {agent.version}"
                yield manifest.document.fault(("agents", place, "agent_version"), remedy)


async def _campaigns(session: Session, managed_by: str) -> Mapping[str, Campaign]:
    """The set's campaigns by their names; of two with one name, which only another client can have made, the older."""

    async def page(size: int, token: str) -> ListCampaignsResponse:
        request = ListCampaignsRequest(page_size=size, page_token=token, labels={MANAGED_BY: managed_by})
        return await campaigns_of(session).ListCampaigns(request)

    found = (await collect(page, "campaigns", most=_EVERYTHING)).campaigns
    return {each.labels[NAME] or each.campaign_id: each for each in found}


def _agent_step(manifest: AgentManifest, agent: Agent | None, managed_by: str, *, adopt: bool) -> AgentStep:
    spec = manifest.spec
    step = AgentStep(Action.CREATE, manifest.agent_id, manifest.document, spec)
    if agent is None or agent.built_in:
        note = "takes the place of the one that comes with Heddle" if agent is not None else ""
        return replace(step, changes=field_changes(AgentSpec(), spec), note=note)
    owner = _manager_of(agent)
    if owner != managed_by and not adopt and not agent.archived:
        whose = f"belongs to the set {owner}" if owner else "was made otherwise"
        remedy = f"agent {manifest.agent_id} exists and {whose}: give --adopt to take it over, or choose another id"
        raise FaultyFiles([manifest.document.fault(("agent_id",), remedy)])
    changes = field_changes(agent.spec, spec)
    if agent.archived:
        changes = (FieldChange("archived", "true", None), *changes)
    action = Action.UPDATE if changes else Action.UNCHANGED
    return replace(step, action=action, etag=agent.etag, changes=changes)


def _manager_of(agent: Agent) -> str:
    """The set that an agent belongs to. Empty: it was made otherwise."""
    return agent.spec.labels.get(MANAGED_BY, "")


async def _ask_whether(session: Session, step: AgentStep) -> None:
    """Ask the server whether it would take an agent as it should be. Raises InvalidField."""
    if step.action is Action.UNCHANGED:
        return
    try:
        # Also for one that is still to be made: a server that is older than CreateAgent's `validate_only` skips that
        # field, and makes the agent; UpdateAgent makes none on any server.
        await session.stubs.agents.UpdateAgent(update_of(step, session.new_request_id(), validate_only=True))
    except (AgentNotFound, IllegalTransition):
        # That there is none yet, or the one that comes with Heddle, is said only when all fields are in order.
        if step.action is not Action.CREATE:
            raise


async def _campaign_step(session: Session, manifest: CampaignManifest, there: Campaign | None) -> CampaignStep:
    step = CampaignStep(Action.CREATE, manifest.name, manifest.document, manifest.campaign)
    if there is None:
        request = CreateCampaignRequest(
            request_id=session.new_request_id(), campaign=manifest.campaign, validate_only=True
        )
        found = (await campaigns_of(session).CreateCampaign(request)).campaign
        state = _next_state(CampaignState.CAMPAIGN_STATE_DRAFT, manifest)
        return replace(step, changes=_changes(Campaign(), found, manifest), state_to=state)
    wanted = _with_progress(manifest.campaign, there)
    step = replace(step, action=Action.UNCHANGED, campaign=wanted, state_from=there.state, state_to=there.state)
    if there.state == CampaignState.CAMPAIGN_STATE_COMPLETED:
        return replace(step, note="is COMPLETED, for good: it is left as it is; give a new one another name")
    request = UpdateCampaignRequest(
        request_id=session.new_request_id(),
        campaign=wanted,
        update_mask=FieldMask(paths=SETTINGS),
        validate_only=True,
    )
    changes = _changes(there, (await campaigns_of(session).UpdateCampaign(request)).campaign, manifest)
    step = replace(step, changes=changes, state_to=_next_state(there.state, manifest))
    if there.state == CampaignState.CAMPAIGN_STATE_PAUSED and manifest.state != there.state:
        step = replace(step, note=f"stays PAUSED: `heddle campaign resume {manifest.name}` goes on")
    return replace(step, action=Action.UPDATE) if changes or step.state_to != there.state else step


def _with_progress(campaign: Campaign, there: Campaign) -> Campaign:
    """What should be, under the id and etag of what is. A goal's value that the file does not say stays."""
    wanted = Campaign()
    wanted.CopyFrom(campaign)
    wanted.campaign_id, wanted.etag = there.campaign_id, there.etag
    reached = {each.key: each.current_value for each in there.goals}
    for goal in wanted.goals:
        goal.current_value = goal.current_value or reached.get(goal.key, 0.0)
    return wanted


def _changes(before: Campaign, after: Campaign, manifest: CampaignManifest) -> tuple[FieldChange, ...]:
    """What differs of what an owner says. Both come from the server, so its defaults stand on both sides."""
    leave = ["schedule.version"]
    if not manifest.campaign.schedule.HasField("start_time"):
        leave.append("schedule.start_time")  # The server puts there when the schedule was set.
    return field_changes(_settings(before), _settings(after), leave=leave)


def _settings(campaign: Campaign) -> Campaign:
    only = Campaign()
    only.CopyFrom(campaign)
    for name in Campaign.DESCRIPTOR.fields_by_name:
        if name not in SETTINGS:
            only.ClearField(name)  # pyright: ignore[reportArgumentType]
    return only


def _next_state(state: CampaignState.ValueType, manifest: CampaignManifest) -> CampaignState.ValueType:
    """A draft is activated, an active one paused. What somebody or a budget paused is for people to resume."""
    match state, manifest.state:
        case CampaignState.CAMPAIGN_STATE_DRAFT, CampaignState.CAMPAIGN_STATE_ACTIVE:
            return CampaignState.CAMPAIGN_STATE_ACTIVE
        case CampaignState.CAMPAIGN_STATE_ACTIVE, CampaignState.CAMPAIGN_STATE_PAUSED:
            return CampaignState.CAMPAIGN_STATE_PAUSED
        case _:
            return state


def _gone_campaigns(campaigns: Mapping[str, Campaign], named: set[str]) -> list[Step]:
    return [
        CampaignStep(Action.REMOVE, name, None, each, state_from=each.state, note="with its cycles and memories")
        for name, each in campaigns.items()
        if name not in named
    ]


async def _gone_agents(session: Session, manifests: Manifests) -> list[AgentStep]:
    """Agents of the set that no file names any more."""

    async def page(size: int, token: str) -> ListAgentsResponse:
        labels = {MANAGED_BY: manifests.managed_by}
        request = ListAgentsRequest(page_size=size, page_token=token, labels=labels)
        return await session.stubs.agents.ListAgents(request)

    named = {each.agent_id for each in manifests.agents}
    return [
        AgentStep(Action.REMOVE, each.agent_id, None, each.spec, note="it is archived; its threads stay")
        for each in (await collect(page, "agents", most=_EVERYTHING)).agents
        # An older server does not know the labels of a list, and gives everybody's.
        if _manager_of(each) == manifests.managed_by and each.agent_id not in named
    ]
