"""The scopes that the runtime's RPCs ask for; a credential carries those that it was issued with."""

READ = "runtime.read"
"""To read threads, runs, inputs, agents and tools of one's tenant."""

WRITE = "runtime.write"
"""To change threads, start, cancel and retry runs, and answer inputs."""

ADMIN = "runtime.admin"
"""To change what agents are, and where their tools come from."""
