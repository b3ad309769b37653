// The page: which stream, night and object it shows, and what keeps it up to date.

import { go, place } from "./address.js";
import { ask, headers } from "./api.js";
import { el, put, say } from "./dom.js";
import { utc } from "./format.js";
import { follow } from "./follow.js";
import { list } from "./list.js";
import { object } from "./object.js";
import { silence, state, tell, warn } from "./state.js";
import { thresholds } from "./thresholds.js";
import { tokenForm } from "./token.js";

const ASK_SECONDS = 5;

const main = document.getElementById("main");
const choices = { stream: document.getElementById("stream"), night: document.getElementById("night") };
const TITLE = "Skimstream";

let streams = null; // as the API lists them; null = not heard yet
let view = null;
let shown = { stream: "", night: "", object: "" }; // what `view` is of
let followed = { stream: "", stop() {}, open: false };
let trouble = null; // the error of the view's own last request
let lost = 0; // when the server stopped to answer; 0 = it does
let timer = 0;

/** Ask what there is and who is alive, again and again. */
async function look() {
  clearTimeout(timer);
  try {
    streams = await ask("streams");
    lost = 0;
    judge();
    show();
    if (!followed.open && !document.hidden) view?.changed(null); // nobody tells us of changes, so look for ourselves
  } catch (error) {
    failed(error);
  }
  timer = setTimeout(look, ASK_SECONDS * 1000);
}

/** Show what the URL says, of what there is. */
function show() {
  const asked = place();
  const known = streams.find((one) => one.stream === asked.stream) ?? streams[0];
  if (!known) return nothing();
  const where = { stream: asked.stream || known.stream, night: asked.night || (asked.object ? "" : known.nights[0] ?? ""), object: asked.object };
  choose(where, asked);
  listen(where.stream);
  if (view && ["stream", "night", "object"].every((name) => shown[name] === where[name])) return;
  const came = shown;
  const first = !view;
  view?.end();
  shown = where;
  trouble = null;
  view = where.object ? object(where, on) : list(where, on);
  put(main, view.root);
  document.title = where.object ? `${where.object} · ${TITLE}` : `${where.stream} ${where.night} · ${TITLE}`;
  const mine = view;
  view.refresh().then(() => {
    if (first || mine !== view) return;
    if (where.object) mine.title.focus();
    else if (came.object) mine.focus(came.object);
  });
  if (!first) scrollTo(0, 0);
}

const on = {
  told: tell,
  fine() {
    trouble = null;
    judge();
  },
  failed(error) {
    trouble = error;
    failed(error);
  },
};

/** Follow a link of this page without loading it anew, unless a new tab is asked for. */
function open(event) {
  const link = event.target.closest("a[href^='?'], a[href='./']");
  if (!link || event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey) return;
  event.preventDefault();
  if (link.href !== location.href) history.pushState(null, "", link.getAttribute("href"));
  if (streams) show();
}

function listen(stream) {
  if (followed.stream === stream) return;
  followed.stop();
  const mine = { stream, open: false };
  mine.stop = follow(stream, {
    row: (row) => view?.changed(row),
    missed: () => view?.changed(null),
    open(is) {
      mine.open = is;
      judge();
    },
  });
  followed = mine;
}

/** The header's line and the banner, from what was heard last. */
function judge() {
  if (!streams || trouble) return;
  const about = streams.find((one) => one.stream === shown.stream);
  const workers = about?.workers;
  say(document.getElementById("thresholds"), thresholds(about?.thresholds));
  const silent = silence(workers, Date.now() / 1000);
  const count = workers?.alive ? `${workers.alive} worker${workers.alive === 1 ? "" : "s"}` : "";
  warn("stale", silent);
  if (silent) state("late", "stale");
  else state(followed.open ? "live" : "late", [followed.open ? "live" : "every 5 s", count].filter(Boolean).join(" · "));
}

function failed(error) {
  if (error.status === 401) return askForToken();
  lost ||= Date.now() / 1000;
  state("down", "no answer");
  const again = el("button", { type: "button", onclick: () => { look(); view?.refresh(); } }, "Try again");
  if (error.status) warn("error", `${error.message} (${error.status}) `, again);
  else warn("gone", `No answer since ${utc(lost)} UTC: ${error.message}. What you see is as it was then. `, again);
}

function askForToken() {
  const had = Boolean(headers().Authorization);
  if (main.querySelector("form.token") && !had) return;
  view?.end();
  view = null;
  shown = { stream: "", night: "", object: "" };
  put(main, tokenForm(look, had));
  sessionStorage.clear();
  state("down", "token needed");
  main.querySelector("input").focus();
}

function nothing() {
  view?.end();
  view = null;
  state("late", "no board yet");
  put(main, el("section", { class: "empty card" },
    el("h1", {}, "No board yet"),
    el("p", {}, "No worker has written to this Redis. Start one, and its list appears here by itself:"),
    el("pre", {}, "skim run ztf --topic alerts"),
    el("p", {}, "Or see it all with simulated streams: ", el("code", {}, "skim demo"), ".")));
}

/** The two selects. The night follows the latest one as long as none is chosen. */
function choose(where, asked) {
  options(choices.stream, streams.map((one) => [one.stream, one.stream]), where.stream);
  const nights = streams.find((one) => one.stream === where.stream)?.nights ?? [];
  options(choices.night, [["", `latest (${nights[0] ?? "none"})`], ...nights.map((one) => [one, one])], asked.night);
}

function options(select, pairs, chosen) {
  const all = pairs.some(([value]) => value === chosen) ? pairs : [...pairs, [chosen, chosen]];
  const now = JSON.stringify(all);
  if (select.dataset.options !== now) put(select, all.map(([value, words]) => el("option", { value }, words)));
  select.dataset.options = now;
  select.value = chosen;
}

function keys(event) {
  if (event.altKey || event.ctrlKey || event.metaKey || event.target.closest("input, select, textarea")) return;
  const step = { j: 1, ArrowDown: 1, k: -1, ArrowUp: -1 }[event.key];
  const inList = !shown.object && view;
  if (step && inList && (event.key.length === 1 || event.target.closest("table.list"))) {
    event.preventDefault();
    view.move(step);
  }
  if (event.key === "Escape" && shown.object) go({ ...place(), object: "" }, show);
}

choices.stream.addEventListener("change", () => go({ stream: choices.stream.value, night: "", object: "" }, show));
choices.night.addEventListener("change", () => go({ stream: choices.stream.value, night: choices.night.value, object: "" }, show));
document.addEventListener("click", (event) => {
  const line = event.target.closest("table.list tbody tr");
  if (line && !event.target.closest("a") && !String(getSelection())) return line.querySelector("a").click();
  open(event);
});
document.addEventListener("keydown", keys);
addEventListener("popstate", () => streams && show());
state("late", "loading …");
put(main, el("p", { class: "empty", "aria-busy": "true" }, "Loading …"));
look();
