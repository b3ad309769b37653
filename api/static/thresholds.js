// The thresholds in force, in one line: of the severities, and of the rules that tell people.

import { number } from "./format.js";

const ASKED = {
  min_score: (asked) => `score from ${asked}`,
  alerts_per_night: (asked) => `${number(asked)} a night`,
  false_alarm_rate: (asked) => `1 in ${number(1 / asked)}`,
};

/** `thresholds`: by partition, as /api/v1/streams has them; each has bars of its own. */
export function thresholds(partitions) {
  const all = Object.values(partitions ?? {});
  if (!all.length) return "";
  const severities = Object.keys(all[0].severities)
    .map((name) => `${name} above ${range(all.map((one) => one.severities[name]))}`);
  const names = [...new Set(all.flatMap((one) => Object.keys(one.rules)))];
  const rules = names.map((name) => {
    const held = all.flatMap((one) => one.rules[name] ?? []);
    const asked = ASKED[held[0].bar](held[0].asked);
    return `${name} (${asked})${held[0].bar === "min_score" ? "" : ` above ${range(held.map((one) => one.level))}`}`;
  });
  const told = rules.length ? ` · People are told: ${rules.join(", ")}` : "";
  return `Thresholds now (combined value): ${severities.join(", ")}${told}`;
}

function range(values) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  return number(low) === number(high) ? number(low) : `${number(low)} to ${number(high)}`;
}
