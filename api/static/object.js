// One object: how it scored, why, and what its record holds.

import { ask, text } from "./api.js";
import { href } from "./address.js";
import { el, put } from "./dom.js";
import { features } from "./features.js";
import { exact, mjdOfJd, number, oneIn, score, timeOf, utc } from "./format.js";
import { merged, scores } from "./history.js";
import { lightcurve } from "./lightcurve.js";
import { record } from "./record.js";
import { sky } from "./sky.js";

const PAUSE_SECONDS = 1;
const HISTORY = "d:night,d:score,d:severity,d:time,d:event";

/** The view of an object, as the list has one. */
export function object(where, on) {
  const title = el("h1", { tabindex: -1 }, where.object);
  const content = el("div", { class: "sections" });
  const close = el("a", { class: "close", href: href({ ...where, object: "" }) }, "← Back to the list");
  const root = el("article", { class: "one", "aria-busy": "true" }, close, el("div", { class: "heading" }, title), content);
  let drawn = [];
  let known = "";
  let timer = 0;
  let ended = false;

  async function refresh() {
    clearTimeout(timer);
    timer = 0;
    try {
      const [json, events, best] = await Promise.all([
        text(["explain", where.stream, where.object], { night: where.night }),
        ask(["timeline", where.stream, where.object]).then((found) => found.events),
        ask("objects", { stream: where.stream, objectId: where.object, columns: HISTORY }),
      ]);
      const now = json + JSON.stringify([events, best]);
      if (!ended && now !== known) show(json, merged(events, best));
      known = now;
      on.fine();
    } catch (error) {
      if (!ended) on.failed(error);
    }
    root.removeAttribute("aria-busy");
  }

  function show(json, events) {
    const details = JSON.parse(json);
    const open = new Set([...content.querySelectorAll("details[open] > summary")].map((one) => one.textContent));
    drawn.forEach((one) => one.end());
    const isUser = typeof details.candidate?.transaction_date === "string";
    drawn = [
      lightcurve(where.object, details.lightcurve),
      features(details),
      scores(isUser ? "Event timeline" : "Score history", events),
    ].filter(Boolean);
    put(content, facts(where, details), drawn.map((one) => one.root), record(json));
    for (const one of content.querySelectorAll("summary")) one.parentElement.open = open.has(one.textContent);
    if (known) on.told(`${where.object} has changed: score ${score(details.score)}`);
  }

  return {
    root, title, refresh,
    changed(row) {
      if (row && row.object !== where.object) return;
      if (!timer && !ended) timer = setTimeout(refresh, PAUSE_SECONDS * 1000);
    },
    move() {},
    end() {
      ended = true;
      clearTimeout(timer);
      drawn.forEach((one) => one.end());
    },
  };
}

/** What there is to know in words: score, parts, place, the record's own fields. */
function facts(where, details) {
  const { candidate = {}, z = {}, raw = {} } = details;
  const time = timeOf({ candidate });
  const parts = Object.keys(z).map((name) => [name, z[name] === null ? "silent" : `${number(z[name])} σ (raw ${number(raw[name])})`]);
  const fields = Object.entries(candidate).filter(([name, value]) => value !== null && !["ra", "dec", "s_ra", "s_dec", "jd", "transaction_date"].includes(name));
  const mjd = typeof candidate.jd === "number" ? ["MJD", mjdOfJd(candidate.jd).toFixed(5)] : null;
  const entries = [
    ["Rank", `${details.rank} in the night ${details.night}`],
    ["Time", Number.isFinite(time) ? `${utc(time)} UTC` : "–"],
    ...(mjd ? [mjd] : []),
    ...sky(where.object, candidate),
    ...(typeof details.probability === "number" ? [["Probability of an anomaly", number(details.probability)]] : []),
  ];
  const severity = details.severity ? el("span", { class: "tag", "data-severity": details.severity }, details.severity) : null;
  return el("section", { class: "card wide facts" },
    el("p", { class: "verdict" }, el("span", { class: "big" }, score(details.score)), el("span", {}, oneIn(details.score)), severity),
    terms(entries), terms(parts, "The parts"),
    terms([...fields.map(([name, value]) => [name, typeof value === "number" ? exact(value) : String(value)]), ["event", details.event], ["model", details.model]], "The record"));
}

function terms(entries, title = "") {
  return el("div", {}, title ? el("h2", {}, title) : null,
    el("dl", {}, entries.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value ?? "–")))));
}
