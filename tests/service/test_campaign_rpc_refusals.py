"""What CampaignService refuses of requests: each refusal names the field; nothing is INTERNAL."""

import base64
import hashlib
import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest
import pytest_asyncio
from google.protobuf.timestamp_pb2 import Timestamp

from heddle.campaign.v1alpha1 import campaign_pb2, signal_pb2
from heddle.campaign.v1alpha1 import campaign_service_pb2 as pb
from heddle.campaign.v1alpha1 import cycle_request_pb2 as cycle_pb
from heddle.campaign.v1alpha1 import memory_request_pb2 as memory_pb
from heddle_core.companion_errors import CampaignNotFound, CycleNotFound, MemoryNotFound
from heddle_core.errors import IllegalTransition, InvalidField
from heddle_grpc.fingerprints import fingerprint
from tests.kit.running_campaigns import Studio, at, refusal, studio
from tests.kit.running_runtime import new_id


@pytest_asyncio.fixture(name="here", scope="module", loop_scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Studio]:
    async with studio(tmp_path_factory.mktemp("refusals")) as here:
        yield here


pytestmark = pytest.mark.asyncio(loop_scope="module")


LONG = "x" * 5_000


def bad_requests(campaign_id: str) -> dict[str, tuple[str, Any, str]]:
    """By name: the RPC, its request, and the field that is refused."""
    own: dict[str, Any] = {"request_id": "r", "campaign_id": campaign_id}
    past = {"start_time": at("2026-02-01T00:00:00Z"), "end_time": at("2026-02-02T00:00:00Z")}
    future = {"start_time": at("2100-02-01T00:00:00Z"), "end_time": at("2100-02-02T00:00:00Z")}
    told = {"kind": "a", "dedupe_key": "d"}
    first = Timestamp(seconds=-62_135_596_800)
    return {
        "no request id": ("PauseCampaign", pb.PauseCampaignRequest(campaign_id=campaign_id), "request_id"),
        "no campaign": ("ActivateCampaign", pb.ActivateCampaignRequest(request_id="r"), "campaign_id"),
        "a note that is too long": ("PauseCampaign", pb.PauseCampaignRequest(**own, note=LONG), "note"),
        "an order that is none": ("ListCampaigns", pb.ListCampaignsRequest(order_by="budget"), "order_by"),
        "a page that is too long": ("ListCampaigns", pb.ListCampaignsRequest(page_size=1_001), "page_size"),
        "a token that is none": ("ListCampaigns", pb.ListCampaignsRequest(page_token="AAAA"), "page_token"),
        "a token of templates that is none": (
            "ListCampaignTemplates",
            pb.ListCampaignTemplatesRequest(page_token="AAAA"),
            "page_token",
        ),
        "an order of templates that is none": (
            "ListCampaignTemplates",
            pb.ListCampaignTemplatesRequest(order_by="title"),
            "order_by",
        ),
        "a trigger's note that is too long": (
            "TriggerCampaign",
            cycle_pb.TriggerCampaignRequest(**own, note=LONG),
            "note",
        ),
        "a role that nobody has": (
            "TriggerCampaign",
            cycle_pb.TriggerCampaignRequest(**own, roles=["painter"]),
            "roles[0]",
        ),
        "a backfill without a stretch": ("BackfillCampaign", cycle_pb.BackfillCampaignRequest(**own), "range"),
        "a backfill of the future": (
            "BackfillCampaign",
            cycle_pb.BackfillCampaignRequest(**own, range=future),
            "range.end_time",
        ),
        "a backfill that ends before it starts": (
            "BackfillCampaign",
            cycle_pb.BackfillCampaignRequest(
                **own, range={"start_time": past["end_time"], "end_time": past["start_time"]}
            ),
            "range.end_time",
        ),
        "a backfill since the year 1": (
            "BackfillCampaign",
            cycle_pb.BackfillCampaignRequest(**own, range={"start_time": first, "end_time": past["end_time"]}),
            "range.start_time",
        ),
        "a signal of no kind": (
            "ReportSignal",
            cycle_pb.ReportSignalRequest(request_id="r", signal={**told, "kind": "A b"}),
            "signal.kind",
        ),
        "a signal without a dedupe key": (
            "ReportSignal",
            cycle_pb.ReportSignalRequest(request_id="r", signal={"kind": "a"}),
            "signal.dedupe_key",
        ),
        "a dedupe key that is too long": (
            "ReportSignal",
            cycle_pb.ReportSignalRequest(request_id="r", signal={**told, "dedupe_key": "x" * 129}),
            "signal.dedupe_key",
        ),
        "a payload that is a list": (
            "ReportSignal",
            cycle_pb.ReportSignalRequest(request_id="r", signal={**told, "payload_json": "[]"}),
            "signal.payload_json",
        ),
        "a payload that is too large": (
            "ReportSignal",
            cycle_pb.ReportSignalRequest(
                request_id="r", signal={**told, "payload_json": json.dumps({"a": "x" * 65_536})}
            ),
            "signal.payload_json",
        ),
        "a signal of the year 1": (
            "ReportSignal",
            cycle_pb.ReportSignalRequest(request_id="r", signal=signal_pb2.Signal(**told, occur_time=first)),
            "signal.occur_time",
        ),
        "cycles of a stretch that is none": (
            "ListCycles",
            cycle_pb.ListCyclesRequest(campaign_id=campaign_id, range={"start_time": past["start_time"]}),
            "range.end_time",
        ),
        "an order of cycles that is none": (
            "ListCycles",
            cycle_pb.ListCyclesRequest(campaign_id=campaign_id, order_by="state"),
            "order_by",
        ),
        "a preview of nothing": ("PreviewSchedule", cycle_pb.PreviewScheduleRequest(), "subject"),
        "a preview of too many times": (
            "PreviewSchedule",
            cycle_pb.PreviewScheduleRequest(campaign_id=campaign_id, count=101),
            "count",
        ),
        "a preview in the year 1": (
            "PreviewSchedule",
            cycle_pb.PreviewScheduleRequest(campaign_id=campaign_id, start_time=first),
            "start_time",
        ),
        "a preview of an impossible cron": (
            "PreviewSchedule",
            cycle_pb.PreviewScheduleRequest(schedule={"cron": "0 0 30 2 *"}),
            "schedule.cron",
        ),
        "a preview in an unknown zone": (
            "PreviewSchedule",
            cycle_pb.PreviewScheduleRequest(schedule={"cron": "0 0 * * *", "time_zone": "Nowhere"}),
            "schedule.time_zone",
        ),
        "a preview of a date that is none": (
            "PreviewSchedule",
            cycle_pb.PreviewScheduleRequest(schedule={"cron": "0 0 * * *", "excluded_dates": ["never"]}),
            "schedule.excluded_dates[0]",
        ),
        "a search that is too long": (
            "ListMemories",
            memory_pb.ListMemoriesRequest(campaign_id=campaign_id, query="x" * 257),
            "query",
        ),
        "an order of memories that is none": (
            "ListMemories",
            memory_pb.ListMemoriesRequest(campaign_id=campaign_id, order_by="text"),
            "order_by",
        ),
        "no memory": ("PinMemory", memory_pb.PinMemoryRequest(request_id="r"), "memory_id"),
    }


@pytest.mark.parametrize("name", bad_requests(""))
async def test_a_request_that_means_nothing_is_refused_by_its_field(here: Studio, name: str) -> None:
    made = await here.active()
    rpc, request, field = bad_requests(made.campaign_id)[name]
    refused = await refusal(getattr(here.campaigns, rpc)(request))
    assert isinstance(refused, InvalidField), refused
    assert field in {each.field for each in refused.violations}, refused.violations


async def test_what_is_unknown_is_not_found_by_its_kind(here: Studio) -> None:
    own = {"request_id": "r", "campaign_id": "none"}
    past = {"start_time": at("2026-02-01T00:00:00Z"), "end_time": at("2026-02-02T00:00:00Z")}
    stub = here.campaigns
    for call, kind in (
        (stub.GetCampaign(pb.GetCampaignRequest(campaign_id="none")), CampaignNotFound),
        (stub.ActivateCampaign(pb.ActivateCampaignRequest(**own)), CampaignNotFound),
        (stub.PauseCampaign(pb.PauseCampaignRequest(**own)), CampaignNotFound),
        (stub.DeleteCampaign(pb.DeleteCampaignRequest(**own)), CampaignNotFound),
        (stub.TriggerCampaign(cycle_pb.TriggerCampaignRequest(**own)), CampaignNotFound),
        (stub.BackfillCampaign(cycle_pb.BackfillCampaignRequest(**own, range=past)), CampaignNotFound),
        (
            stub.BackfillCampaign(cycle_pb.BackfillCampaignRequest(**own, range=past, validate_only=True)),
            CampaignNotFound,
        ),
        (stub.ListCycles(cycle_pb.ListCyclesRequest(campaign_id="none")), CampaignNotFound),
        (stub.ListMemories(memory_pb.ListMemoriesRequest(campaign_id="none")), CampaignNotFound),
        (stub.PreviewSchedule(cycle_pb.PreviewScheduleRequest(campaign_id="none")), CampaignNotFound),
        (anext(aiter(stub.WatchCampaign(pb.WatchCampaignRequest(campaign_id="none")))), CampaignNotFound),
        (stub.GetCycle(cycle_pb.GetCycleRequest(cycle_id="none")), CycleNotFound),
        (stub.RetryCycle(cycle_pb.RetryCycleRequest(request_id="r", cycle_id="none")), CycleNotFound),
        (stub.ForgetMemory(memory_pb.ForgetMemoryRequest(request_id="r", memory_id="none")), MemoryNotFound),
    ):
        assert isinstance(await refusal(call), kind)


async def test_a_cycle_of_a_draft_is_refused_with_what_to_do_first(here: Studio) -> None:
    made = await here.create()
    refused = await refusal(here.trigger(made.campaign_id))
    assert isinstance(refused, IllegalTransition)
    assert "activate" in refused.remedy


async def test_a_forged_token_is_refused_and_no_fault(here: Studio) -> None:
    for order, values in (
        ("create_time", ["no number", "x"]),
        ("create_time", ["9" * 30, "x"]),
        ("create_time", [12, "x"]),
        ("create_time", ["-1", "x"]),
        ("title", ["a\0b", "x"]),
        ("title", ["a", "\0"]),
        ("title", ["a"]),
    ):
        request = pb.ListCampaignsRequest(order_by=order)
        request.page_token = forged("default", request, values)
        refused = await refusal(here.campaigns.ListCampaigns(request))
        assert isinstance(refused, InvalidField), values
        assert refused.violations[0].field == "page_token"


def forged(tenant: str, request: Any, values: list[Any]) -> str:
    """A token that belongs to its list, as anybody could make one who reads the source."""
    body = json.dumps(values).encode()
    named = f"{tenant} {request.DESCRIPTOR.full_name} ".encode()
    query = hashlib.sha256(named + fingerprint(request)).digest()
    return base64.urlsafe_b64encode(hashlib.sha256(query + body).digest()[:12] + body).decode().rstrip("=")


async def test_an_update_that_is_sent_again_needs_no_new_id_and_another_one_does(here: Studio) -> None:
    made = await here.create()
    request_id = new_id()
    given = campaign_pb2.Campaign(campaign_id=made.campaign_id, priority=4)
    first = await here.update(given, "priority", request_id=request_id, etag=made.etag)
    assert (await here.update(given, "priority", request_id=request_id, etag=made.etag)).etag == first.etag
    given.priority = 5
    assert (await refusal(here.update(given, "priority", request_id=request_id))).reason == "REQUEST_ID_REUSED"
