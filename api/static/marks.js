// Shapes of points, as paths around 0: for canvases and for SVG alike. Bands differ in shape as well as in colour.

import { el, svg } from "./dom.js";

export const SHAPES = {
  circle: "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z",
  square: "M-3.6 -3.6h7.2v7.2h-7.2z",
  diamond: "M0 -5L5 0L0 5L-5 0z",
  limit: "M-4 -2.5h8L0 4z",
  peak: "M0 -5.5L5 3.5h-10z",
};

/** Of a band: its colour's name in the style sheet, and the shape of its detections. */
export const BANDS = {
  g: { colour: "--band-g", shape: "circle" },
  r: { colour: "--band-r", shape: "square" },
  i: { colour: "--band-i", shape: "diamond" },
};

/** A mark for a legend or a sparkline; `kind` is a class of the style sheet. */
export function mark(shape, kind, x = 0, y = 0, scale = 1) {
  return svg("path", { d: SHAPES[shape], class: kind, transform: `translate(${x} ${y}) scale(${scale})` });
}

/** A legend: entries are [shape, class, words]. */
export function legend(entries) {
  const items = entries.map(([shape, kind, words]) =>
    el("li", {}, svg("svg", { viewBox: "-7 -7 14 14", width: 14, height: 14, "aria-hidden": "true" }, mark(shape, kind)), words),
  );
  return el("ul", { class: "legend" }, items);
}
