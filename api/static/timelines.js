// Events of the objects in a list, asked for one after another: no faster than a server lets a client ask.

import { ask } from "./api.js";

const PAUSE_SECONDS = 0.15;

/** `want([[object, signature], …])`: have those that are not known as they are now; `tell(object)` once one is. */
export function timelines(stream, tell) {
  const known = new Map();
  let waiting = [];
  let busy = false;

  async function next() {
    busy = true;
    while (waiting.length) {
      const [object, signature] = waiting.shift();
      try {
        const { events } = await ask(["timeline", stream, object]);
        known.set(object, { signature, events });
        tell(object);
      } catch {
        waiting = []; // the list's own request says what is wrong, and asks for them again
      }
      await new Promise((done) => setTimeout(done, PAUSE_SECONDS * 1000));
    }
    busy = false;
  }

  return {
    of: (object) => known.get(object)?.events,
    want(all) {
      waiting = all.filter(([object, signature]) => known.get(object)?.signature !== signature);
      if (!busy) next();
    },
    end() {
      waiting = [];
    },
  };
}
