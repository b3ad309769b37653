// A light curve in a row of the list: what it looks like, no more. The object's view has the chart.

import { svg } from "./dom.js";
import { described, points } from "./curve.js";
import { BANDS, mark } from "./marks.js";

const [WIDTH, HEIGHT, MARGIN] = [120, 28, 3];

/** An image of the curve, or null if there is nothing to draw. */
export function sparkline(curve) {
  const all = points(curve);
  const seen = all.filter((one) => one.mag !== null && BANDS[one.band]);
  if (!seen.length) return null;
  const x = scale(all.map((one) => one.mjd), WIDTH);
  const y = scale(seen.map((one) => one.mag), HEIGHT); // magnitudes: small is bright, and y is small at the top
  return svg(
    "svg",
    { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, width: WIDTH, height: HEIGHT, class: "spark", role: "img", "aria-label": described(all) },
    seen.map((one) => mark(BANDS[one.band].shape, `band-${one.band}`, x(one.mjd), y(one.mag), 0.4)),
  );
}

function scale(values, size) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const span = high - low || 1;
  return (value) => (MARGIN + ((value - low) / span) * (size - 2 * MARGIN)).toFixed(1);
}
