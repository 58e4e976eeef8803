"""Texts with a language of their own, by the name of their field: those that are understood, and those that are not."""

from collections.abc import Mapping, Sequence

GOOD: Mapping[str, Sequence[str]] = {
    "cron": ("0 9 * * *", "*/15 8-18 * * MON-FRI"),
    "rrule": ("FREQ=WEEKLY;BYDAY=MO;BYHOUR=9;BYMINUTE=0;BYSECOND=0", "FREQ=DAILY;BYHOUR=7;BYMINUTE=0;BYSECOND=0"),
    "time_zone": ("UTC", "Europe/Berlin", "Australia/Lord_Howe"),
    "excluded_dates": ("2027-12-25", "2028-02-29"),
    "condition": ("", "signal.left < 3", "has(signal.a) && signal.a == 'b'"),
    "kind": ("stock_low", "trend_spike"),
    "signal_kinds": ("stock_low", "trend_spike"),
    "role": ("writer", "painter"),
    "roles": ("writer",),
    "key": ("first", "second", "third"),
    "dedupe_key": ("once", "twice"),
    "platform": ("x", ""),
    "spawn_key": ("child-1", "child-2", "child-3"),
    "group_key": ("group-1", "group-2"),
    "model": ("",),
    "tools": ("builtin/*",),
}
"""What a service that keeps to its contract may understand."""

BAD: Mapping[str, Sequence[str]] = {
    "cron": (
        "61 * * * *",
        "0 25 * * *",
        "0 0 31 2 *",
        "* * * * * *",
        "@reboot",
        "*/0 * * * *",
        "1-99999999999 * * * *",
        "0 0 L L L",
        "0 0 * * MON#9",
        "0 0 29 2 MON#5",
        ", ".join(["*"] * 99),
    ),
    "rrule": (
        "FREQ=SECONDLY",
        "BYDAY=MO",
        "FREQ=DAILY;COUNT=99999999999999999999",
        "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=DAILY;UNTIL=never",
        "FREQ=MINUTELY;INTERVAL=0",
        "FREQ=YEARLY;BYSETPOS=-9999",
        "FREQ=DAILY;" * 40,
        "RRULE:FREQ=DAILY",
    ),
    "time_zone": ("Mars/Base", "../../etc/passwd", "UTC+99", "Europe/berlin", "/etc/localtime", "posixrules"),
    "excluded_dates": ("2027-02-30", "20271225", "tomorrow", "0000-01-01", "9999-12-31", "2027-W01-1"),
    "condition": (
        "signal.",
        "1 + 1",
        "[1].map(x, [1].map(y, y))",
        "signal.a.matches('(a+)+$')",
        "'x' * 999999",
        "(" * 900,
        "unknown(signal)",
    ),
    "kind": ("Trend Spike", "a.b", "*", ">"),
    "signal_kinds": ("Trend Spike", "*"),
    "role": ("nobody", "a b"),
    "key": ("a b", ""),
    "dedupe_key": ("x" * 129, "a\nb"),
    "tools": ("builtin", "/", "*/*", "a/b/c"),
    "result_schema_json": ("[]", '{"type": 7}', "true"),
}
"""What nobody can."""
