"""comet: holds client connections, TCP and WebSocket, and fans messages out to them."""
