"""Folders of campaigns and agents: what is read from them, how faults are told, and what differs."""

from datetime import timedelta
from io import StringIO
from pathlib import Path

import pytest
from google.type.money_pb2 import Money
from rich.console import Console

from heddle.campaign.v1alpha1.campaign_pb2 import Campaign, CampaignAgent, CampaignState
from heddle.campaign.v1alpha1.campaign_service_pb2 import WatchCampaignResponse
from heddle.campaign.v1alpha1.cycle_pb2 import Cycle, CycleState, CycleTurn, CycleTurnState
from heddle.campaign.v1alpha1.memory_pb2 import Memory, MemoryCitation
from heddle.campaign.v1alpha1.schedule_pb2 import MissingTimePolicy, OverlapPolicy, ScheduledTime
from heddle.runtime.v1.agent_pb2 import AgentSpec
from heddle.runtime.v1.run_pb2 import Run, RunState
from heddle.runtime.v1.turn_pb2 import Trigger, TriggerKind
from heddle.spawn.v1alpha1.spawn_pb2 import Spawn, SpawnState
from heddle_cli.demo.campaign import Outcome, check_campaign
from heddle_cli.display.campaign_live import picture
from heddle_cli.manifests.changes import FieldChange, field_changes
from heddle_cli.manifests.documents import FaultyFiles, documents
from heddle_cli.manifests.folder import MANAGED_BY, read_manifests
from heddle_cli.manifests.values import moment, money, money_text, span, span_text
from heddle_cli.watched_campaign import WatchedCampaign

EXAMPLE = Path(__file__).parents[2] / "examples" / "campaigns" / "trail-shoes"


def folder(place: Path, **files: str) -> Path:
    made = place / "studio"
    made.mkdir()
    for name, text in files.items():
        (made / f"{name}.yaml").write_text(text)
    return made


def faults(place: Path) -> list[str]:
    with pytest.raises(FaultyFiles) as refused:
        read_manifests(str(place))
    return [str(each).removeprefix(f"{place}/") for each in refused.value.faults]


@pytest.mark.parametrize(
    ("text", "seconds"), [("6h", 21_600), ("1d12h", 129_600), ("90s", 90), ("2w 1m", 1_209_660), ("0s", 0)]
)
def test_spans_are_read_as_people_write_them(text: str, seconds: int) -> None:
    assert span(text) == timedelta(seconds=seconds)
    assert span(span_text(span(text))) == span(text)


@pytest.mark.parametrize("text", ["", "6", "six hours", "1h-", "-1h", 6, None, "9" * 400 + "h", "600000w"])
def test_what_is_no_span_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match=r"no span of time|too long"):
        span(text)


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("12.50 USD", Money(currency_code="USD", units=12, nanos=500_000_000)),
        ("3 EUR", Money(currency_code="EUR", units=3)),
        ("0.000001 USD", Money(currency_code="USD", nanos=1_000)),
    ],
)
def test_money_is_read_to_the_last_digit(text: str, amount: Money) -> None:
    assert money(text) == amount
    assert money(money_text(amount)) == amount


@pytest.mark.parametrize("text", ["12.50", "USD 12", "-1 USD", 12.5, "1e3 USD", "12,50 USD"])
def test_an_amount_without_its_currency_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="write it with its currency"):
        money(text)


def test_a_time_must_say_its_distance_from_utc() -> None:
    assert moment("2026-12-01T09:00:00+01:00").utcoffset() == timedelta(hours=1)
    with pytest.raises(ValueError, match="does not say where"):
        moment("2026-12-01T09:00:00")
    with pytest.raises(ValueError, match="is no time"):
        moment("tomorrow")


def test_the_example_is_read_into_the_contracts_own_messages() -> None:
    read = read_manifests(str(EXAMPLE))
    assert read.managed_by == "trail-shoes"
    assert {each.agent_id for each in read.agents} == {"trail-writer", "trail-scout"}
    (manifest,) = read.campaigns
    assert manifest.state == CampaignState.CAMPAIGN_STATE_ACTIVE
    campaign = manifest.campaign
    assert campaign.schedule.overlap == OverlapPolicy.OVERLAP_POLICY_BUFFER_ONE
    assert campaign.schedule.jitter.seconds == 600
    assert campaign.budget == Money(currency_code="USD", units=25)
    assert campaign.labels[MANAGED_BY] == "trail-shoes"
    assert campaign.triggers[0].custom.condition == "signal.rain_mm >= 10.0"
    assert {each.agent_id for each in campaign.agents} <= {each.agent_id for each in read.agents}


def test_every_fault_of_every_file_is_told_at_once_with_its_line(tmp_path: Path) -> None:
    made = folder(
        tmp_path,
        a="campaign: a\ntitle: 5\nschedule:\n  cron: x\n  every: 6h\n  interval: 1h\nagents:\n  - role: w\n",
        b="agent_id: b\nlimits:\n  stepz: 3\n",
        c="agent_id: c\nlimits:\n  steps: many\n",
        d="title: who am I\n",
        e="agent_id: b\n",
        f="campaign: f\ntitle: t\ntitle: u\n",
        g="a: [\n",
        h="- &x [*x]\n",
        i="agent_id: 'a b'\n",
        j="campaign: j\ntitle: t\npriority: 99999999999\nagents: [{role: r, agent_id: a, weigth: 2}]\n",
    )
    assert faults(made) == [
        "a.yaml:2: title: must be text: put it in quotes",
        "a.yaml:5: schedule.every: there is no such field",
        "a.yaml:8: agents[0].agent_id: must be there",
        "b.yaml:3: limits.stepz: there is no such field: do you mean steps?",
        "c.yaml:3: limits.steps: invalid literal for int() with base 10: 'many'",
        "d.yaml:1: is neither an agent (agent_id: ID) nor a campaign (campaign: NAME)",
        "f.yaml:3: title: stands here twice",
        "g.yaml:2: is not YAML: expected the node content, but found '<stream end>'",
        "h.yaml:1: [0][0]: refers to itself",
        "i.yaml:1: agent_id: must be 1 to 64 letters, digits, - and _",
        "j.yaml:3: priority: input should be less than 2147483648",
        "j.yaml:4: agents[0].weigth: there is no such field: do you mean weight?",
    ]


def test_a_schedule_recurs_in_one_way_and_a_name_stands_once(tmp_path: Path) -> None:
    text = "campaign: a\ntitle: t\nschedule:\n  cron: x\n  interval: 1h\n"
    made = folder(tmp_path, a=text, b="campaign: a\ntitle: t\n")
    assert faults(made) == [
        "a.yaml:3: schedule: must have exactly one of cron, interval, rrule, once; it has cron, interval"
    ]
    (made / "a.yaml").write_text("campaign: c\ntitle: t\nschedule:\n  max_cycles: 3\n")
    assert len(read_manifests(str(made)).campaigns) == 2, "it may name no times"
    (made / "a.yaml").write_text("campaign: a\ntitle: t\n")
    assert faults(made) == [f"b.yaml:1: campaign: a stands in {made}/a.yaml too: one of them must go"]


def test_what_looks_like_a_time_stays_text_until_its_field_reads_it() -> None:
    (document,) = documents("day: 2026-12-25\nhour: 9:30\ncount: 3\non: true\n---\n", "x.yaml")
    assert document.content == {"day": "2026-12-25", "hour": "9:30", "count": 3, "on": True}


def test_what_differs_is_told_field_by_field_by_the_names_of_roles() -> None:
    before = Campaign(title="t", agents=[CampaignAgent(role="w", agent_id="a"), CampaignAgent(role="v", agent_id="b")])
    after = Campaign(title="t", agents=[CampaignAgent(role="w", agent_id="c", weight=0)], labels={"team": "x"})
    after.schedule.missing_time = MissingTimePolicy.MISSING_TIME_POLICY_SKIP
    after.schedule.jitter.seconds = 90
    after.triggers.add(key="viral").viral_post.SetInParent()
    assert field_changes(before, after, leave=["schedule.jitter"]) == (
        FieldChange("agents", "w, v", "w"),
        FieldChange("agents[w].agent_id", "a", "c"),
        FieldChange("agents[w].weight", None, "0"),
        FieldChange("schedule.missing_time", None, "skip"),
        FieldChange("triggers", None, "viral"),
        FieldChange("triggers[viral].viral_post", None, "{}"),
        FieldChange("labels[team]", None, "x"),
        FieldChange("agents[v].agent_id", "b", None),
    )
    assert field_changes(before, before) == ()


def test_an_agent_says_by_a_label_who_manages_it_and_its_description_stays_its_own(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("agent_id: a\ndescription: Writes.\nlabels: {team: x}\n")
    (agent,) = read_manifests(str(tmp_path), "studio").agents
    assert agent.spec == AgentSpec(description="Writes.", labels={"team": "x", "heddle.dev/managed-by": "studio"})


def test_the_live_picture_has_state_next_times_and_turns() -> None:
    turn = CycleTurn(role="writer", state=CycleTurnState.CYCLE_TURN_STATE_RUNNING, run_id="run_1")
    cycle = Cycle(cycle_id="cycle_1", state=CycleState.CYCLE_STATE_RUNNING, turns=[turn], topic="grip")
    done = Cycle(cycle_id="cycle_0", state=CycleState.CYCLE_STATE_COMPLETED)
    campaign = Campaign(title="Shoes", campaign_id="campaign_1", state=CampaignState.CAMPAIGN_STATE_ACTIVE)
    frame = WatchCampaignResponse(campaign=campaign, open_cycles=[cycle], recent_cycles=[done])
    times = (ScheduledTime(local_time="2026-11-26T08:30:00+01:00", repeated=True),)
    said = StringIO()
    console = Console(file=said, width=200)
    for part in picture(WatchedCampaign(frame, times)):
        console.print(part)
    shown = said.getvalue()
    assert "2026-11-26T08:30:00+01:00 (a clock change repeats it)" in shown
    assert "writer running (run_1)" in shown
    assert "cycle_0" in shown


def outcome() -> Outcome:
    run = Run(
        run_id="run_1",
        thread_id="thr_1",
        state=RunState.RUN_STATE_COMPLETED,
        trigger=Trigger(kind=TriggerKind.TRIGGER_KIND_CAMPAIGN),
    )
    return Outcome(
        cycle=Cycle(state=CycleState.CYCLE_STATE_COMPLETED),
        runs=[run],
        children=[Spawn(run_id="run_2", state=SpawnState.SPAWN_STATE_COMPLETED)],
        memories=[Memory(citation=MemoryCitation(thread_id="thr_1"))],
        times=[ScheduledTime()] * 3,
        unchanged=True,
    )


@pytest.mark.parametrize(
    ("field", "value", "place"),
    [
        ("cycle", Cycle(state=CycleState.CYCLE_STATE_FAILED), 0),
        ("runs", [Run(run_id="run_1", thread_id="thr_1", state=RunState.RUN_STATE_COMPLETED)], 0),
        ("children", [], 1),
        ("children", [Spawn(state=SpawnState.SPAWN_STATE_FAILED)], 1),
        ("memories", [], 2),
        ("memories", [Memory(citation=MemoryCitation(thread_id="thr_2"))], 2),
        ("times", [], 3),
        ("unchanged", False, 4),
    ],
)
def test_the_demonstrations_campaign_is_judged_by_what_came_of_it(field: str, value: object, place: int) -> None:
    assert all(each.holds for each in check_campaign(outcome()))
    whole = outcome()
    spoilt = Outcome(**{**{name: getattr(whole, name) for name in whole.__dataclass_fields__}, field: value})
    assert [number for number, each in enumerate(check_campaign(spoilt)) if not each.holds] == [place]
