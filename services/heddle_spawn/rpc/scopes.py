"""The scopes that the spawn service's RPCs ask for: those of the runtime, since it acts there in the caller's name."""

READ = "runtime.read"
"""To read children, groups and trees of one's tenant."""

RUN = "runtime.run"
"""To start and cancel children."""

ACT_AS = "act_as"
"""To call tools in the name that the call itself tells: the runtime's own credential has it."""
