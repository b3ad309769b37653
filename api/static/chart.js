// What the charts share: uPlot in the page's colours, as wide as its place, drawn anew when the theme changes.

import uPlot from "./uplot/uPlot.esm.js";
import { el } from "./dom.js";
import { SHAPES } from "./marks.js";

const FONT = "12px system-ui, sans-serif";

/** A colour of the style sheet, as it is now. */
export function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** An axis: `more` are uPlot's own settings. */
export function axis(more) {
  const line = { stroke: () => colour("--line"), width: 1 };
  return { stroke: () => colour("--muted"), font: FONT, labelFont: FONT, grid: line, ticks: { ...line, size: 5 }, ...more };
}

/**
 * A chart of points. `settings`: uPlot's axes and scales, `height`, `draw(u, brush)` and `read(n)`, which says a point in
 * words. Gives its element and end(). All points are drawn by `draw`: the series only carries places for the cursor.
 */
export function chart({ name, height, axes, scales, draw, read }, data) {
  const said = el("p", { class: "readout", "aria-hidden": "true" }, "\u00a0");
  const place = el("div", { class: "plot", role: "img", "aria-label": name });
  const root = el("div", { class: "chart" }, place, said);
  const plot = new uPlot(
    {
      width: 600,
      height,
      padding: [8, 32, 0, 0],
      axes,
      scales,
      legend: { show: false },
      cursor: { y: false, points: { show: false }, focus: { prox: 24 } },
      series: [{}, { paths: () => null, points: { show: false } }],
      hooks: {
        draw: [(u) => clipped(u, () => draw(u, brush(u)))],
        setCursor: [(u) => (said.textContent = u.cursor.idx === null || u.cursor.left < 0 ? "\u00a0" : read(u.cursor.idx))],
      },
    },
    data,
    place,
  );
  const sized = new ResizeObserver(() => plot.setSize({ width: Math.max(200, place.clientWidth), height }));
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const repaint = () => plot.redraw(false, true);
  sized.observe(place);
  dark.addEventListener("change", repaint);
  return {
    root,
    end() {
      sized.disconnect();
      dark.removeEventListener("change", repaint);
      plot.destroy();
    },
  };
}

/** The range of the time axis: all of it with a margin, unless a part is zoomed into. */
export function span(first, last, margin) {
  return (u, low, high) => (first === last || (low === first && high === last) ? [first - margin, last + margin] : [low, high]);
}

/** Draws in the chart's coordinates. */
function brush(u) {
  const ratio = uPlot.pxRatio;
  const at = (x, y) => [u.valToPos(x, "x", true), u.valToPos(y, "y", true)];
  return {
    mark(shape, x, y, stroke, filled) {
      const [left, top] = at(x, y);
      const path = new Path2D();
      path.addPath(new Path2D(SHAPES[shape]), new DOMMatrix([ratio, 0, 0, ratio, left, top]));
      u.ctx.lineWidth = 1.4 * ratio;
      u.ctx.strokeStyle = stroke;
      u.ctx.fillStyle = filled ? stroke : colour("--paper");
      u.ctx.fill(path);
      u.ctx.stroke(path);
    },
    line(from, to, stroke) {
      u.ctx.lineWidth = ratio;
      u.ctx.strokeStyle = stroke;
      u.ctx.beginPath();
      u.ctx.moveTo(...at(...from));
      u.ctx.lineTo(...at(...to));
      u.ctx.stroke();
    },
  };
}

function clipped(u, draw) {
  const { left, top, width, height } = u.bbox;
  u.ctx.save();
  u.ctx.beginPath();
  u.ctx.rect(left, top, width, height);
  u.ctx.clip();
  draw();
  u.ctx.restore();
}
