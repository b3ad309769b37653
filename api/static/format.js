// Numbers, times and places as people read them.

const MJD_OF_JD = 2_400_000.5;
const MJD_OF_1970 = 40_587;
const TAI_AHEAD = 37; // seconds, of UTC, since 2017
const DAY = 86_400;

/** A score: five digits, rounded down, so that 1 is never claimed. */
export function score(value) {
  return (Math.floor(value * 1e5 + 1e-9) / 1e5).toFixed(5);
}

// No rank among recent events tells more than that.
const RAREST = 1e-5;

/** How far out a score is: 1 in 10 = 1, 1 in 100 = 2, … up to 5. */
export function tail(value) {
  return -Math.log10(Math.max(1 - value, RAREST));
}

/** "1 in 5,800". */
export function oneIn(value) {
  if (1 - value <= RAREST) return "beyond 1 in 100,000";
  const times = 1 / (1 - value);
  return `1 in ${Math.round(Number(times.toPrecision(2))).toLocaleString("en")}`;
}

/** Four digits that matter. */
export function number(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size >= 1e4 && size < 1e9) return Math.round(value).toLocaleString("en").replace("-", "−");
  if (size !== 0 && (size < 1e-3 || size >= 1e9)) return value.toExponential(2).replace("-", "−").replace("e−", "e-");
  return Number(value.toPrecision(4)).toString().replace("-", "−");
}

/** A number of a record: seven digits, as times and places need them. */
export function exact(value) {
  return Number(value.toPrecision(7)).toString().replace("-", "−");
}

/** Seconds since 1970 of a time as the API writes it; NaN for what isn't one. */
export function seconds(text) {
  const zoned = /([zZ]|[+-]\d\d:?\d\d)$/.test(text);
  return Date.parse(`${text.replace(" ", "T")}${zoned ? "" : "Z"}`) / 1000;
}

/** "2026-11-19 06:50:37". */
export function utc(time, digits = 19) {
  return Number.isFinite(time) ? new Date(time * 1000).toISOString().slice(0, digits).replace("T", " ") : "–";
}

export const mjdOfJd = (jd) => jd - MJD_OF_JD;
export const secondsOfMjd = (mjd) => (mjd - MJD_OF_1970) * DAY;

/** When a record's event was, in seconds since 1970: by its own time, else by its night's name. */
export function timeOf({ candidate, night }) {
  const { jd, midpointMjdTai: mjd, transaction_date: date } = candidate ?? {};
  if (typeof jd === "number") return secondsOfMjd(mjdOfJd(jd));
  if (typeof mjd === "number") return secondsOfMjd(mjd) - TAI_AHEAD;
  const own = typeof date === "string" ? seconds(date) : NaN;
  return Number.isNaN(own) ? seconds(night ?? "") : own;
}

/** "12 minutes". */
export function duration(time) {
  const steps = [["day", DAY], ["hour", 3600], ["minute", 60], ["second", 1]];
  const [name, size] = steps.find(([, one]) => time >= one) ?? steps.at(-1);
  const count = Math.max(0, Math.floor(time / size));
  return `${count} ${name}${count === 1 ? "" : "s"}`;
}

/** Right ascension in hours, "15:30:34.92"; of degrees. */
export function hours(degrees) {
  return sexagesimal(Math.round(degrees * 24_000) % (24 * 3600 * 100), 100);
}

/** Declination with its sign, "−06:15:35.3"; of degrees. */
export function signed(degrees) {
  return (degrees < 0 ? "−" : "+") + sexagesimal(Math.round(Math.abs(degrees) * 36_000), 10);
}

/** `count` parts of a second, `unit` of them a second: whole numbers, so that 59.999 never becomes 60. */
function sexagesimal(count, unit) {
  const second = Math.floor(count / unit);
  const parts = [Math.floor(second / 3600), Math.floor(second / 60) % 60, second % 60];
  const rest = String(count % unit).padStart(String(unit).length - 1, "0");
  return `${parts.map((one) => String(one).padStart(2, "0")).join(":")}.${rest}`;
}
