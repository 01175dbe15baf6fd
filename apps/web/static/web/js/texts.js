// The words of the page, in its language: apps/web/texts.py wrote them.

export const texts = JSON.parse(document.getElementById("texts").textContent);
export const language = document.documentElement.lang;

/** Fill `%(name)s` places. */
export function fill(sentence, values) {
  return sentence.replace(/%\((\w+)\)s/g, (_, name) => values[name]);
}
