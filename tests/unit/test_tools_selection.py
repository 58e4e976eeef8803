"""Which tools a turn has, and by what names."""

from hypothesis import given
from hypothesis import strategies as st

from heddle_runtime.tools.selection import Found, Unknown, Wishes, problem_of_pattern, select
from tests.kit.tool_servers import spec_of

WEB = [spec_of("search", "web"), spec_of("fetch", "web")]
SHOP = [spec_of("search", "shop"), spec_of("order", "shop")]
ASK = spec_of("ask_user", "builtin")
ALL = [*WEB, *SHOP, ASK]


def names(wishes: Wishes) -> list[str]:
    return list(select(ALL, wishes).by_name)


def test_an_agent_that_names_no_tools_can_only_ask() -> None:
    assert names(Wishes()) == ["ask_user"]


def test_a_name_is_plain_where_it_is_unique_and_qualified_where_not() -> None:
    assert names(Wishes(agent=["web/*", "shop/*"])) == ["fetch", "order", "shop__search", "web__search"]
    assert names(Wishes(agent=["web/*"])) == ["fetch", "search"]


def test_what_is_denied_is_gone_whoever_allows_it() -> None:
    wishes = Wishes(agent=["web/*", "shop/*"], allow=["web/*", "shop/order"], deny=["web/search"])
    assert names(wishes) == ["fetch", "order"]


def test_a_turn_narrows_by_plain_names_and_by_patterns_and_never_widens() -> None:
    assert names(Wishes(agent=["web/*"], turn=["fetch", "order"])) == ["fetch"]
    assert names(Wishes(agent=["web/*", "shop/*"], turn=["shop/*"])) == ["order", "search"]


def test_a_name_that_a_client_tool_has_is_qualified() -> None:
    assert names(Wishes(agent=["web/*"], taken=["fetch"])) == ["search", "web__fetch"]


def test_a_pattern_that_matches_nothing_is_said() -> None:
    selection = select(ALL, Wishes(agent=["web/*", "gone/*", "web/typo"]))
    assert selection.unmatched == ("gone/*", "web/typo")


def test_the_name_that_a_model_wrote_is_found() -> None:
    selection = select(ALL, Wishes(agent=["web/*", "shop/*"]))
    assert selection.find("shop__search") == Found(SHOP[0])


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    unknown = select(ALL, Wishes(agent=["web/*", "shop/*"])).find("Web_Search")
    assert isinstance(unknown, Unknown)
    assert unknown.nearest[0] == "web__search"
    assert "web__search" in unknown.message


def test_a_name_like_none_is_answered_with_some_that_there_are() -> None:
    unknown = select(ALL, Wishes(agent=["web/*"])).find("z" * 10_000)
    assert isinstance(unknown, Unknown)
    assert set(unknown.nearest) == {"fetch", "search"}
    assert len(unknown.message) < 300


def test_with_no_tools_the_model_is_told_to_answer() -> None:
    unknown = select([], Wishes()).find("x")
    assert isinstance(unknown, Unknown)
    assert "answer without tools" in unknown.message


def test_the_digest_changes_with_a_declaration_and_with_nothing_else() -> None:
    digest = select(ALL, Wishes(agent=["web/*"])).digest
    assert select(list(reversed(ALL)), Wishes(agent=["web/fetch", "web/search"])).digest == digest
    changed = [spec_of("search", "web", description="Now it sends mail."), WEB[1]]
    assert select(changed, Wishes(agent=["web/*"])).digest != digest


def test_patterns_are_checked() -> None:
    assert problem_of_pattern("web/*") is None
    assert problem_of_pattern("web/search") is None
    for wrong in ("search", "*", "*/search", "web/", "/search", "web/a/b", "web/se arch"):
        assert problem_of_pattern(wrong) is not None


piece = st.sampled_from(["a", "b", "a__b", "b__a", "x" * 64, "x" * 63 + "y"])


@given(st.lists(st.tuples(piece, piece), unique=True, max_size=12), st.sets(piece, max_size=3))
def test_every_tool_has_one_name_that_models_accept(pairs: list[tuple[str, str]], taken: set[str]) -> None:
    specs = [spec_of(name, provider) for provider, name in pairs]
    wishes = Wishes(agent=[f"{provider}/*" for provider, _ in pairs] or ["none/*"], taken=taken)
    by_name = select(specs, wishes).by_name
    assert sorted(spec.path for spec in by_name.values()) == sorted(spec.path for spec in specs)
    assert all(len(name) <= 64 for name in by_name)
    assert not taken & by_name.keys()
