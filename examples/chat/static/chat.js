// The page: a login, one room at a time with its history, and private messages.
"use strict";

const $ = (id) => document.getElementById(id);
let me = null;
let client = null;

async function ask(path, body) {
  const headers = {"Content-Type": "application/json"};
  if (me) headers.Authorization = `Bearer ${me.token}`;
  const reply = await fetch(path, body === undefined ? {headers} : {method: "POST", headers, body: JSON.stringify(body)});
  const found = await reply.json();
  if (!reply.ok) throw new Error(found.error);
  return found;
}

function show({from, text, to}, past = false) {
  const line = document.createElement("li");
  const name = document.createElement("b");
  name.textContent = to ? `${from} → ${to}` : from;
  line.className = `${past ? "past" : ""} ${to ? "private" : ""}`.trim();
  line.append(name, document.createTextNode(text));
  $("messages").append(line);
  line.scrollIntoView({block: "end"});
}

async function enterRoom(room) {
  $("messages").replaceChildren();
  const {messages} = await ask(`/history?room=${encodeURIComponent(room)}`);
  for (const message of messages) show(message, true);
  client.changeRoom(room);
}

async function refreshNames() {
  const select = $("say").elements.to;
  const chosen = select.value;
  const {names} = await ask("/names");
  select.replaceChildren(new Option("to the room", ""), ...names.map((name) => new Option(`to ${name}`, name)));
  select.value = names.includes(chosen) ? chosen : "";
}

$("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  me = await ask("/login", {name: event.target.elements.name.value.trim()});
  $("login").hidden = true;
  $("chat").hidden = false;
  $("room").replaceChildren(...me.rooms.map((room) => new Option(room, room)));
  const {messages} = await ask(`/history?room=${encodeURIComponent(me.rooms[0])}`);
  for (const message of messages) show(message, true);
  client = new Goim(me.url, {token: me.token, room_id: me.rooms[0], accepts: [1000]});
  client.onmessage = ({text}) => show(JSON.parse(text));
  client.onstate = (state) => {
    $("state").textContent = $("state").className = state;
  };
  client.start();
  await refreshNames();
});

$("room").addEventListener("change", (event) => enterRoom(event.target.value));
$("say").elements.to.addEventListener("focus", refreshNames);

$("say").addEventListener("submit", async (event) => {
  event.preventDefault();
  const {text, to} = event.target.elements;
  await ask("/say", {text: text.value, to: to.value, room: $("room").value});
  text.value = "";
});
