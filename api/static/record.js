// The row as the board holds it. It is indented as text: numbers that a browser can't hold exactly stay as they are.

import { el } from "./dom.js";

/** The section. */
export function record(json) {
  return el("section", { class: "card wide" }, el("details", { class: "data" },
    el("summary", {}, "The raw record"), el("pre", { tabindex: 0 }, indented(json))));
}

/** JSON with a line for each entry of an object; lists of plain values stay on one line. */
export function indented(json) {
  const parts = json.match(/"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/g) ?? [];
  const open = [];
  let out = "";
  const newLine = () => (out += `\n${"  ".repeat(open.length)}`);
  parts.forEach((part, n) => {
    if (part === "{" || part === "[") {
      out += part;
      open.push(part === "{" || ["{", "["].includes(parts[n + 1]));
      if (open.at(-1) && !["}", "]"].includes(parts[n + 1])) newLine();
    } else if (part === "}" || part === "]") {
      if (open.pop() && !["{", "["].includes(parts[n - 1])) newLine();
      out += part;
    } else if (part === ",") {
      out += open.at(-1) ? "," : ", ";
      if (open.at(-1)) newLine();
    } else out += part === ":" ? ": " : part;
  });
  return out;
}
