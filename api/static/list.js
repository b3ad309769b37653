// A night's most anomalous objects. It reads the list anew when the board changes, at most every two seconds.

import { ask, url } from "./api.js";
import { el, put } from "./dom.js";
import { keep } from "./download.js";
import { score } from "./format.js";
import { row } from "./row.js";
import { dayline, sparkline } from "./sparkline.js";
import { timelines } from "./timelines.js";

const ROWS = 50;
const PAUSE_SECONDS = 2;
const MARKED_SECONDS = 2.5;
const COLUMNS = [
  "i:objectId", "d:rank", "d:score", "d:severity", "d:z", "d:reasons", "d:time", "d:event", "d:night", "d:lightcurve",
].join(",");
const CURVES = { title: "Light curve", draw: (data) => sparkline(data["d:lightcurve"]) };
const EVENTS = { title: "Through the day", draw: (data) => dayline(data.events, data["d:night"]) };

/** The list of a stream and night. `on.told(text)`: for screen readers; `on.failed(error)`, `on.fine()`. */
export function list(where, on) {
  const body = el("tbody", { role: "rowgroup" });
  const head = el("tr", { role: "row" });
  const table = el("table", { class: "list", role: "table", "aria-label": "The most anomalous objects" },
    el("thead", { role: "rowgroup" }, head), body);
  const empty = el("p", { class: "empty", hidden: true });
  const title = el("h1", { tabindex: -1 }, `The most anomalous of ${where.stream}`);
  const asked = { stream: where.stream, night: where.night, order: "score" };
  const csv = keep(url("anomaly", { ...asked, n: 1000, "output-format": "csv" }));
  const root = el("section", { class: "night", "aria-busy": "true" },
    el("div", { class: "heading" }, title, el("p", { class: "about" }, where.night), csv),
    table, empty);
  const rows = new Map();
  const known = timelines(where.stream, (object) => rows.get(object)?.again());
  let timer = 0;
  let reading = false;
  let again = false;
  let ended = false;
  let shown = false;

  async function refresh() {
    clearTimeout(timer);
    timer = 0;
    if (reading) return void (again = true);
    reading = true;
    try {
      const found = await ask("anomaly", { ...asked, n: ROWS, columns: COLUMNS });
      if (!ended) show(found);
      on.fine();
    } catch (error) {
      if (!ended) on.failed(error);
    }
    reading = false;
    root.removeAttribute("aria-busy");
    if (again && !ended) changed();
  }

  /** Something on the board is new, of this night as far as one knows: read soon. */
  function changed(row = null) {
    if (row && row.night !== where.night) return;
    again = false;
    if (!timer && !ended) timer = setTimeout(refresh, PAUSE_SECONDS * 1000);
  }

  function show(found) {
    const parts = [...new Set(found.flatMap((one) => Object.keys(one["d:z"] ?? {})))];
    const image = found.some((one) => one["d:lightcurve"]?.mag) ? CURVES : EVENTS;
    header(head, parts, image.title);
    const focused = [...rows.values()].find((one) => one.link === document.activeElement);
    const place = focused ? [...body.children].indexOf(focused.line) : -1;
    const before = new Set(rows.keys());
    let news = 0;
    found.forEach((data, n) => {
      const object = data["i:objectId"];
      const fresh = !rows.has(object);
      if (fresh) rows.set(object, row(object));
      const one = rows.get(object);
      before.delete(object);
      one.again = () => one.update({ ...data, stream: where.stream, events: known.of(object) }, parts, image.draw);
      const differs = one.again();
      const signature = `${data["d:event"]} ${data["d:score"]}`;
      if (shown && (fresh || (differs && one.signature !== signature))) news += marked(one.line);
      one.signature = signature;
      if (body.children[n] !== one.line) body.insertBefore(one.line, body.children[n] ?? null);
    });
    for (const object of before) {
      rows.get(object).line.remove();
      rows.delete(object);
    }
    if (focused && document.activeElement !== focused.link) {
      const there = focused.line.isConnected ? focused.line : body.children[Math.min(place, body.children.length - 1)];
      there?.querySelector("a")?.focus({ preventScroll: true });
    }
    if (image === EVENTS) known.want(found.map((one) => [one["i:objectId"], one["d:event"]]));
    table.hidden = csv.hidden = !found.length;
    empty.hidden = found.length > 0;
    put(empty, `Nothing is on the board of ${where.stream} for this night yet. Rows appear here as soon as a worker has scored events that are worth a place.`);
    if (news) on.told(`${news} of the first ${found.length} changed; first is ${found[0]["i:objectId"]} with ${score(found[0]["d:score"])}`);
    shown = true;
  }

  /** The row's link that is `step` away from the focused one; focuses it. */
  function move(step) {
    const links = [...body.querySelectorAll("a.object")];
    const now = links.indexOf(document.activeElement);
    const next = links[now < 0 ? 0 : Math.max(0, Math.min(links.length - 1, now + step))];
    next?.focus();
    next?.closest("tr").scrollIntoView({ block: "nearest" });
  }

  return {
    root, title, refresh, changed, move,
    focus: (object) => (rows.get(object)?.link ?? title).focus(),
    end() {
      ended = true;
      known.end();
      clearTimeout(timer);
    },
  };
}

function header(line, parts, last) {
  const names = [["rank", "Rank"], ["name", "Object"], ["score", "Score"], ...parts.map((one) => ["part", one]),
    ["why", "Why"], ["when", "When (UTC)"], ["curve", last]];
  const now = names.map(String).join();
  if (line.dataset.names === now) return;
  line.dataset.names = now;
  put(line, names.map(([kind, name]) => el("th", {
    class: kind, scope: "col", role: "columnheader",
    title: kind === "part" ? `What the part “${name}” finds, in standard deviations of the recent past` : null,
  }, name)));
}

/** Mark a row for a moment; 1, to count them. */
function marked(line) {
  line.classList.remove("changed");
  void line.offsetWidth; // or else the animation of a row that is marked already goes on instead of beginning again
  line.classList.add("changed");
  setTimeout(() => line.classList.remove("changed"), MARKED_SECONDS * 1000);
  return 1;
}
