// A table of what a chart shows, folded away: for those who read rather than look, and for copying.

import { el } from "./dom.js";

/** `names` and `rows` of texts or elements. */
export function table(title, names, rows) {
  return el("details", { class: "data" },
    el("summary", {}, title),
    el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": title },
      el("table", {},
        el("thead", {}, el("tr", {}, names.map((one) => el("th", { scope: "col" }, one)))),
        el("tbody", {}, rows.map((row) => el("tr", {}, row.map((one) => el("td", {}, one instanceof Node ? one : String(one ?? "")))))))));
}
