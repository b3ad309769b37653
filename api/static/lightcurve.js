// The light curve: magnitudes, bright upwards, with error bars and upper limits; time in MJD below and UTC above.

import { axis, chart, colour, span } from "./chart.js";
import { described, points } from "./curve.js";
import { el } from "./dom.js";
import { csv, keepText } from "./download.js";
import { secondsOfMjd, utc } from "./format.js";
import { BANDS, legend } from "./marks.js";
import { table } from "./table.js";

const FAINT = 0.4; // magnitudes above and below

/** The section; null if there is no light curve. `end()` when it goes. */
export function lightcurve(object, curve) {
  const all = points(curve).filter((one) => BANDS[one.band]);
  if (!all.length) return null;
  const drawn = chart(settings(all), [all.map((one) => one.mjd), all.map(height)]);
  const bands = [...new Set(all.map((one) => one.band))].sort();
  const marks = bands.map((band) => [BANDS[band].shape, `band-${band}`, `${band} band`]);
  if (all.some((one) => one.positive === false)) marks.push(["circle", "open", "open: fainter than the reference"]);
  if (all.some((one) => one.mag === null)) marks.push(["limit", "open", "upper limit, 5σ"]);
  const names = ["mjd", "utc", "band", "mag", "sigma", "limit", "positive"];
  const rows = all.map((one) => [one.mjd.toFixed(5), utc(secondsOfMjd(one.mjd)), one.band, one.mag, one.sigma, one.limit, one.positive]);
  return {
    root: el("section", { class: "card wide" },
      el("div", { class: "heading" }, el("h2", {}, "Light curve"), legend(marks), keepText(() => csv(names, rows), `${object}.csv`, "Download CSV")),
      drawn.root,
      table("The light curve as a table", ["MJD", "UTC", "Band", "Magnitude", "Error", "Upper limit", "Brighter than the reference"],
        rows.map((row) => row.map((value) => (value === null ? "" : value === true ? "yes" : value === false ? "no" : value))))),
    end: drawn.end,
  };
}

const height = (one) => one.mag ?? one.limit;

function settings(all) {
  const reach = all.map((one) => [height(one) - (one.sigma ?? 0), height(one) + (one.sigma ?? 0)]).flat();
  const [first, last] = [all[0].mjd, all.at(-1).mjd];
  const margin = Math.max(0.5, 0.03 * (last - first));
  return {
    name: `Light curve. ${described(all)}`,
    height: 320,
    scales: {
      x: { time: false, range: span(first, last, margin) },
      y: { dir: -1, range: [Math.min(...reach) - FAINT, Math.max(...reach) + FAINT] },
    },
    axes: [
      axis({ label: "MJD", labelSize: 18, size: 34, values: (u, ticks) => ticks.map((one) => String(Number(one.toFixed(4)))) , space: 70 }),
      axis({ label: "magnitude", labelSize: 18, size: 44 }),
      axis({ scale: "x", side: 0, size: 28, space: 100, grid: { show: false },
        values: (u, ticks, n, space, step) => ticks.map((one) => utc(secondsOfMjd(one), step < 1 ? 16 : 10)) }),
    ],
    draw(u, brush) {
      const stroke = Object.fromEntries(Object.entries(BANDS).map(([band, one]) => [band, colour(one.colour)]));
      for (const one of all.filter((each) => each.mag === null)) brush.mark("limit", one.mjd, one.limit, stroke[one.band], false);
      for (const one of all.filter((each) => each.mag !== null)) {
        if (one.sigma) brush.line([one.mjd, one.mag - one.sigma], [one.mjd, one.mag + one.sigma], stroke[one.band]);
        brush.mark(BANDS[one.band].shape, one.mjd, one.mag, stroke[one.band], one.positive !== false);
      }
    },
    read: (n) => inWords(all[n]),
  };
}

function inWords(one) {
  const value = one.mag === null ? `fainter than ${one.limit.toFixed(2)}` : `${one.mag.toFixed(3)} ± ${(one.sigma ?? 0).toFixed(3)}`;
  return `${one.band} ${value}  ·  MJD ${one.mjd.toFixed(5)}  ·  ${utc(secondsOfMjd(one.mjd))} UTC`;
}
