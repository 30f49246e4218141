"""Calls between nodes: goim's unary gRPC services, and the batched stream beside them."""

import os

__all__: list[str] = []

# Read when grpc is first imported. It writes to stderr past `logging`, and all
# it says of a connection that ended is in the errors and log lines of this package.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
