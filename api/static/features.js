// What made an object anomalous: its features against what training has seen, the weightiest first.

import { el } from "./dom.js";
import { number } from "./format.js";
import { emphasised } from "./row.js";

const FIRST = 10;
const END = Math.log(0.9999 / 0.0001); // percentiles beyond are drawn at the ends
const RULE = "rule_";
const SHARE = "The share of all that this part says of the event; + is towards anomaly";

/** The section; null if the row tells no reasons. */
export function features(details) {
  const all = joined(details);
  if (!all.length) return null;
  const rest = all.slice(FIRST);
  return {
    root: el("section", { class: "card" },
      el("h2", {}, "Why"),
      el("ol", { class: "reasons" }, (details.reasons ?? []).map((one) => el("li", {}, ...emphasised(one.words ?? one.feature)))),
      el("p", { class: "hint" }, "Where each value lies among all that training has seen. The shaded middle is usual: 5 % to 95 %. Towards both ends the scale is stretched: 99 %, 99.9 %, …"),
      lines(all.slice(0, FIRST)),
      rest.length ? el("details", { class: "data" }, el("summary", {}, `The other ${rest.length} features`), lines(rest)) : null),
    end() {},
  };
}

/** The lists of `explained`, and what `reasons` adds, as one object a feature. */
function joined({ explained, reasons, features: values }) {
  const usual = Object.fromEntries((reasons ?? []).map((one) => [one.feature, one.usual]));
  return (explained?.feature ?? []).map((feature, n) => ({
    feature,
    unit: explained.unit[n],
    value: values?.[feature],
    percentile: explained.percentile[n],
    usual: usual[feature],
    shares: Object.entries(explained.contributions ?? {}).map(([part, shares]) => [part, shares?.[n]]),
  }));
}

function lines(all) {
  const parts = all[0].shares.map(([part]) => part);
  const names = ["Feature", "Value", "Place in training"];
  return el("table", { class: "features", role: "table" },
    el("thead", { role: "rowgroup" }, el("tr", { role: "row" },
      names.map((one) => el("th", { scope: "col", role: "columnheader" }, one)),
      parts.map((one) => el("th", { class: "share", scope: "col", role: "columnheader", title: SHARE }, one)))),
    el("tbody", { role: "rowgroup" }, all.map(line)));
}

function line(one) {
  const unit = one.unit === "1" ? "" : ` ${one.unit}`;
  const usual = one.usual ? el("small", {}, `usually ${number(one.usual[0])} to ${number(one.usual[1])}`) : null;
  return el("tr", { role: "row" },
    el("th", { scope: "row", role: "rowheader" }, one.feature),
    el("td", { class: "value", role: "cell" }, `${number(one.value)}${unit}`, usual),
    el("td", { class: "place", role: "cell" }, place(one)),
    one.shares.map(([part, share]) => el("td", { class: "share", role: "cell" }, el("span", { class: "label", "aria-hidden": "true" }, `${part} `), percent(share))));
}

/** A rule is kept or broken: of valid records none breaks it, so there is no place among them. */
function place({ feature, value, percentile }) {
  if (feature.startsWith(RULE)) return el("small", {}, value > 0 ? "rule broken" : "rule kept");
  return [scale(percentile), el("small", {}, inWords(percentile))];
}

function scale(percentile) {
  const known = typeof percentile === "number";
  const mark = el("span", { class: known ? "at" : "at none" });
  if (known) {
    const inside = Math.min(0.9999, Math.max(0.0001, percentile));
    mark.style.left = `${(50 + (50 * Math.log(inside / (1 - inside))) / END).toFixed(1)}%`;
    mark.classList.toggle("far", percentile <= 0.05 || percentile >= 0.95);
  }
  return el("span", { class: "percentile", "aria-hidden": "true" }, mark);
}

function inWords(percentile) {
  if (typeof percentile !== "number") return "never seen in training";
  if (percentile >= 1) return "above all seen";
  if (percentile <= 0) return "below all seen";
  if (percentile > 0.05 && percentile < 0.95) return "usual";
  const share = percentile > 0.5 ? percentile : 1 - percentile;
  return `${percentile > 0.5 ? "above" : "below"} ${Number((100 * share).toFixed(2))} %`;
}

function percent(share) {
  if (typeof share !== "number") return "–"; // the part is silent
  const whole = Math.round(100 * share);
  return whole ? `${whole < 0 ? "−" : "+"}${Math.abs(whole)} %` : "0 %";
}
