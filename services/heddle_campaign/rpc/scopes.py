"""The scopes that the campaign service's RPCs ask for: the runtime's, where campaigns act in the caller's name."""

READ = "runtime.read"
"""To read campaigns, cycles and memories of one's tenant."""

RUN = "runtime.run"
"""To change campaigns and memories, to start and cancel cycles, and to report signals."""
