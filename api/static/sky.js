// Where an object is on the sky, and who else knows it.

import { el } from "./dom.js";
import { hours, signed } from "./format.js";

const ZTF_ID = /^ZTF[0-9]{2}[a-z]{7}$/;

/** Coordinates and links as entries of a list of terms; [] if the record has no place. */
export function sky(object, { s_ra, s_dec, ra = s_ra, dec = s_dec }) {
  const there = typeof ra === "number" && typeof dec === "number";
  const entries = there
    ? [["RA, Dec (J2000)", el("span", {}, `${hours(ra)} ${signed(dec)}`)], ["in degrees", `${ra.toFixed(6)}°, ${dec.toFixed(6).replace("-", "−")}°`]]
    : [];
  const links = elsewhere(object, there ? [ra, dec] : null);
  return links.length ? [...entries, ["Elsewhere", el("span", { class: "links" }, links)]] : entries;
}

function elsewhere(object, at) {
  if (!ZTF_ID.test(object)) return [];
  const id = encodeURIComponent(object);
  const found = [
    ["Fink", `https://ztf.fink-portal.org/${id}`],
    ["ALeRCE", `https://alerce.online/object/${id}`],
    ["Lasair", `https://lasair-ztf.lsst.ac.uk/objects/${id}/`],
  ];
  if (at) {
    const [ra, dec] = at.map((one) => encodeURIComponent(one.toFixed(6)));
    found.push(["TNS", `https://www.wis-tns.org/search?ra=${ra}&decl=${dec}&radius=5&coords_unit=arcsec`]);
  }
  return found.map(([name, url]) => el("a", { href: url, rel: "noopener noreferrer", target: "_blank" }, name));
}
