"""goim's protobuf messages: protocol, comet, logic, and link (our own)."""
