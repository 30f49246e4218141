"""goim's protobuf messages: protocol, comet, logic; and our own: link, session."""
