"""Words between replicas: the contract's own message, so that two versions understand each other."""

from collections.abc import Sequence

from google.protobuf.message import DecodeError

from heddle.runtime.v1 import stream_pb2
from heddle_core.ids import CallId, MessageId, RunId, StepId
from heddle_runtime.threads.deltas import Channel, Delta


def encode_words(words: Sequence[Delta]) -> bytes:
    """Words as a DeltaBatch."""
    return stream_pb2.DeltaBatch(
        deltas=[
            stream_pb2.Delta(
                run_id=each.run_id,
                step_id=each.step_id,
                attempt=each.attempt,
                message_id=each.message_id,
                channel=stream_pb2.DeltaChannel.ValueType(each.channel),
                call_id=each.call_id,
                offset=each.offset,
                text=each.text,
                after_sequence=each.after_sequence,
                reset=each.reset,
            )
            for each in words
        ]
    ).SerializeToString()


def decode_words(data: bytes) -> Sequence[Delta]:
    """Words from a DeltaBatch. Raises ValueError for what is none, or has a channel that this version does not know."""
    try:
        batch = stream_pb2.DeltaBatch.FromString(data)
    except DecodeError as problem:
        raise ValueError(str(problem)) from None
    return [
        Delta(
            RunId(each.run_id),
            StepId(each.step_id),
            each.attempt,
            MessageId(each.message_id),
            Channel(each.channel),
            each.offset,
            each.text,
            each.after_sequence,
            CallId(each.call_id),
            each.reset,
        )
        for each in batch.deltas
    ]
