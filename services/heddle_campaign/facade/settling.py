"""What an ACTIVE campaign's schedule does now: the decision that the claim round asks for each that is due. Pure."""

from heddle_campaign.facade.lifecycle import exhaustion, halt
from heddle_campaign.facade.ports.decisions import Change, Standing
from heddle_campaign.facade.scheduling import changed, written
from heddle_campaign.rules import due
from heddle_campaign.rules.states import CampaignState


def settle(standing: Standing) -> Change:
    """Fire, skip and record what is due; a campaign whose means are used up, or whose schedule is over, ends or pauses.

    One that is not ACTIVE, or has no schedule, is not asked again.
    """
    campaign = standing.campaign
    schedule = campaign.settings.schedule
    if campaign.state is not CampaignState.ACTIVE or schedule is None:
        return Change(changed(campaign, standing.now, next_due=None)) if campaign.next_due else Change(campaign)
    used_up = exhaustion(campaign)
    if used_up is not None:
        return halt(standing, used_up)
    return written(standing, campaign, due.due(schedule, campaign.schedule_state, standing.now, standing.load))
