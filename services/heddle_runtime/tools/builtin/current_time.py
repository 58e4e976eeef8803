"""`current_time`: what day and hour it is, which no model knows."""

from datetime import UTC, datetime
from difflib import get_close_matches
from zoneinfo import ZoneInfo, available_timezones

from heddle_core.clock import MICROS_PER_SECOND, Clock
from heddle_runtime.tools.builtin.tool import PROVIDER_ID, Arguments, answered, refused, schema_of
from heddle_runtime.tools.port import RiskClass, ToolEnd, ToolInvocation, ToolSpec


class CurrentTime:
    """Tells the time of the given clock in a zone of the IANA database."""

    spec = ToolSpec(
        provider_id=PROVIDER_ID,
        name="current_time",
        description="Tell the current date, time and weekday in a time zone. Use it before you reason about dates.",
        parameters_json=schema_of(
            {
                "zone": {
                    "type": "string",
                    "maxLength": 64,
                    "description": "IANA name as Europe/Berlin; UTC if left out",
                }
            }
        ),
        risk=RiskClass.READ,
        read_only=True,
        category="facts",
    )

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def perform(self, arguments: Arguments, invocation: ToolInvocation) -> ToolEnd:
        """The time as ISO 8601 with offset, the weekday and the zone."""
        name = arguments.get("zone", "UTC")
        try:
            zone = ZoneInfo(name)
        except (OSError, ValueError, KeyError):  # a folder of the database, a path out of it, or no such zone
            near = get_close_matches(name, sorted(available_timezones()), n=3, cutoff=0.5)
            hint = f"; did you mean {', '.join(near)}?" if near else ""
            return refused(f"There is no time zone {name!r}: use an IANA name as Europe/Berlin{hint}")
        now = datetime.fromtimestamp(self._clock.now() // MICROS_PER_SECOND, UTC).astimezone(zone)
        return answered({"time": now.isoformat(), "weekday": now.strftime("%A"), "zone": name})
