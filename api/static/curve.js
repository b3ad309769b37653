// A light curve as the API gives it (lists of equal length) as points.

import { mjdOfJd } from "./format.js";

/** [{mjd, band, mag, sigma, limit, positive}] in order of time; mag is null for an upper limit. */
export function points(curve) {
  if (!curve || !Array.isArray(curve.jd) || !Array.isArray(curve.mag)) return []; // fluxes (lsst) aren't drawn
  return curve.jd.map((jd, n) => ({
    mjd: mjdOfJd(jd),
    band: curve.band[n],
    mag: curve.mag[n],
    sigma: curve.sigma[n],
    limit: curve.limit[n],
    positive: curve.positive[n],
  })).filter((one) => Number.isFinite(one.mag ?? one.limit ?? NaN));
}

/** How many detections and upper limits, and how bright: a sentence for those who don't see the chart. */
export function described(all) {
  const seen = all.filter((one) => one.mag !== null);
  if (!seen.length) return "No detections.";
  const bands = [...new Set(seen.map((one) => one.band))].sort();
  const of = (band) => seen.filter((one) => one.band === band).map((one) => one.mag);
  const ranges = bands.map((band) => {
    const [low, high] = [Math.max(...of(band)), Math.min(...of(band))];
    return `${of(band).length} in ${band}, magnitude ${low.toFixed(2)} to ${high.toFixed(2)}`;
  });
  const days = Math.max(...all.map((one) => one.mjd)) - Math.min(...all.map((one) => one.mjd));
  return `${seen.length} detections over ${days.toFixed(1)} days: ${ranges.join("; ")}. ${all.length - seen.length} upper limits.`;
}
