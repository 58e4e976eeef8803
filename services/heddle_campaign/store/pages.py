"""Lists: which campaigns and cycles a reader asks for, in the order and from the place that it names."""

from dataclasses import dataclass, field

from heddle_campaign.facade.ports.listing import CyclePage, ListCampaigns, ListCycles, Past
from heddle_campaign.rules.campaigns import Campaign
from heddle_campaign.rules.cycles import Cycle
from heddle_campaign.store import campaign_rows, cycle_rows, gap_rows
from heddle_core.clock import Micros
from heddle_core.usage import MicroUsd
from heddle_database.port import Transaction


@dataclass(slots=True)
class Conditions:
    """The conditions of a statement that is put together, with their parameters."""

    texts: list[str]
    parameters: dict[str, object] = field(default_factory=dict[str, object])

    def add(self, text: str, **parameters: object) -> None:
        """One more that must hold."""
        self.texts.append(text)
        self.parameters.update(parameters)

    @property
    def sql(self) -> str:
        """All of them."""
        return " AND ".join(self.texts)


_CAMPAIGN_ORDERS = {"create_time": "create_time", "title": "title", "next_cycle_time": "listed_due"}


def campaign_page(tx: Transaction, command: ListCampaigns) -> tuple[Campaign, ...]:
    """See `CampaignStore.campaigns`. One without a next time counts as infinitely late."""
    column = _CAMPAIGN_ORDERS[command.order_by]
    where = Conditions(["tenant = :tenant"], {"tenant": command.tenant, "most": command.size + 1})
    if command.states:
        where.add(f"state IN ({', '.join(str(int(state)) for state in command.states)})")
    if command.agent_id:
        where.add(
            "EXISTS (SELECT 1 FROM campaign_agents a WHERE a.tenant = campaigns.tenant"
            " AND a.campaign_id = campaigns.campaign_id AND a.agent_id = :agent)",
            agent=command.agent_id,
        )
    for place, (label, content) in enumerate(sorted(command.labels.items())):
        where.add(
            "EXISTS (SELECT 1 FROM campaign_labels l WHERE l.tenant = campaigns.tenant"
            f" AND l.campaign_id = campaigns.campaign_id AND l.label = :label{place} AND l.content = :content{place})",
            **{f"label{place}": label, f"content{place}": content},
        )
    if command.after is not None:
        text, last = command.after
        at: object = text if column == "title" else int(text) if text else campaign_rows.NEVER
        where.add(f"({column}, campaign_id) {_beyond(command.descending)} (:at, :last)", at=at, last=last)
    order = " DESC" if command.descending else ""
    rows = tx.rows(
        f"SELECT {campaign_rows.COLUMNS} FROM campaigns WHERE {where.sql}"
        f" ORDER BY {column}{order}, campaign_id{order} LIMIT :most",
        **where.parameters,
    )
    return tuple(campaign_rows.campaign_value(row) for row in rows)


def answering(tx: Transaction, tenant: str, kind: str, campaign_id: str) -> tuple[Campaign, ...]:
    """See `CampaignStore.answering`."""
    rows = tx.rows(
        f"SELECT {campaign_rows.COLUMNS} FROM campaigns WHERE tenant = :tenant AND campaign_id IN"
        " (SELECT campaign_id FROM campaign_signal_kinds WHERE tenant = :tenant AND kind = :kind)"
        + (" AND campaign_id = :campaign" if campaign_id else "")
        + " ORDER BY campaign_id",
        tenant=tenant,
        kind=kind,
        campaign=campaign_id,
    )
    return tuple(campaign_rows.campaign_value(row) for row in rows)


def cycle_page(tx: Transaction, command: ListCycles) -> CyclePage:
    """See `CampaignStore.cycles`. A gap is on the page within whose times it begins, so on one page only."""
    where = Conditions(
        ["tenant = :tenant", "campaign_id = :campaign"],
        {"tenant": command.tenant, "campaign": command.campaign_id, "most": command.size + 1},
    )
    if command.states:
        where.add(f"state IN ({', '.join(str(int(state)) for state in command.states)})")
    if command.origins:
        where.add(f"origin IN ({', '.join(str(int(origin)) for origin in command.origins)})")
    if command.stretch is not None:
        where.add(
            "scheduled_time >= :start AND scheduled_time < :end", start=command.stretch.start, end=command.stretch.end
        )
    if command.after is not None:
        beyond = _beyond(command.descending)
        where.add(f"(scheduled_time, cycle_id) {beyond} (:at, :last)", at=command.after[0], last=command.after[1])
    order = " DESC" if command.descending else ""
    rows = tx.rows(
        f"SELECT {cycle_rows.COLUMNS} FROM cycles WHERE {where.sql}"
        f" ORDER BY scheduled_time{order}, cycle_id{order} LIMIT :most",
        **where.parameters,
    )
    cycles = tuple(cycle_rows.cycle_value(row) for row in rows)
    return CyclePage(cycles, () if command.states or command.origins else _gaps(tx, command, cycles))


def recent_cycles(tx: Transaction, tenant: str, campaign_id: str, most: int) -> tuple[Cycle, ...]:
    """See `CampaignStore.recent_cycles`."""
    rows = tx.rows(
        f"SELECT {cycle_rows.COLUMNS} FROM cycles WHERE tenant = :tenant AND campaign_id = :campaign AND end_time > 0"
        " ORDER BY end_time DESC, cycle_id DESC LIMIT :most",
        tenant=tenant,
        campaign=campaign_id,
        most=most,
    )
    return tuple(cycle_rows.cycle_value(row) for row in rows)


def cycles_of_thread(tx: Transaction, tenant: str, thread_id: str) -> tuple[Cycle, ...]:
    """See `CampaignStore.of_thread`."""
    rows = tx.rows(
        f"SELECT {cycle_rows.COLUMNS} FROM cycles WHERE tenant = :tenant AND state < 3 AND cycle_id IN"
        " (SELECT cycle_id FROM cycle_turns WHERE tenant = :tenant AND thread_id = :thread AND thread_id <> '')"
        " ORDER BY cycle_id",
        tenant=tenant,
        thread=thread_id,
    )
    return tuple(cycle_rows.cycle_value(row) for row in rows)


def past_of(tx: Transaction, tenant: str, campaign_id: str, since: Micros, spent_since: Micros) -> Past:
    """See `CampaignStore.past`. A cycle counts from the moment at which it was claimed."""
    own: dict[str, object] = {"tenant": tenant, "campaign": campaign_id}
    started = "y.tenant = :tenant AND y.campaign_id = :campaign AND y.start_time > 0 AND y.start_time >= :since"
    turns = f"FROM cycles y JOIN cycle_turns t ON t.tenant = y.tenant AND t.cycle_id = y.cycle_id WHERE {started}"
    worked_on = tx.rows(
        f"SELECT rotation_key, COUNT(*) FROM cycles y WHERE {started} AND rotation_key <> '' GROUP BY rotation_key",
        **own,
        since=since,
    )
    asked = tx.rows(f"SELECT t.role, COUNT(*) {turns} GROUP BY t.role", **own, since=since)
    spent = tx.rows(
        f"SELECT t.role, CAST(SUM(t.cost) AS BIGINT) {turns} AND t.cost > 0 GROUP BY t.role", **own, since=spent_since
    )
    slices = tx.rows(
        "SELECT budget FROM cycles WHERE tenant = :tenant AND campaign_id = :campaign AND state = 2 AND budget >= 0",
        **own,
    )
    return Past(
        {row[0]: row[1] for row in worked_on},
        {row[0]: row[1] for row in asked},
        {row[0]: MicroUsd(row[1]) for row in spent},
        tuple(MicroUsd(row[0]) for row in slices),
    )


def _gaps(tx: Transaction, command: ListCycles, cycles: tuple[Cycle, ...]) -> tuple[gap_rows.RangeRecord, ...]:
    where = Conditions(
        ["tenant = :tenant", "campaign_id = :campaign"], {"tenant": command.tenant, "campaign": command.campaign_id}
    )
    if command.stretch is not None:
        where.add("start_time < :end AND end_time > :start", start=command.stretch.start, end=command.stretch.end)
    if command.after is not None:
        where.add(f"start_time {_beyond(command.descending)} :at", at=command.after[0])
    if len(cycles) > command.size:
        last = cycles[command.size - 1].key.scheduled_time
        where.add(f"start_time {'>=' if command.descending else '<='} :last", last=last)
    order = " DESC" if command.descending else ""
    rows = tx.rows(
        f"SELECT {gap_rows.COLUMNS} FROM cycle_gaps WHERE {where.sql} ORDER BY start_time{order}", **where.parameters
    )
    return tuple(gap_rows.gap_value(row) for row in rows)


def _beyond(descending: bool) -> str:
    return "<" if descending else ">"
