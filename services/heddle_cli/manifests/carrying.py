"""Does what a plan says, step by step. A plan that stopped half-way is made and carried out again."""

import hashlib
import json

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from heddle.campaign.v1alpha1.campaign_pb2 import Campaign, CampaignState
from heddle.campaign.v1alpha1.campaign_service_pb2 import (
    ActivateCampaignRequest,
    CreateCampaignRequest,
    DeleteCampaignRequest,
    GetCampaignRequest,
    PauseCampaignRequest,
    UpdateCampaignRequest,
)
from heddle.runtime.v1.agent_service_pb2 import ArchiveAgentRequest
from heddle_cli.display.screen import as_json
from heddle_cli.manifests.documents import FaultyFiles
from heddle_cli.manifests.plan import Action, AgentStep, CampaignStep, Step, creation_of, placed, update_of
from heddle_cli.named_campaigns import campaigns_of
from heddle_cli.session import Session
from heddle_core.companion_errors import CampaignNotFound
from heddle_core.errors import InvalidField

_MOST_LIVES = 1_000
"""How often one and the same campaign can be created and deleted while the server remembers requests."""


async def carry_out(session: Session, step: Step) -> str:
    """Do one step; the id of what was made, changed or removed.

    Raises FaultyFiles for what the server does not take, and what else the calls raise.
    """
    try:
        if isinstance(step, AgentStep):
            await _agent(session, step)
            return step.agent_id
        return await _campaign(session, step)
    except InvalidField as error:
        if step.document is None:
            raise
        raise FaultyFiles(placed(step.document, error)) from error


def request_id(request: Message, *, life: int = 0) -> str:
    """The id for a request, of what it says: who repeats an apply whose answers were lost changes nothing twice.

    `life` tells apart those that say the same after what the first one made has been deleted.
    """
    told = json.dumps([type(request).__name__, as_json(request), life], sort_keys=True)
    return f"apply-{hashlib.sha256(told.encode()).hexdigest()[:40]}"


async def _agent(session: Session, step: AgentStep) -> None:
    agents = session.stubs.agents
    match step.action:
        case Action.CREATE:
            created = creation_of(step)
            created.request_id = request_id(created)
            await agents.CreateAgent(created)
        case Action.UPDATE:
            updated = update_of(step)
            updated.request_id = request_id(updated)
            await agents.UpdateAgent(updated)
        case Action.REMOVE:
            # Repeating it changes nothing, and an agent can be archived more than once in its life.
            await agents.ArchiveAgent(ArchiveAgentRequest(request_id=session.new_request_id(), agent_id=step.agent_id))
        case Action.UNCHANGED:
            pass


async def _campaign(session: Session, step: CampaignStep) -> str:
    match step.action:
        case Action.CREATE:
            campaign = await _create(session, step.campaign)
        case Action.UPDATE:
            campaign = await _update(session, step)
        case Action.REMOVE:
            await _remove(session, step)
            return step.campaign.campaign_id
        case Action.UNCHANGED:
            return step.campaign.campaign_id
    await _move(session, campaign, step)
    return campaign.campaign_id


async def _create(session: Session, wanted: Campaign) -> Campaign:
    for life in range(_MOST_LIVES):
        request = CreateCampaignRequest(campaign=wanted)
        request.request_id = request_id(request, life=life)
        try:
            created = (await campaigns_of(session).CreateCampaign(request)).campaign
            return (await campaigns_of(session).GetCampaign(_by_id(created))).campaign
        except CampaignNotFound:  # It was created so before, and deleted since.
            continue
    raise CampaignNotFound(wanted.title)


async def _update(session: Session, step: CampaignStep) -> Campaign:
    fields = sorted({each.field.partition(".")[0].partition("[")[0] for each in step.changes})
    if not fields:
        return step.campaign
    request = UpdateCampaignRequest(
        campaign=step.campaign, update_mask=FieldMask(paths=fields), etag=step.campaign.etag
    )
    request.request_id = request_id(request)
    return (await campaigns_of(session).UpdateCampaign(request)).campaign


async def _move(session: Session, campaign: Campaign, step: CampaignStep) -> None:
    """Bring it into its state, unless it is there: a repeated step finds it moved."""
    if step.state_to == campaign.state or step.state_to == step.state_from:
        return
    if step.state_to == CampaignState.CAMPAIGN_STATE_ACTIVE:
        activate = ActivateCampaignRequest(campaign_id=campaign.campaign_id, etag=campaign.etag)
        activate.request_id = request_id(activate)
        await campaigns_of(session).ActivateCampaign(activate)
        return
    pause = PauseCampaignRequest(campaign_id=campaign.campaign_id, note="as its file says")
    pause.request_id = session.new_request_id()
    await campaigns_of(session).PauseCampaign(pause)


async def _remove(session: Session, step: CampaignStep) -> None:
    """Delete it. An active one is paused first: if that is as far as it gets, somebody can resume it."""
    campaign_id = step.campaign.campaign_id
    if step.state_from == CampaignState.CAMPAIGN_STATE_ACTIVE:
        pause = PauseCampaignRequest(campaign_id=campaign_id, note="it is no longer in its folder", cancel_cycles=True)
        pause.request_id = session.new_request_id()
        await campaigns_of(session).PauseCampaign(pause)
    delete = DeleteCampaignRequest(campaign_id=campaign_id)
    delete.request_id = request_id(delete)
    await campaigns_of(session).DeleteCampaign(delete)


def _by_id(campaign: Campaign) -> GetCampaignRequest:
    return GetCampaignRequest(campaign_id=campaign.campaign_id)
