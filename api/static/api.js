// The API of the server that the page comes from. Errors are what it says: RFC 9457 problem documents.

const ROOT = new URL("../api/v1/", import.meta.url);
const SECONDS = 20;
const TOKEN = "skimstream token";

/** What went wrong, in words; `status` is 0 if there was no answer. */
export class Failed extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

/** The URL of a path of the API, its parts and arguments escaped. */
export function url(parts, params = {}) {
  const found = new URL([].concat(parts).map(encodeURIComponent).join("/"), ROOT);
  for (const [name, value] of Object.entries(params)) if (value !== "") found.searchParams.set(name, value);
  return found;
}

/** The token is kept until the tab is closed. */
export function setToken(token) {
  sessionStorage.setItem(TOKEN, token);
}

/** Headers of every request. */
export function headers() {
  const token = sessionStorage.getItem(TOKEN);
  return token ? { Authorization: `Bearer ${token}` } : {};
}

/** The text of an answer. Throws `Failed`. */
export async function text(parts, params) {
  let response;
  try {
    response = await fetch(url(parts, params), { headers: headers(), signal: AbortSignal.timeout(SECONDS * 1000) });
    if (response.ok) return await response.text();
  } catch (error) {
    throw new Failed(0, error.name === "TimeoutError" ? `no answer within ${SECONDS} s` : "the server doesn't answer");
  }
  throw await failure(response);
}

/** An answer that is JSON, as values. Throws `Failed`. */
export async function ask(parts, params) {
  return JSON.parse(await text(parts, params));
}

/** What a response that isn't right says of itself. */
export async function failure(response) {
  const found = await response.json().catch(() => ({}));
  return new Failed(response.status, found.detail ?? `the server answered ${response.status}`);
}
