"""The campaign service as a process of its own: what it prints, what it tells of itself, and how it ends."""

import asyncio
import json
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from heddle.campaign.v1alpha1.campaign_service_pb2 import ListCampaignTemplatesRequest
from heddle.campaign.v1alpha1.campaign_service_pb2_grpc import CampaignServiceStub
from tests.kit.cli import start

CAMPAIGNS = "heddle.campaign.v1alpha1.CampaignService"


async def test_serve_campaign_tells_where_it_listens_and_stops_on_sigterm(tmp_path: Path) -> None:
    settings = {"HEDDLE_CAMPAIGN_DATA_DIR": str(tmp_path), "HEDDLE_CAMPAIGN_LISTEN": "127.0.0.1:0"}
    process = await start("serve", "campaign", env=settings)
    async with asyncio.timeout(60):
        told = json.loads(await process.stdout.readline())
        async with grpc.aio.insecure_channel(told["address"]) as channel:
            health: Any = health_pb2_grpc.HealthStub(channel)
            asked = await health.Check(health_pb2.HealthCheckRequest(service=CAMPAIGNS), timeout=10)
            assert asked.status == health_pb2.HealthCheckResponse.SERVING
            stub: Any = CampaignServiceStub(channel)
            templates = await stub.ListCampaignTemplates(ListCampaignTemplatesRequest(), timeout=10)
            assert len(templates.campaign_templates) == 3
        served = await asyncio.to_thread(reflected, told["address"])
        process.terminate()
        _, said = await process.communicate()
    assert process.returncode == 0, said.decode()
    assert {CAMPAIGNS, "heddle.tools.v1.ToolService"} <= served
    assert (tmp_path / "campaign.db").exists()


def reflected(address: str) -> set[str]:
    """The services that a server tells of."""
    with grpc.insecure_channel(address) as channel:
        return set(ProtoReflectionDescriptorDatabase(channel).get_services())


async def test_settings_are_printed_without_their_secrets(tmp_path: Path) -> None:
    settings = {
        "HEDDLE_CAMPAIGN_DATABASE": "postgresql://ann:very-secret@db/heddle",
        "HEDDLE_CAMPAIGN_RUNTIME__TOKEN": "very-secret",
        "HEDDLE_CAMPAIGN_WEBHOOK_SECRETS": '{"acme": ["whsec_very-secret"]}',
    }
    process = await start("serve", "campaign", "--print-config", env=settings, cwd=tmp_path)
    async with asyncio.timeout(60):
        out, _ = await process.communicate()
    assert process.returncode == 0
    assert json.loads(out)["database"] == "postgresql://ann:***@db/heddle"
    assert b"very-secret" not in out
    assert not list(tmp_path.iterdir())  # noqa: ASYNC240 - nothing else runs in this loop


async def test_a_second_process_on_the_same_folder_is_refused_with_a_remedy(tmp_path: Path) -> None:
    settings = {"HEDDLE_CAMPAIGN_DATA_DIR": str(tmp_path), "HEDDLE_CAMPAIGN_LISTEN": "127.0.0.1:0"}
    first = await start("serve", "campaign", env=settings)
    async with asyncio.timeout(60):
        assert await first.stdout.readline()
        second = await start("serve", "campaign", env=settings)
        _, said = await second.communicate()
        first.terminate()
        await first.communicate()
    assert second.returncode not in (0, None)
    assert "campaign.db" in said.decode()
