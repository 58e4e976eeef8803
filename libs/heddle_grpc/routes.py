"""Turns a proto service and the object that serves it into routes, read from the descriptor alone.

Registration through the generated `add_..._to_server` is avoided on purpose: gRPC then waits on one future
per method for every call, which costs about a fifth more CPU per call at sixty methods.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message

from heddle_core.errors import CannotServe
from heddle_grpc.authorization import Rule, Rules, require_rules

Behaviour = Callable[..., Any]


@dataclass(frozen=True)
class Service:
    """One proto service, what serves it, and who may call it."""

    name: str
    """Full name, as `heddle.runtime.v1.AgentRuntime`; its generated module must have been imported."""
    servicer: object
    """Has one `async def METHOD(request, context)` per RPC; for a stream of answers, an async generator."""
    rules: Mapping[str, Rule]
    """By the RPC's short name, as `StartTurn`. An RPC without a rule stops the server from starting."""
    answers_while_draining: bool = False
    """For health: answers when nothing else does, and is never refused for overload."""


@dataclass(frozen=True)
class Route:
    """One RPC as it is served."""

    path: str
    behaviour: Behaviour | None
    """None: declared in the contract, and not served by this servicer."""
    request: type[Message]
    takes_stream: bool
    gives_stream: bool
    rule: Rule
    exempt: bool


def routes_of(service: Service) -> list[Route]:
    """Every RPC of `service`. Raises CannotServe for a missing rule, a sync method or an unknown service."""
    descriptor = _descriptor(service.name)
    rules: Rules = {f"/{service.name}/{name}": rule for name, rule in service.rules.items()}
    require_rules((_path(each) for each in descriptor.methods), rules)
    return [_route(each, service, rules[_path(each)]) for each in descriptor.methods]


def _descriptor(name: str) -> ServiceDescriptor:
    try:
        return descriptor_pool.Default().FindServiceByName(name)
    except KeyError as error:
        raise CannotServe(name, "no such proto service is loaded", "import its generated module") from error


def _path(method: MethodDescriptor) -> str:
    return f"/{method.containing_service.full_name}/{method.name}"


def _route(method: MethodDescriptor, service: Service, rule: Rule) -> Route:
    return Route(
        path=_path(method),
        behaviour=_behaviour(method, service),
        request=message_factory.GetMessageClass(method.input_type),
        takes_stream=method.client_streaming,
        gives_stream=method.server_streaming,
        rule=rule,
        exempt=service.answers_while_draining,
    )


def _behaviour(method: MethodDescriptor, service: Service) -> Behaviour | None:
    found: Behaviour | None = getattr(service.servicer, method.name, None)
    # A generated servicer raises NotImplementedError from a plain function: that method is not served.
    if found is None or found.__module__.endswith("_pb2_grpc"):
        return None
    streams = inspect.isasyncgenfunction(found)
    if not streams and not inspect.iscoroutinefunction(found):
        problem = f"{method.name} is not an async function"
        raise CannotServe(service.name, problem, "write it as `async def`: a sync method can hang the shutdown")
    if streams and not method.server_streaming:
        problem = f"{method.name} is an async generator and its RPC gives one answer"
        raise CannotServe(service.name, problem, "return the one answer")
    return found
