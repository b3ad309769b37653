// Elements. Whatever comes from a stream gets in as text or as an attribute's value, never as HTML.

const SVG = "http://www.w3.org/2000/svg";

/** An element. `props`: attributes; `on` + event = listener. Children: elements, texts, lists of them; null is left out. */
export function el(tag, props = {}, ...children) {
  return fill(document.createElement(tag), props, children);
}

/** The same for SVG. */
export function svg(tag, props = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), props, children);
}

/** Put children in the place of what is there. */
export function put(node, ...children) {
  node.replaceChildren(...children.flat(Infinity).filter((one) => one !== null && one !== undefined));
  return node;
}

/** Set a text, only if it is another: screen readers and selections are left alone. */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function fill(node, props, children) {
  for (const [name, value] of Object.entries(props)) {
    if (typeof value === "function") node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  put(node, ...children);
  return node;
}
