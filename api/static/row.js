// One row of the list. Its link stays the same element however its values change, so that the focus stays on it.

import { href } from "./address.js";
import { el, put, say } from "./dom.js";
import { oneIn, score, seconds, tail, utc } from "./format.js";

const FULL = 5; // 1 in 100,000 fills the bar

/** A row for an object; `update(data, parts, draw)` fills it and tells whether anything is new. */
export function row(object) {
  const link = el("a", { class: "object" }, object);
  const tag = el("span", { class: "tag", hidden: true });
  const cells = {
    rank: cell("rank"),
    object: el("th", { class: "name", scope: "row", role: "rowheader" }, link, " ", tag),
    score: cell("score"),
    parts: [],
    why: cell("why"),
    when: cell("when"),
    curve: cell("curve"),
  };
  const line = el("tr", { role: "row" });
  let known = "";

  function update(data, parts, draw) {
    const now = JSON.stringify([data, parts]);
    if (now === known) return false;
    const first = known === "";
    known = now;
    link.setAttribute("href", href({ stream: data.stream, night: data["d:night"], object }));
    say(cells.rank, String(data["d:rank"] ?? ""));
    say(tag, data["d:severity"] ?? "");
    tag.hidden = !data["d:severity"];
    tag.dataset.severity = data["d:severity"] ?? "";
    put(cells.score, bar(data["d:score"]));
    cells.parts = parts.map((name) => part(name, data["d:z"]?.[name]));
    put(cells.why, reasons(data["d:reasons"]));
    put(cells.when, when(data["d:time"]));
    put(cells.curve, draw(data) ?? "–");
    put(line, cells.rank, cells.object, cells.score, cells.parts, cells.why, cells.when, cells.curve);
    return !first;
  }

  return { line, link, update };
}

function cell(kind, ...children) {
  return el("td", { class: kind, role: "cell" }, ...children);
}

/** The score, and how far out it is: each fifth of the bar is a factor of ten. */
function bar(value) {
  const track = el("span", { class: "bar", "aria-hidden": "true" }, el("span", {}));
  track.firstChild.style.width = `${(100 * Math.min(1, tail(value) / FULL)).toFixed(1)}%`;
  return el("span", { class: "scored", title: oneIn(value) }, el("span", { class: "figure" }, score(value)), track);
}

function part(name, value) {
  const silent = value === null || value === undefined;
  return cell("part", el("span", { class: "label", "aria-hidden": "true" }, `${name} `), silent ? "–" : value.toFixed(1).replace("-", "−"));
}

function reasons(words) {
  return el("ul", {}, (words ?? []).filter(Boolean).map((one) => el("li", { title: one }, ...emphasised(one))));
}

/** "g_amplitude 1.9 mag: above 99 % of objects": what comes before the colon stands out. */
export function emphasised(words) {
  const end = words.indexOf(": ");
  return end < 0 ? [words] : [el("b", {}, words.slice(0, end)), words.slice(end)];
}

function when(text) {
  const time = seconds(text ?? "");
  return el("time", { datetime: text ?? "", title: `${utc(time)} UTC` }, utc(time, 16));
}
