// A light curve, or the events of a day, in a row of the list: what it looks like, no more. The object's view has charts.

import { svg } from "./dom.js";
import { described, points } from "./curve.js";
import { score, seconds, tail, timeOf, utc } from "./format.js";
import { BANDS, mark } from "./marks.js";

const [WIDTH, HEIGHT, MARGIN] = [120, 28, 3];
const DAY = 86_400;
const HIGHEST = 5; // a score of 0.99999

/** An image of the curve, or null if there is nothing to draw. */
export function sparkline(curve) {
  const all = points(curve);
  const seen = all.filter((one) => one.mag !== null && BANDS[one.band]);
  if (!seen.length) return null;
  const x = scale(all.map((one) => one.mjd), WIDTH);
  const y = scale(seen.map((one) => one.mag), HEIGHT); // magnitudes: small is bright, and y is small at the top
  return image(described(all), seen.map((one) => mark(BANDS[one.band].shape, `band-${one.band}`, x(one.mjd), y(one.mag), 0.4)));
}

/** An image of an object's notable events through the day that begins with `night`: the higher, the more anomalous. */
export function dayline(events, night) {
  const all = (events ?? []).filter((one) => one.night === night).map((one) => ({ ...one, time: timeOf(one) }));
  if (!all.length) return null;
  const begin = seconds(night);
  const x = scale([begin, begin + DAY, ...all.map((one) => one.time)], WIDTH);
  const y = (one) => HEIGHT - MARGIN - (Math.min(HIGHEST, tail(one.score)) / HIGHEST) * (HEIGHT - 2 * MARGIN);
  const base = svg("path", { d: `M0 ${HEIGHT - 1}H${WIDTH}`, class: "base" });
  const bars = all.map((one) => svg("path", { d: `M${x(one.time)} ${HEIGHT - 1}V${y(one).toFixed(1)}`, class: one.severity === "high" ? "high" : "notable" }));
  const words = all.map((one) => `${score(one.score)} at ${utc(one.time, 16).slice(11)}`).join(", ");
  return image(`${all.length} notable events: ${words}`, [base, ...bars]);
}

function image(words, children) {
  return svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, width: WIDTH, height: HEIGHT, class: "spark", role: "img", "aria-label": words }, children);
}

function scale(values, size) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const span = high - low || 1;
  return (value) => (MARGIN + ((value - low) / span) * (size - 2 * MARGIN)).toFixed(1);
}
