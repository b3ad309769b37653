// An object's scores over time: its notable events and the best of each night. The event timeline of a user, too.

import { axis, chart, colour, span } from "./chart.js";
import { el } from "./dom.js";
import { oneIn, score, seconds, tail, timeOf, utc } from "./format.js";
import { legend } from "./marks.js";
import { table } from "./table.js";

const LOOKS = {
  high: ["peak", "--high", "high", "high: 1 in 1,000"],
  notable: ["circle", "--accent", "notable", "notable: 1 in 100"],
  "": ["circle", "--muted", "open plain", "below that"],
};

/** One event: {time, score, severity, event, night, candidate}; `events` of the timeline and `best` rows of the nights. */
export function merged(events, best) {
  const found = new Map();
  for (const one of best) {
    found.set(one["d:event"], { time: seconds(one["d:time"]), score: one["d:score"], severity: one["d:severity"] ?? "", event: one["d:event"], night: one["d:night"], candidate: {} });
  }
  for (const one of events) {
    found.set(String(one.event), { time: timeOf(one), score: one.score, severity: one.severity ?? "", event: String(one.event), night: one.night, candidate: one.candidate ?? {} });
  }
  return [...found.values()].filter((one) => Number.isFinite(one.time)).sort((one, other) => one.time - other.time);
}

/** The section. `title`: what these events are to this stream. */
export function scores(title, all) {
  if (!all.length) return null;
  const drawn = chart(settings(title, all), [all.map((one) => one.time), all.map((one) => tail(one.score))]);
  const used = Object.keys(LOOKS).filter((one) => all.some((event) => event.severity === one));
  const fields = [...new Set(all.flatMap((one) => Object.keys(one.candidate)))].filter((one) => !["jd", "transaction_date"].includes(one));
  const rows = all.map((one) => [utc(one.time), score(one.score), one.severity, one.event, ...fields.map((name) => one.candidate[name] ?? "")]).reverse();
  return {
    root: el("section", { class: "card" },
      el("div", { class: "heading" }, el("h2", {}, title), legend(used.map((one) => [LOOKS[one][0], LOOKS[one][2], LOOKS[one][3]]))),
      drawn.root,
      table(`${all.length === 1 ? "The event" : `The ${all.length} events`} as a table`, ["Time (UTC)", "Score", "Severity", "Event", ...fields], rows)),
    end: drawn.end,
  };
}

function settings(title, all) {
  const [first, last] = [all[0].time, all.at(-1).time];
  const margin = Math.max(600, 0.05 * (last - first));
  const top = Math.max(4, Math.ceil(Math.max(...all.map((one) => tail(one.score)))));
  const highest = all.reduce((one, other) => (other.score > one.score ? other : one));
  return {
    name: `${title}: ${all.length} events from ${utc(first)} to ${utc(last)} UTC, the highest score ${score(highest.score)} at ${utc(highest.time)}.`,
    height: 200,
    scales: {
      x: { time: false, range: span(first, last, margin) },
      y: { range: [0, top + 0.3] },
    },
    axes: [
      axis({ size: 28, space: 80, incrs: STEPS, values: (u, ticks, n, space, step) => ticks.map((one) => (step >= 86_400 ? utc(one, 10).slice(5) : utc(one, 16).slice(11))) }),
      axis({ size: 62, splits: Array.from({ length: top }, (_, n) => n + 1), values: (u, ticks) => ticks.map((one) => (1 - 10 ** -one).toFixed(one)) }),
    ],
    draw(u, brush) {
      for (const one of all) {
        const [shape, name] = LOOKS[one.severity] ?? LOOKS[""];
        const stroke = colour(name);
        brush.line([one.time, 0], [one.time, tail(one.score)], colour("--line"));
        brush.mark(shape, one.time, tail(one.score), stroke, one.severity !== "");
      }
    },
    read: (n) => `${score(all[n].score)} (${oneIn(all[n].score)})  ·  ${utc(all[n].time)} UTC${all[n].severity ? `  ·  ${all[n].severity}` : ""}`,
  };
}

const STEPS = [1, 5, 15, 30, 60, 300, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800, 1_209_600, 2_592_000, 7_776_000, 31_536_000];
