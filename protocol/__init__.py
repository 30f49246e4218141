"""goim's wire: frames, bodies, WebSocket, connection rules, HTTP APIs; no sockets, no clock."""
