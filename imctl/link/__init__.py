"""Calls between nodes: goim's unary gRPC services, and the batched stream beside them."""
