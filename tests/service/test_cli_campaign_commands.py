"""`heddle campaign` and `heddle cycle`: what each asks of the service, and what it shows."""

import json
import shlex
from datetime import UTC, datetime
from pathlib import Path

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from heddle.campaign.v1alpha1 import campaign_service_pb2 as pb
from heddle.campaign.v1alpha1 import cycle_request_pb2 as cycles_pb
from heddle.campaign.v1alpha1 import memory_request_pb2 as memories_pb
from heddle.campaign.v1alpha1.campaign_pb2 import (
    Campaign,
    CampaignState,
    CampaignTemplate,
    CycleCounters,
    PauseReason,
)
from heddle.campaign.v1alpha1.cycle_pb2 import (
    Cycle,
    CycleFailure,
    CycleGap,
    CycleOrigin,
    CycleState,
    CycleTurn,
    CycleTurnState,
    GapKind,
    SkipReason,
)
from heddle.campaign.v1alpha1.memory_pb2 import (
    Memory,
    MemoryCitation,
    MemoryKind,
    MemoryUse,
    PeerMessage,
    PeerMessageKind,
)
from heddle.campaign.v1alpha1.schedule_pb2 import (
    MissingTimePolicy,
    OverlapPolicy,
    RepeatedTimePolicy,
    Schedule,
    ScheduledTime,
    TimeRange,
)
from heddle.campaign.v1alpha1.signal_pb2 import SignalMatch, SignalOutcome
from tests.kit.cli import Answer, heddle
from tests.kit.cli_campaigns import CampaignBook, serving_campaigns


def at(day: int, hour: int = 0) -> Timestamp:
    told = Timestamp()
    told.FromDatetime(datetime(2026, 11, day, hour, tzinfo=UTC))
    return told


def one_campaign() -> Campaign:
    return Campaign(
        campaign_id="campaign_1",
        title="Trail \x1b[31mshoes",
        state=CampaignState.CAMPAIGN_STATE_ACTIVE,
        etag="4",
        labels={"heddle.dev/name": "shoes", "heddle.dev/managed-by": "studio"},
        schedule=Schedule(cron="0 9 * * *", time_zone="Europe/Berlin", overlap=OverlapPolicy.OVERLAP_POLICY_SKIP),
        counters=CycleCounters(scheduled=7, fired=4, paused=3, unscheduled=1),
        next_cycle_time=at(24, 8),
    )


def one_cycle(state: CycleState.ValueType = CycleState.CYCLE_STATE_COMPLETED) -> Cycle:
    turn = CycleTurn(
        role="writer",
        agent_id="w",
        run_id="run_1",
        attempt=2,
        state=CycleTurnState.CYCLE_TURN_STATE_COMPLETED,
        memories=[MemoryUse(memory_id="mem_1", score=2, explanation="pinned; recent")],
    )
    return Cycle(
        cycle_id="cycle_1",
        campaign_id="campaign_1",
        scheduled_time=at(23, 9),
        origin=CycleOrigin.CYCLE_ORIGIN_SCHEDULE,
        state=state,
        turns=[turn],
        topic="grip",
        summary="writer: done",
        start_time=at(23, 9),
        end_time=at(23, 10),
    )


@pytest.fixture(name="book")
def filled() -> CampaignBook:
    skipped = Cycle(
        cycle_id="cycle_0",
        scheduled_time=at(22, 9),
        origin=CycleOrigin.CYCLE_ORIGIN_SCHEDULE,
        state=CycleState.CYCLE_STATE_SKIPPED,
        skip_reason=SkipReason.SKIP_REASON_OVERLAP,
    )
    failure = CycleFailure(reason_name="AGENT_NOT_FOUND", message="No agent w here")
    failed = CycleTurn(role="writer", state=CycleTurnState.CYCLE_TURN_STATE_FAILED, failure=failure)
    other = Cycle(cycle_id="cycle_2", scheduled_time=at(21), state=CycleState.CYCLE_STATE_FAILED, turns=[failed])
    gap = CycleGap(kind=GapKind.GAP_KIND_PAUSED, count=3, range=TimeRange(start_time=at(18), end_time=at(20)))
    memory = Memory(
        memory_id="mem_1",
        campaign_id="campaign_1",
        kind=MemoryKind.MEMORY_KIND_DECISION,
        text="Post in the morning",
        importance=0.6,
        citation=MemoryCitation(thread_id="thr_1", first_sequence=2, last_sequence=9),
    )
    times = [
        ScheduledTime(scheduled_time=at(24, 8), local_time="2026-11-24T09:00:00+01:00"),
        ScheduledTime(scheduled_time=at(25, 1), local_time="2026-11-25T03:00:00+02:00", shifted=True),
    ]
    match = SignalMatch(
        campaign_id="campaign_1", trigger_key="rain", outcome=SignalOutcome.SIGNAL_OUTCOME_FIRED, cycle_id="cycle_1"
    )
    return CampaignBook(
        campaigns={"campaign_1": one_campaign()},
        cycles={"cycle_1": one_cycle(), "cycle_0": skipped, "cycle_2": other},
        gaps=[gap],
        memories={"mem_1": memory},
        times=times,
        matches=[match],
    )


async def ok(book: CampaignBook, line: str, typed: str = "") -> Answer:
    answer = await heddle(*shlex.split(line), address=book.address, typed=typed)
    assert answer.code == 0, answer.err
    return answer


def cells(line: str) -> list[str]:
    return [each for each in line.split("  ") if each]


async def test_campaigns_are_listed_and_shown(book: CampaignBook) -> None:
    async with serving_campaigns(book):
        listed = await ok(book, "campaign list --state active --label heddle.dev/managed-by=studio --agent w")
        row = [cell.strip() for cell in cells(listed.out.splitlines()[1])]
        # The colour that the title tried to set is gone.
        assert row == ["campaign_1", "shoes", "active", "2026-11-24 08:00:00Z", "-", "5", "Trail [31mshoes"]
        asked = book.last(pb.ListCampaignsRequest)
        assert list(asked.states) == [CampaignState.CAMPAIGN_STATE_ACTIVE]
        assert (dict(asked.labels), asked.agent_id) == ({"heddle.dev/managed-by": "studio"}, "w")
        shown = await ok(book, "campaign show shoes")
        assert "cron 0 9 * * * in Europe/Berlin; overlap skip" in shown.out
        assert "7 scheduled: 4 fired, 3 paused; 1 beside the schedule" in shown.out
        machine = await ok(book, "campaign show campaign_1 --json --show-request")
        assert machine.json["campaign_id"] == "campaign_1"
        assert "heddle.campaign.v1alpha1.CampaignService/GetCampaign" in machine.err


async def test_a_campaign_is_moved_from_state_to_state(book: CampaignBook) -> None:
    async with serving_campaigns(book):
        await ok(book, "campaign pause shoes --note 'sold out' --cancel-cycles")
        asked = book.last(pb.PauseCampaignRequest)
        assert (asked.campaign_id, asked.note, asked.cancel_cycles) == ("campaign_1", "sold out", True)
        book.campaigns["campaign_1"].pause_reason = PauseReason.PAUSE_REASON_FAILURES
        assert "paused (failures)" in (await ok(book, "campaign show shoes")).out
        await ok(book, "campaign resume shoes --note back")
        assert book.last(pb.ResumeCampaignRequest).note == "back"
        await ok(book, "campaign complete shoes --cancel-cycles")
        assert book.last(pb.CompleteCampaignRequest).cancel_cycles
        kept = await heddle("campaign", "delete", "shoes", address=book.address, typed="n\n")
        assert kept.code == 1
        assert "campaign_1" in book.campaigns
        gone = await ok(book, "campaign delete shoes --yes")
        assert gone.out.strip() == "campaign campaign_1 is removed; its threads stay"
        assert book.campaigns == {}
        unknown = await heddle("campaign", "show", "shoes", address=book.address)
        assert unknown.code == 3
        assert "CAMPAIGN_NOT_FOUND" in unknown.err


async def test_a_draft_is_activated_with_a_first_cycle_if_asked(book: CampaignBook) -> None:
    book.campaigns["campaign_1"].state = CampaignState.CAMPAIGN_STATE_DRAFT
    async with serving_campaigns(book):
        shown = await ok(book, "campaign activate shoes --now")
        assert book.last(pb.ActivateCampaignRequest).start_now
        assert "active" in shown.out


async def test_a_name_that_two_campaigns_have_is_asked_about(book: CampaignBook) -> None:
    other = one_campaign()
    other.campaign_id, other.labels["heddle.dev/managed-by"] = "campaign_2", "shop"
    book.campaigns["campaign_2"] = other
    async with serving_campaigns(book):
        unclear = await heddle("campaign", "show", "shoes", address=book.address)
        assert unclear.code == 2
        assert "campaign_2 (of shop)" in " ".join(unclear.err.replace("│", "").split())


async def test_cycles_are_triggered_backfilled_and_listed_with_the_gaps_between(book: CampaignBook) -> None:
    async with serving_campaigns(book):
        triggered = await ok(book, "campaign trigger shoes --role writer --note 'be brief' --overlap allow-all")
        asked = book.last(cycles_pb.TriggerCampaignRequest)
        assert (list(asked.roles), asked.note) == (["writer"], "be brief")
        assert asked.overlap == OverlapPolicy.OVERLAP_POLICY_ALLOW_ALL
        assert "completed, attempt 2" in triggered.out
        assert "mem_1 (pinned; recent)" in triggered.out
        tried = await ok(book, "campaign backfill shoes --from 2026-11-01 --until 2026-11-02T12:00:00+01:00 --dry-run")
        assert tried.out.strip() == "2 times of the stretch would get a cycle"
        stretch = book.last(cycles_pb.BackfillCampaignRequest).range
        assert stretch.end_time.ToJsonString() == "2026-11-02T11:00:00Z"
        listed = await ok(book, "campaign cycles shoes --state failed --origin schedule")
        first_cells = [" ".join(cells(line)[:4]) for line in listed.out.splitlines()[1:]]
        assert [line.split()[0] for line in first_cells] == ["2026-11-23", "2026-11-22", "2026-11-21", "2026-11-18"]
        assert "skipped (overlap)" in listed.out
        assert "3 times until 2026-11-20 00:00:00Z" in listed.out
        filters = book.last(cycles_pb.ListCyclesRequest)
        assert list(filters.states) == [CycleState.CYCLE_STATE_FAILED]
        half = await heddle("campaign", "cycles", "shoes", "--from", "2026-11-01", address=book.address)
        assert half.code == 2


async def test_a_backfill_that_finds_nothing_says_why(book: CampaignBook) -> None:
    book.filled = 0
    async with serving_campaigns(book):
        line = "campaign backfill shoes --from 2026-11-01 --until 2026-11-02"
        assert "heddle campaign cycles campaign_1" in (await ok(book, line)).err
        book.campaigns["campaign_1"].schedule.start_time.CopyFrom(at(20))
        told = await ok(book, line)
        assert told.out.strip() == "0 times of the stretch get a cycle"
        assert "its schedule begins at 2026-11-20 00:00:00Z" in told.err


async def test_templates_are_listed_and_printed_as_files(book: CampaignBook) -> None:
    copied = Campaign(title="Weekly report", schedule=Schedule(cron="0 8 * * MON"))
    book.templates = [CampaignTemplate(template_id="weekly", description="Sums up the week.", campaign=copied)]
    async with serving_campaigns(book):
        assert "Sums up the week." in (await ok(book, "campaign templates")).out
        told = (await ok(book, "campaign templates weekly")).out
        assert told == ("campaign: weekly\nstate: draft\ntitle: Weekly report\nschedule:\n  cron: 0 8 * * MON\n")
        assert (await ok(book, "campaign templates weekly --json")).json["template_id"] == "weekly"
        unknown = await heddle("campaign", "templates", "daily", address=book.address)
        assert (unknown.code, "daily is none of weekly" in unknown.err) == (2, True)


async def test_one_cycle_is_shown_retried_and_cancelled(book: CampaignBook) -> None:
    async with serving_campaigns(book):
        assert "failed: AGENT_NOT_FOUND: No agent w here" in (await ok(book, "cycle show cycle_2")).out
        await ok(book, "cycle retry cycle_2")
        assert book.last(cycles_pb.RetryCycleRequest).request_id
        await ok(book, "cycle cancel cycle_2 --note enough")
        assert book.last(cycles_pb.CancelCycleRequest).note == "enough"
        unknown = await heddle("cycle", "show", "nothing", address=book.address)
        assert (unknown.code, "CYCLE_NOT_FOUND" in unknown.err) == (3, True)


async def test_a_preview_shows_local_time_utc_and_what_clock_changes_do(book: CampaignBook) -> None:
    async with serving_campaigns(book):
        told = (await ok(book, "campaign preview shoes --from 2026-11-24 -n 2")).out.splitlines()
        assert told[0] == "At 09:00, in Europe/Berlin."
        assert cells(told[2])[:2] == ["2026-11-24T09:00:00+01:00", "2026-11-24 08:00:00Z"]
        assert cells(told[3])[2].strip() == "moved by a clock change"
        assert book.last(cycles_pb.PreviewScheduleRequest).campaign_id == "campaign_1"
        await ok(book, "campaign preview --cron '0 9 * * *' --zone Europe/Berlin")
        schedule = book.last(cycles_pb.PreviewScheduleRequest).schedule
        assert (schedule.cron, schedule.time_zone) == ("0 9 * * *", "Europe/Berlin")
        await ok(book, "campaign preview --cron '30 2 * * *' --missing skip --repeated both")
        schedule = book.last(cycles_pb.PreviewScheduleRequest).schedule
        assert schedule.missing_time == MissingTimePolicy.MISSING_TIME_POLICY_SKIP
        assert schedule.repeated_time == RepeatedTimePolicy.REPEATED_TIME_POLICY_BOTH
        await ok(book, "campaign preview --every 1h30m")
        assert book.last(cycles_pb.PreviewScheduleRequest).schedule.interval.seconds == 5_400
        for wrong in (["shoes", "--cron", "* * * * *"], [], ["--every", "often"], ["shoes", "--missing", "skip"]):
            assert (await heddle("campaign", "preview", *wrong, address=book.address)).code == 2


async def test_memories_are_listed_pinned_and_forgotten(book: CampaignBook) -> None:
    async with serving_campaigns(book):
        listed = await ok(book, "campaign memories shoes --kind decision --not-pinned --words morning")
        assert [cell.strip() for cell in cells(listed.out.splitlines()[1])] == [
            *("mem_1", "decision", "-", "0.60", "-", "-", "thr_1 2-9", "Post in the morning")
        ]
        asked = book.last(memories_pb.ListMemoriesRequest)
        assert (asked.HasField("pinned"), asked.pinned, asked.query) == (True, False, "morning")
        assert "decision, pinned" in (await ok(book, "campaign pin mem_1")).out
        await ok(book, "campaign pin mem_1 --off")
        assert not book.memories["mem_1"].pinned
        await ok(book, "campaign forget mem_1")
        assert book.memories == {}
        assert "Nothing is remembered yet" in (await ok(book, "campaign memories shoes")).out


async def test_a_signal_is_reported_with_its_payload(book: CampaignBook, tmp_path: Path) -> None:
    payload = tmp_path / "rain.json"
    payload.write_text('{"rain_mm": 12}\n')
    async with serving_campaigns(book):
        line = f"campaign signal weather --key rain-1 --payload {payload} --campaign shoes --at 2026-11-23T08:00:00Z"
        told = await ok(book, line)
        signal = book.last(cycles_pb.ReportSignalRequest).signal
        assert (signal.kind, signal.dedupe_key, signal.payload_json) == ("weather", "rain-1", '{"rain_mm": 12}')
        assert signal.occur_time == at(23, 8)
        assert [cell.strip() for cell in cells(told.out.splitlines()[1])][:4] == [
            "campaign_1",
            "rain",
            "fired",
            "cycle_1",
        ]


async def test_watching_tells_each_change_once_and_ends_when_the_campaign_is_deleted(book: CampaignBook) -> None:
    campaign, running, done = one_campaign(), one_cycle(CycleState.CYCLE_STATE_RUNNING), one_cycle()
    message = PeerMessage(kind=PeerMessageKind.PEER_MESSAGE_KIND_NOTICE, sender_role="writer", text="hi")
    book.frames = [
        pb.WatchCampaignResponse(campaign=campaign, open_cycles=[running]),
        pb.WatchCampaignResponse(campaign=campaign, open_cycles=[running], peer_messages=[message]),
        pb.WatchCampaignResponse(campaign=campaign, recent_cycles=[done], peer_messages=[message]),
    ]
    async with serving_campaigns(book):
        watched = await ok(book, "campaign watch shoes")
        lines = watched.out.splitlines()
        assert [line.split()[0] for line in lines] == ["campaign_1", "cycle_1", "-", "cycle_1"]
        assert "next 2026-11-24T09:00:00+01:00" in lines[0]
        assert "running" in lines[1]
        assert "writer to all (notice): hi" in lines[2]
        assert "completed" in lines[3]
        assert watched.err.strip() == "campaign campaign_1 is deleted"
        frames = [json.loads(line) for line in (await ok(book, "campaign watch shoes --json")).out.splitlines()]
        assert [len(frame["open_cycles"]) for frame in frames] == [1, 1, 0]
        assert frames[0]["next_times"][0]["local_time"] == "2026-11-24T09:00:00+01:00"


async def test_a_watch_that_is_cut_goes_on_and_repeats_nothing(book: CampaignBook) -> None:
    book.frames = [
        pb.WatchCampaignResponse(campaign=one_campaign(), open_cycles=[one_cycle(CycleState.CYCLE_STATE_RUNNING)]),
        pb.WatchCampaignResponse(campaign=one_campaign(), recent_cycles=[one_cycle()]),
    ]
    book.cuts = 1
    async with serving_campaigns(book):
        watched = await ok(book, "campaign watch shoes")
        assert [line.split()[0] for line in watched.out.splitlines()] == ["campaign_1", "cycle_1", "cycle_1"]
        assert sum(isinstance(each, pb.WatchCampaignRequest) for each in book.asked) == 2
        unknown = await heddle("campaign", "watch", "nobody", address=book.address)
        assert unknown.code == 3
