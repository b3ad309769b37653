// Where the page is: stream, night and object stand in its URL, so that it can be shared and the back button works.

const NAMES = ["stream", "night", "object"];

/** What the URL names; "" = not chosen. */
export function place() {
  const query = new URLSearchParams(location.search);
  return Object.fromEntries(NAMES.map((name) => [name, query.get(name) ?? ""]));
}

/** The URL of a place. */
export function href(where) {
  const query = new URLSearchParams(NAMES.filter((name) => where[name]).map((name) => [name, where[name]]));
  return query.size ? `?${query}` : "./";
}

/** Go there; `then` is told. */
export function go(where, then) {
  history.pushState(null, "", href(where));
  then();
}
