"""The scopes that the runtime's RPCs ask for; a credential carries those that it was issued with."""

READ = "runtime.read"
"""To read threads, runs, inputs, agents and tools of one's tenant."""

RUN = "runtime.run"
"""To start, cancel and retry runs, answer inputs, and change threads."""

MANAGE = "runtime.manage"
"""To change what agents are, and where their tools come from."""
