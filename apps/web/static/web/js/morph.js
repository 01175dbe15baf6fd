// Turns what is on the page into what the server sent just now, touching only what
// differs: focus, scrolling, open details and screen readers stay undisturbed.

const OWN = new Set(["open"]); // attributes that belong to the reader, not to the server
const ADDED = "yours"; // and so does the last child of a <time>, see zones.js

/**
 * @param {Node} have what is on the page
 * @param {Node} want the same element of the fresh document
 * @param {(have: Element, want: Element) => boolean} isKept leave this element alone
 */
export function morph(have, want, isKept) {
  if (have.nodeType !== Node.ELEMENT_NODE) {
    if (have.nodeValue !== want.nodeValue) have.nodeValue = want.nodeValue;
    return;
  }
  if (have instanceof HTMLInputElement || isKept(have, want)) return;
  morphAttributes(have, want);
  morphChildren(have, want, (child, fresh) => morph(child, fresh, isKept));
}

/**
 * Morph an element, but leave what is inside its children to the caller.
 *
 * @returns {[Node, Node][]} pairs to be morphed soon, in any order
 */
export function morphShell(have, want, isKept) {
  const pairs = [];
  if (isKept(have, want)) return pairs;
  morphAttributes(have, want);
  morphChildren(have, want, (child, fresh) => pairs.push([child, fresh]));
  return pairs;
}

function morphAttributes(have, want) {
  for (const { name, value } of want.attributes) {
    if (!OWN.has(name) && have.getAttribute(name) !== value) have.setAttribute(name, value);
  }
  for (const { name } of [...have.attributes]) {
    if (!OWN.has(name) && !want.hasAttribute(name)) have.removeAttribute(name);
  }
}

function morphChildren(have, want, onPair) {
  const keyed = new Map();
  for (const child of have.children) {
    if (child.dataset.key) keyed.set(child.dataset.key, child);
  }
  let cursor = have.firstChild;
  for (const fresh of [...want.childNodes]) {
    const match = partner(fresh, cursor, keyed);
    if (!match) {
      have.insertBefore(document.importNode(fresh, true), cursor);
      continue;
    }
    if (match === cursor) cursor = cursor.nextSibling;
    else have.insertBefore(match, cursor);
    onPair(match, fresh);
  }
  while (cursor) {
    const next = cursor.nextSibling;
    if (!cursor.classList?.contains(ADDED)) cursor.remove();
    cursor = next;
  }
}

function partner(fresh, cursor, keyed) {
  const key = fresh.dataset?.key;
  if (key) return keyed.get(key);
  const fits = cursor && cursor.nodeName === fresh.nodeName && !cursor.dataset?.key;
  return fits ? cursor : undefined;
}
