"""Facts of one run in few words, for tests that tell a thread's story event by event."""

from typing import Any

import heddle_runtime.threads.events as e
from heddle_core.ids import CallId, InputId, MessageId, RequestId, RunId, StepId, WorkerId
from heddle_runtime.runs.content import Text
from heddle_runtime.runs.inputs import InputKind, InputRequest
from heddle_runtime.runs.run import RunResult
from heddle_runtime.runs.state import InputState
from heddle_runtime.runs.turn import AgentReference, Turn
from heddle_runtime.threads.settings import ThreadSettings
from tests.kit.thread_stories import ADA, THREAD, Story

RUN = RunId("run_1")
GENERAL = AgentReference("general", 1)


def tell(*payloads: e.Payload | tuple[e.Payload, str], run: str = RUN) -> Story:
    """A thread in which this happened; each to `run`, or to the run beside it."""
    story = Story(lambda *_: None)
    story.tell(e.ThreadCreated(ThreadSettings("Plans"), ADA))
    return more(story, *payloads, run=run)


def more(story: Story, *payloads: e.Payload | tuple[e.Payload, str], run: str = RUN) -> Story:
    for each in payloads:
        payload, of = each if isinstance(each, tuple) else (each, run)
        story.tell(payload, of)
    return story


def requested(text: str = "hello", message: str = "said_1", **fields: Any) -> e.TurnRequested:
    turn = Turn((Text(text),), agent=GENERAL, model="m")
    return e.TurnRequested(RequestId("req"), MessageId(message), turn, ADA, RUN, **fields)


def started(fence: int = 1) -> e.RunStarted:
    return e.RunStarted(1, fence, WorkerId("w"), GENERAL, "m")


def step(number: int = 1, message: str = "msg_1", attempt: int = 1) -> e.StepStarted:
    return e.StepStarted(StepId(f"step_{number}"), number, attempt, MessageId(message))


def stepped(number: int = 1, error: str = "", **fields: Any) -> e.StepCompleted:
    return e.StepCompleted(StepId(f"step_{number}"), 1, "m", error=error, **fields)


def said(text: str, message: str = "msg_1", **fields: Any) -> e.AssistantMessageCompleted:
    return e.AssistantMessageCompleted(MessageId(message), (Text(text),), **fields)


def completed(message: str = "msg_1") -> e.RunCompleted:
    return e.RunCompleted(RunResult(MessageId(message), (Text("done"),)))


def asked(name: str, call: str = "", kind: InputKind = InputKind.QUESTION, **fields: Any) -> e.InputRequested:
    request = InputRequest(InputId(name), THREAD, RUN, kind, InputState.PENDING, CallId(call), **fields)
    return e.InputRequested(request)
