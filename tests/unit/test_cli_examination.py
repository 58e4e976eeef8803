"""What `heddle doctor` tells of models: each that can be used, and the others by what they lack."""

from heddle.runtime.v1.agent_pb2 import Model
from heddle_cli.examination import told_of_models

NO_KEY = "no key for openai is configured: set OPENAI_API_KEY"


def test_models_that_lack_the_same_are_told_together() -> None:
    told = told_of_models(
        [
            Model(model="openai:gpt-5", note=NO_KEY),
            Model(model="scripted:hello", note="a scenario", available=True, is_default=True),
            Model(model="openai:gpt-5-mini", note=NO_KEY),
            Model(model="google:gemini", note="no key for google is configured"),
        ]
    )
    assert [(each.grade, each.subject, each.found) for each in told] == [
        ("good", "model scripted:hello (default)", "a scenario"),
        ("note", "models of openai", f"{NO_KEY} (gpt-5, gpt-5-mini)"),
        ("note", "models of google", "no key for google is configured (gemini)"),
    ]


def test_a_default_that_cannot_be_used_is_told_by_itself_with_a_remedy() -> None:
    (told,) = told_of_models([Model(model="openai:gpt-5", note=NO_KEY, is_default=True)])
    assert (told.grade, told.subject) == ("bad", "model openai:gpt-5 (default)")
    assert "--model" in told.remedy
