"""A campaign service and agents in memory, for the command line: it keeps what it is told, and records every request."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from heddle.campaign.v1alpha1 import campaign_service_pb2 as pb
from heddle.campaign.v1alpha1 import cycle_request_pb2 as cycles_pb
from heddle.campaign.v1alpha1 import memory_request_pb2 as memories_pb
from heddle.campaign.v1alpha1.campaign_pb2 import Campaign, CampaignState
from heddle.campaign.v1alpha1.cycle_pb2 import Cycle, CycleGap
from heddle.campaign.v1alpha1.memory_pb2 import Memory
from heddle.campaign.v1alpha1.schedule_pb2 import OverlapPolicy, ScheduledTime
from heddle.runtime.v1 import agent_service_pb2 as agents_pb
from heddle.runtime.v1.agent_pb2 import Agent
from heddle_core.errors import AgentNotFound, AlreadyExists, CampaignNotFound, IllegalTransition, invalid
from heddle_core.ids import CountingIds
from heddle_grpc.authorization import Access
from heddle_grpc.identity import Development
from heddle_grpc.routes import Service
from heddle_grpc.server import Server
from heddle_grpc.validation import text_of_service  # type: ignore[import-not-found]
from tests.kit.grpc_probe import SOMEBODY, local
