"""Errors of the services beside the runtime: spawn and campaign. See `heddle_core.errors`."""

from heddle_core.errors import NotFound
from heddle_core.faults import StatusCode


class SpawnNotFound(NotFound, status=StatusCode.NOT_FOUND): ...


class CampaignNotFound(NotFound, status=StatusCode.NOT_FOUND): ...


class CycleNotFound(NotFound, status=StatusCode.NOT_FOUND): ...


class MemoryNotFound(NotFound, status=StatusCode.NOT_FOUND): ...
