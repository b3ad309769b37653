// Files to keep. A link as any other where it can be; where a token is asked for, the page fetches the file itself.

import { headers } from "./api.js";
import { el } from "./dom.js";

const NAME = "skimstream.csv"; // as the API calls it

/** A link that downloads a URL of the API. */
export function keep(url) {
  const link = el("a", { class: "download", href: url, download: NAME }, "Download CSV");
  link.addEventListener("click", async (event) => {
    if (!Object.keys(headers()).length) return;
    event.preventDefault();
    const response = await fetch(url, { headers: headers() });
    if (response.ok) save(await response.blob(), NAME);
  });
  return link;
}

/** A button that downloads a text made here. */
export function keepText(make, name, words) {
  return el("button", { type: "button", class: "download", onclick: () => save(new Blob([make()], { type: "text/csv" }), name) }, words);
}

/** Rows as CSV (RFC 4180). */
export function csv(names, rows) {
  const cell = (value) => {
    const text = value === null || value === undefined ? "" : String(value);
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return [names, ...rows].map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
}

function save(blob, name) {
  const url = URL.createObjectURL(blob);
  const link = el("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}
