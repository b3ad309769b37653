// Changes of the board as they are committed: server-sent events, read by fetch since EventSource can't send a token.
// It goes on after the last event that it has seen. While the page is hidden it lets go of the connection: browsers
// have six for a server, and this takes one.

import { failure, headers, url } from "./api.js";

const SILENT_SECONDS = 45; // the server says something every 15
const FIRST_WAIT_SECONDS = 1;
const LONGEST_WAIT_SECONDS = 15;

/** Follow a stream. `on.row(row)`: a row came or rose; `on.missed()`: read the table anew; `on.open(is)`. Gives stop(). */
export function follow(stream, on) {
  let last = "";
  let wait = FIRST_WAIT_SECONDS;
  let request = null;
  let timer = 0;
  let stopped = false;

  async function listen() {
    request = new AbortController();
    const mine = request;
    try {
      const known = last ? { "Last-Event-ID": last } : {};
      const response = await fetch(url("stream", { stream }), { headers: { ...headers(), ...known }, signal: mine.signal });
      if (!response.ok) throw await failure(response);
      on.open(true);
      if (!last) on.missed(); // what came between the list and now
      await read(response.body, mine, (event) => {
        wait = FIRST_WAIT_SECONDS;
        last = event.id || last;
        if (event.kind === "row") on.row(JSON.parse(event.data));
        if (event.kind === "reset") on.missed();
      });
    } catch {
      // Nothing to tell here: the page asks for the state of the server by itself, and says what it hears.
    }
    if (stopped || mine !== request) return;
    on.open(false);
    request = null;
    timer = setTimeout(listen, wait * 1000);
    wait = Math.min(2 * wait, LONGEST_WAIT_SECONDS);
  }

  function pause() {
    clearTimeout(timer);
    const going = request;
    request = null;
    going?.abort();
  }

  function seen() {
    if (document.hidden) pause();
    else if (!request) {
      clearTimeout(timer);
      listen();
    }
  }

  document.addEventListener("visibilitychange", seen);
  seen();
  return () => {
    stopped = true;
    document.removeEventListener("visibilitychange", seen);
    pause();
  };
}

/** Read events until the line ends or is silent for too long. */
async function read(body, request, tell) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const watch = setTimeout(() => request.abort(), SILENT_SECONDS * 1000);
    const { value, done } = await reader.read().finally(() => clearTimeout(watch));
    if (done) return;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const event = parsed(block);
      if (event.id || event.data) tell(event);
    }
  }
}

function parsed(block) {
  const found = { id: "", kind: "message", data: "" };
  for (const line of block.split("\n")) {
    const [, name, value] = /^([^:]*):? ?(.*)$/.exec(line);
    if (name === "id") found.id = value;
    if (name === "event") found.kind = value;
    if (name === "data") found.data += value;
  }
  return found;
}
