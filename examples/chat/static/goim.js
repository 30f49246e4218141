// A goim client for browsers: frames over a WebSocket, authentication, heartbeats, reconnecting, kept messages.
//
//   const client = new Goim("ws://127.0.0.1:3102/sub", {token, room_id: "room://lobby", accepts: [1000]});
//   client.onmessage = ({op, seq, text, kept}) => ...;
//   client.onstate = (state) => ...;     // "connecting", "online", "offline"
//   client.start();
//
// A frame is a header of 16 bytes and a body: length (uint32), header length (uint16), version (uint16), operation
// (uint32), sequence (uint32). What a server pushes comes as operation 9, a body of whole frames. A frame with a sequence
// above 0 is one that the server keeps until it is acknowledged: operation 100 with the highest sequence received.
"use strict";

const HEADER = 16;
const OP = {HEARTBEAT: 2, HEARTBEAT_REPLY: 3, DISCONNECT: 6, AUTH: 7, AUTH_REPLY: 8, RAW: 9, CHANGE_ROOM: 12, ACK: 100};

function packFrame(op, body = "", seq = 0) {
  const bytes = new TextEncoder().encode(body);
  const frame = new Uint8Array(HEADER + bytes.length);
  const view = new DataView(frame.buffer);
  view.setUint32(0, frame.length);
  view.setUint16(4, HEADER);
  view.setUint16(6, 1);
  view.setUint32(8, op);
  view.setUint32(12, seq);
  frame.set(bytes, HEADER);
  return frame;
}

function* unpackFrames(buffer, start = 0, end = buffer.byteLength) {
  const view = new DataView(buffer);
  while (end - start >= HEADER) {
    const length = Math.max(view.getUint32(start), HEADER);
    const stop = start + length;
    if (stop > end) throw new RangeError(`frame of ${length} bytes in ${end - start}`);
    const op = view.getUint32(start + 8);
    if (op === OP.RAW) yield* unpackFrames(buffer, start + HEADER, stop);
    else yield {op, seq: view.getUint32(start + 12), body: new Uint8Array(buffer, start + HEADER, length - HEADER)};
    start = stop;
  }
}

class Goim {
  constructor(url, token, {heartbeatMs = 30000, firstWaitMs = 200, longestWaitMs = 5000} = {}) {
    this.url = url;
    this.token = token;
    this.onmessage = () => {};
    this.onstate = () => {};
    this.state = "offline";
    this.heartbeatMs = heartbeatMs;
    this.firstWaitMs = firstWaitMs;
    this.longestWaitMs = longestWaitMs;
    this.waitMs = firstWaitMs;
    this.seen = 0; // highest sequence shown: what is kept may come again after a connection broke
    this.wanted = false;
  }

  start() {
    this.wanted = true;
    this.open();
  }

  stop() {
    this.wanted = false;
    clearTimeout(this.again);
    if (this.socket) this.socket.close();
  }

  changeRoom(room) {
    this.token.room_id = room; // also after the next reconnect
    if (this.state === "online") this.socket.send(packFrame(OP.CHANGE_ROOM, room));
  }

  open() {
    this.setState("connecting");
    const socket = (this.socket = new WebSocket(this.url));
    socket.binaryType = "arraybuffer";
    socket.onopen = () => socket.send(packFrame(OP.AUTH, JSON.stringify(this.token)));
    socket.onmessage = (event) => this.receive(event.data);
    socket.onclose = () => this.closed();
  }

  closed() {
    clearInterval(this.beat);
    this.setState("offline");
    if (!this.wanted) return;
    // With some chance in it, so that a crowd does not come back all at once.
    this.again = setTimeout(() => this.open(), this.waitMs * (0.5 + Math.random()));
    this.waitMs = Math.min(this.waitMs * 2, this.longestWaitMs);
  }

  receive(data) {
    let newest = 0;
    for (const {op, seq, body} of unpackFrames(data)) {
      if (op === OP.AUTH_REPLY) this.ready();
      // Another login has ended this one: to come back would only end that one.
      else if (op === OP.DISCONNECT) this.wanted = false;
      else if (op >= 1000) {
        newest = Math.max(newest, seq);
        if (seq > 0 && seq <= this.seen) continue; // a repeat
        if (seq > 0) this.seen = seq;
        this.onmessage({op, seq, text: new TextDecoder().decode(body), kept: seq > 0});
      }
    }
    // After it was shown: what the page never saw must come again.
    if (newest) this.socket.send(packFrame(OP.ACK, "", newest));
  }

  ready() {
    this.waitMs = this.firstWaitMs;
    this.beat = setInterval(() => this.socket.send(packFrame(OP.HEARTBEAT)), this.heartbeatMs);
    this.setState("online");
  }

  setState(state) {
    this.state = state;
    this.onstate(state);
  }
}
