// Where the server asks for a token: so does the page, and keeps it until the tab is closed.

import { setToken } from "./api.js";
import { el } from "./dom.js";

/** The form; `then` is called once a token was given. */
export function tokenForm(then, wrong) {
  const input = el("input", { id: "token", type: "password", autocomplete: "off", required: true });
  const given = (event) => {
    event.preventDefault();
    setToken(input.value.trim());
    then();
  };
  return el("form", { class: "token card", onsubmit: given },
    el("h1", {}, "This board asks for a token"),
    wrong ? el("p", { role: "alert" }, "That token is not the server's.") : null,
    el("label", { for: "token" }, "Token"), input, el("button", { type: "submit" }, "Open"),
    el("p", { class: "hint" }, "It is kept in this tab until you close it."));
}
