"""A campaign while it works: on a terminal one picture that changes, elsewhere a line for each change."""

from typing import Protocol

from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from heddle.campaign.v1alpha1.campaign_service_pb2 import WatchCampaignResponse
from heddle.campaign.v1alpha1.memory_pb2 import PeerMessage
from heddle_cli.display.campaign_words import in_short, word
from heddle_cli.display.campaigns import counters_line, standing
from heddle_cli.display.cycles import cycle_line, cycle_list, cycle_standing, turn_line
from heddle_cli.display.schedules import next_times
from heddle_cli.display.screen import Screen, as_json, clean
from heddle_cli.display.tables import sheet
from heddle_cli.display.times import spent, when
from heddle_cli.watched_campaign import WatchedCampaign

_RECENT = 5
_MESSAGES = 3
_WORDS = 40
"""Of what a cycle did: more would fold into many lines where the picture has few."""


class CampaignDisplay(Protocol):
    """What shows one campaign."""

    def show(self, watched: WatchedCampaign) -> None:
        """Show how it stands now."""
        ...

    def close(self) -> None:
        """Leave the terminal as it is."""
        ...


def campaign_display(screen: Screen) -> CampaignDisplay:
    """What fits the screen."""
    if screen.machine:
        return Frames(screen)
    return Picture(screen) if screen.is_live else Lines(screen)


class Frames:
    """Each frame as one line of JSON."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen

    def show(self, watched: WatchedCampaign) -> None:
        """See `CampaignDisplay`."""
        self._screen.data_line({**as_json(watched.frame), "next_times": [as_json(each) for each in watched.next_times]})

    def close(self) -> None:
        """Nothing."""


class Lines:
    """A line for each thing that is not as it was in the frame before."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._told: set[str] = set()

    def show(self, watched: WatchedCampaign) -> None:
        """See `CampaignDisplay`."""
        lines = [head_line(watched)]
        lines += [cycle_line(each) for each in reversed(watched.frame.recent_cycles)]
        lines += [cycle_line(each) for each in watched.frame.open_cycles]
        lines += [message_line(each) for each in reversed(watched.frame.peer_messages)]
        for line in lines:
            if line not in self._told:
                self._screen.say(line)
        self._told = set(lines)

    def close(self) -> None:
        """Nothing."""


class Picture:
    """The whole state, drawn anew in its place."""

    def __init__(self, screen: Screen) -> None:
        self._live = Live(console=screen.out, auto_refresh=False)
        self._live.start()

    def show(self, watched: WatchedCampaign) -> None:
        """See `CampaignDisplay`."""
        self._live.update(Group(*picture(watched)), refresh=True)

    def close(self) -> None:
        """See `CampaignDisplay`."""
        self._live.stop()


def head_line(watched: WatchedCampaign) -> str:
    """How a campaign stands, in one line."""
    campaign = watched.frame.campaign
    coming = watched.next_times[0].local_time if watched.next_times else "none"
    return f"{campaign.campaign_id}  {standing(campaign)}  next {coming}  {counters_line(campaign)}"


def message_line(message: PeerMessage) -> str:
    """What one agent said to another, in one line."""
    to = message.receiver_role or "all"
    parties = f"{message.sender_role} to {to} ({word(message, 'kind')})"
    return f"{when(message.send_time)}  {parties}: {in_short(message.text)}"


def picture(watched: WatchedCampaign) -> list[RenderableType]:
    """All that a person wants to see at once."""
    frame: WatchCampaignResponse = watched.frame
    campaign = frame.campaign
    parts: list[RenderableType] = [
        sheet(
            (
                (campaign.title, campaign.campaign_id),
                ("state", standing(campaign) + (f": {campaign.pause_note}" if campaign.pause_note else "")),
                ("next", next_times(watched.next_times) or "none"),
                ("times", counters_line(campaign)),
                ("used", spent(campaign.usage)),
            )
        )
    ]
    for cycle in frame.open_cycles:
        topic = f"  {in_short(cycle.topic)}" if cycle.topic else ""
        parts.append(Text(clean(f"\n{cycle.cycle_id}  {cycle_standing(cycle)}{topic}"), style="bold"))
        parts += [Text(clean(f"  {turn_line(each)}")) for each in cycle.turns]
    if frame.recent_cycles:
        parts += [Text(""), cycle_list(frame.recent_cycles[:_RECENT], words=_WORDS)]
    if frame.peer_messages:
        parts += [Text(""), *(Text(clean(message_line(each))) for each in frame.peer_messages[:_MESSAGES])]
    return parts
