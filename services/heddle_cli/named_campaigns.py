"""Finds the campaign that somebody means: by its id, or by the name that its file gives it."""

import typer

from heddle.campaign.v1alpha1.campaign_service_pb2 import ListCampaignsRequest
from heddle.campaign.v1alpha1.campaign_service_pb2_grpc import CampaignServiceStub
from heddle_cli.manifests.folder import MANAGED_BY, NAME
from heddle_cli.session import Session

_ID = "campaign_"


def campaigns_of(session: Session) -> CampaignServiceStub:
    """The campaign service on the session's connection."""
    return CampaignServiceStub(session.channel)


async def campaign_id_of(session: Session, said: str) -> str:
    """The id; what names no campaign comes back as it is, so that the server says what is wrong with it.

    Raises BadParameter where several have that name.
    """
    if said.startswith(_ID):
        return said
    request = ListCampaignsRequest(labels={NAME: said})
    found = (await campaigns_of(session).ListCampaigns(request)).campaigns
    if len(found) > 1:
        told = ", ".join(f"{each.campaign_id} (of {each.labels[MANAGED_BY]})" for each in found)
        raise typer.BadParameter(f"several campaigns are called {said}: {told}; give the id")
    return found[0].campaign_id if found else said
