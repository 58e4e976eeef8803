"""Two hundred cron expressions that meet clock changes in every way: hand-written ones first, then drawn ones."""

import random

HAND_WRITTEN = """
* * * * *
*/5 * * * *
*/15 * * * *
*/30 * * * *
*/7 * * * *
0 * * * *
15 * * * *
59 * * * *
0 */2 * * *
0 */3 * * *
30 */5 * * *
*/20 2 * * *
*/20 1-3 * * *
0 0 * * *
1 0 * * *
30 0 * * *
0 1 * * *
30 1 * * *
59 1 * * *
0 2 * * *
1 2 * * *
15 2 * * *
30 2 * * *
59 2 * * *
0 3 * * *
30 3 * * *
0 4 * * *
59 23 * * *
30 23 * * *
0 23 * * *
0 9 * * *
0 12 * * *
0,30 2 * * *
0,30 1,2,3 * * *
0-59 2 * * *
0-59 0-23 * * *
0-59/10 0-3 * * *
10-50/20 23,0,1 * * *
0 0-23/2 * * *
0 1-23/2 * * *
30 0-6 * * *
0 2 * * SUN
30 2 * * 7
30 2 * * 0
30 1 * * SAT,SUN
30 2 * * MON-FRI
0 9 * * MON-FRI
0 2 1 * *
30 2 L * *
30 1 LW * *
0 0 * * SUN#2
30 2 * * SUN#1
30 1 * * 6L
30 2 * * 0L
30 1 * * 5#4,5L
30 2 29 * *
30 2 31 * *
30 2 25-31 * SUN
30 2 */2 * *
30 2 */2 * SUN
0 0 1,15 * WED
30 2 * 3 *
30 2 * 3,10 *
30 2 * MAR *
30 1 * OCT,NOV SUN
0 2 * */2 *
*/10 * * 3-4 SUN
* 2 * * *
* 0 * * *
0-29 1 * * *
30-59 2 * * *
45 0,1,2,3,4 * * *
0 5-7 * * *
12 13 * * *
0 18 * * FRI
5,35 */4 * * *
""".strip().splitlines()

FOR_OTHERS = HAND_WRITTEN[3::3]
"""What other libraries are asked: they are slow, and differ in kind, not in number."""


def expressions(count: int = 200, seed: int = 2000) -> list[str]:
    """The hand-written ones, and drawn ones up to `count`, all different."""
    draw = random.Random(seed)
    found = dict.fromkeys(HAND_WRITTEN)
    while len(found) < count:
        fields = (_minute(draw), _hour(draw), *draw.choice(_DAYS))
        found[" ".join(fields)] = None
    return list(found)[:count]


_DAYS = [("*", "*", "*")] * 6 + [
    ("*", "*", "SUN"),
    ("*", "*", "SAT,SUN"),
    ("*", "*", "1-5"),
    ("1-7", "*", "*"),
    ("8-14", "*", "SUN"),
    ("25-31", "3,10", "*"),
    ("*/3", "*", "*"),
    ("*", "1-6", "*"),
]


def _minute(draw: random.Random) -> str:
    return draw.choice(
        [
            str(draw.randrange(60)),
            str(draw.choice([0, 1, 29, 30, 31, 59])),
            f"{draw.randrange(20)}-{draw.randrange(20, 60)}/{draw.randrange(1, 20)}",
            ",".join(str(each) for each in sorted(draw.sample(range(60), 3))),
            f"*/{draw.randrange(2, 31)}",
        ]
    )


def _hour(draw: random.Random) -> str:
    return draw.choice(
        [
            str(draw.randrange(24)),
            str(draw.choice([0, 1, 2, 3, 23])),
            ",".join(str(each) for each in sorted(draw.sample(range(24), 4))),
            f"{draw.randrange(3)}-{draw.randrange(3, 24)}",
            f"{draw.randrange(4)}-23/{draw.randrange(1, 6)}",
            f"*/{draw.randrange(1, 6)}",
            "*",
        ]
    )
