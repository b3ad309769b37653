// Whether what is shown is alive: the line in the header, and the banner where something is wrong.

import { el, put, say } from "./dom.js";
import { duration, seconds, utc } from "./format.js";

const line = document.getElementById("state");
const banner = document.getElementById("banner");
const told = document.getElementById("told");
const SPOKEN_SECONDS = 10;

/** What the header says. `kind`: live, late or down. */
export function state(kind, words) {
  line.dataset.kind = kind;
  say(line, words);
}

/** A banner with what is wrong and what to do; "" takes it away. `kind`: stale or error. */
export function warn(kind, words, action = null) {
  if (banner.textContent === words + (action?.textContent ?? "")) return;
  banner.hidden = !words;
  banner.dataset.kind = kind;
  put(banner, words ? el("span", {}, words) : null, words ? action : null);
}

/** What the workers of a stream do, in words; "" if all is well. `now` is in seconds. */
export function silence(workers, now) {
  if (!workers || workers.alive > 0) return "";
  if (!workers.last_seen) return "No worker reads this stream, and none has been heard within a day. The list is as the last one left it.";
  const then = seconds(workers.last_seen);
  return `No worker heard since ${utc(then)} UTC (${duration(now - then)}). The list is as it was then.`;
}

let spoken = 0;
let waiting = 0;

/** Tell screen readers, not more often than every ten seconds: the latest is what is said. */
export function tell(words) {
  clearTimeout(waiting);
  const wait = Math.max(0, spoken + SPOKEN_SECONDS * 1000 - Date.now());
  waiting = setTimeout(() => {
    spoken = Date.now();
    told.textContent = words;
  }, wait);
}
