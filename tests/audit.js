// What a sceptical reader finds wrong with a page; browser tests run it inside of pages.
// `look` and `structure` return sentences, none if all is well.
(() => {
  const TEXT = 4.5, LARGE_TEXT = 3, GRAPHIC = 3, TARGET_PX = 24; // WCAG 2.2: 1.4.3, 1.4.11, 2.5.8

  const name = (element) => {
    const { tagName, id, className } = element;
    const words = element.textContent.trim().replace(/\s+/g, " ").slice(0, 40);
    return `<${tagName.toLowerCase()}${id ? ` #${id}` : ""}${className.length ? ` .${className}` : ""}> “${words}”`;
  };

  // -- Colours ---------------------------------------------------------------
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 1;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const known = new Map();

  /** Return [r, g, b, a] of any CSS colour, each from 0 to 1. */
  function rgba(text) {
    if (!known.has(text)) {
      context.clearRect(0, 0, 1, 1);
      context.fillStyle = text;
      context.fillRect(0, 0, 1, 1);
      known.set(text, [...context.getImageData(0, 0, 1, 1).data].map((part) => part / 255));
    }
    return known.get(text);
  }

  const over = ([r, g, b, a], below) => [r, g, b].map((part, place) => part * a + below[place] * (1 - a));

  function luminance(colour) {
    const [r, g, b] = colour.map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  }

  function contrast(one, other) {
    const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  }

  const gray = ([r, g, b]) => Array(3).fill(0.2126 * r + 0.7152 * g + 0.0722 * b); // as the filter does

  const canvasColour = () => {
    const probe = document.body.appendChild(document.createElement("i"));
    probe.style.color = "Canvas";
    const colour = rgba(getComputedStyle(probe).color).slice(0, 3);
    probe.remove();
    return colour;
  };

  function chain(element) {
    const found = [];
    for (let each = element; each; each = each.parentElement) found.unshift(each);
    return found;
  }

  /** Return what lies behind the content of an element. */
  function ground(element) {
    let colour = canvasColour();
    for (const each of chain(element)) colour = over(rgba(getComputedStyle(each).backgroundColor), colour);
    return colour;
  }

  /** Return a colour of an element as it is seen, and what is behind it. */
  function seen(element, colour, behind) {
    let front = over(rgba(colour), behind);
    let back = behind;
    for (const each of chain(element)) {
      const { opacity, filter } = getComputedStyle(each);
      if (Number(opacity) < 1) front = front.map((part, place) => part * opacity + back[place] * (1 - opacity));
      if (filter.includes("grayscale(1)")) [front, back] = [gray(front), gray(back)];
    }
    return contrast(front, back);
  }

  // -- What can be seen --------------------------------------------------------
  function isVisible(element) {
    if (!element.checkVisibility({ visibilityProperty: true, opacityProperty: true })) return false;
    return !chain(element).some((each) => getComputedStyle(each).clipPath === "inset(50%)");
  }

  const isLarge = ({ fontSize, fontWeight }) => parseFloat(fontSize) >= 24 || (parseFloat(fontSize) >= 18.66 && fontWeight >= 700);

  function texts() {
    const found = new Set();
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
      const { parentElement: element, nodeValue } = walker.currentNode;
      if (nodeValue.trim() && !element.closest("script, template, noscript, datalist") && isVisible(element)) found.add(element);
    }
    return [...found];
  }

  function unreadable() {
    const problems = [];
    const look = (element, pseudo, what) => {
      const style = getComputedStyle(element, pseudo);
      const least = isLarge(style) ? LARGE_TEXT : TEXT;
      const behind = pseudo ? over(rgba(style.backgroundColor), ground(element)) : ground(element);
      const found = seen(element, style.color, behind);
      if (found < least - 0.005) problems.push(`${what} at ${found.toFixed(2)}: ${name(element)}`);
    };
    for (const element of texts()) {
      if (!element.closest("option")) look(element, null, "text");
    }
    for (const element of document.querySelectorAll("input:not([type=hidden], [type=checkbox]), textarea, select")) {
      if (!isVisible(element)) continue;
      if (element.placeholder && !element.value) look(element, "::placeholder", "placeholder");
      else look(element, null, "value");
    }
    for (const element of document.querySelectorAll("body *")) {
      for (const pseudo of ["::before", "::after"]) {
        const { content } = getComputedStyle(element, pseudo);
        if (/^".*\w.*"$/.test(content) && isVisible(element)) look(element, pseudo, `${pseudo} ${content}`);
      }
    }
    return problems;
  }

  /** Fields have an edge; dots of badges, marks of what is chosen can be told from what is around them. */
  function unseen() {
    const problems = [];
    const look = (element, colour, behind, what) => {
      const found = seen(element, colour, behind);
      if (found < GRAPHIC - 0.005) problems.push(`${what} at ${found.toFixed(2)}: ${name(element)}`);
    };
    for (const element of document.querySelectorAll("input:not([type=hidden], [type=checkbox]), select, textarea")) {
      if (isVisible(element)) look(element, getComputedStyle(element).borderBottomColor, ground(element.parentElement), "edge");
    }
    for (const element of document.querySelectorAll(".badge, .presence")) {
      const { backgroundColor, borderBottomColor } = getComputedStyle(element, "::before");
      const colour = rgba(backgroundColor)[3] ? backgroundColor : borderBottomColor;
      if (isVisible(element)) look(element, colour, ground(element), "dot");
    }
    for (const element of document.querySelectorAll(".step-sign")) {
      if (isVisible(element)) look(element, getComputedStyle(element).backgroundColor, ground(element.parentElement), "sign");
    }
    for (const element of document.querySelectorAll("[aria-pressed=true], [aria-current=page]")) {
      if (!isVisible(element) || !element.matches("a, button")) continue;
      const { fontWeight, borderBottomColor, borderBottomWidth, textDecorationLine } = getComputedStyle(element);
      const isMarked = fontWeight >= 600 || textDecorationLine.includes("underline");
      if (!isMarked && parseFloat(borderBottomWidth)) look(element, borderBottomColor, ground(element.parentElement), "mark of what is chosen");
      else if (!isMarked) problems.push(`chosen by colour alone: ${name(element)}`);
    }
    return problems;
  }

  // -- Sizes -------------------------------------------------------------------
  /** Return what can be pressed instead: a box's label, the card over which a link is stretched. */
  function placeOf(element) {
    if (element.matches("input[type=checkbox]")) return element.closest("label") ?? element;
    const { content, position } = getComputedStyle(element, "::after");
    return content !== "none" && position === "absolute" ? element.parentElement : element;
  }

  function tooSmall() {
    const problems = [];
    for (const element of document.querySelectorAll("a[href], button, input:not([type=hidden]), select, textarea, summary")) {
      if (!isVisible(element) || element.disabled || element.closest(".skip")) continue;
      const { width, height } = placeOf(element).getBoundingClientRect();
      if (width >= TARGET_PX - 0.1 && height >= TARGET_PX - 0.1) continue;
      const sentence = element.closest("p, li, dd")?.textContent.trim() ?? "";
      const isInSentence = getComputedStyle(element).display === "inline" && sentence.length > element.textContent.trim().length;
      if (!isInSentence) problems.push(`target of ${width.toFixed()} × ${height.toFixed()} px: ${name(element)}`);
    }
    return problems;
  }

  function tooWide() {
    const { scrollWidth, clientWidth } = document.documentElement;
    return scrollWidth > clientWidth ? [`scrolls sideways: ${scrollWidth} px in ${clientWidth}`] : [];
  }

  // -- Structure ----------------------------------------------------------------
  function structure() {
    const problems = [];
    const all = (selector) => [...document.querySelectorAll(selector)];
    const shown = (selector) => all(selector).filter(isVisible);
    let before = 0;
    for (const heading of shown("h1, h2, h3, h4, h5, h6")) {
      if (heading.closest("[popover]")) continue; // lies over the page, and begins anew
      const level = Number(heading.tagName[1]);
      if (level > before + 1) problems.push(`h${level} after h${before}: ${name(heading)}`);
      before = level;
    }
    for (const selector of ["body > header", "body > footer"]) {
      if (all(selector).length > 1) problems.push(`${all(selector).length} ${selector}`);
    }
    for (const element of texts()) {
      const isPlaced = element.closest("body > header, main, body > footer, .skip, dialog, [role=status]");
      if (!isPlaced) problems.push(`outside of every landmark: ${name(element)}`);
    }
    for (const element of all("[tabindex]")) {
      if (element.tabIndex > 0) problems.push(`takes the focus out of turn: ${name(element)}`);
    }
    for (const element of shown("input:not([type=hidden]), select, textarea")) {
      const isNamed = element.labels.length || element.ariaLabel || element.hasAttribute("aria-labelledby");
      if (!isNamed) problems.push(`field without a label: ${name(element)} ${element.name}`);
    }
    for (const element of all("svg")) {
      const isNamed = element.ariaHidden === "true" || (element.role === "img" && element.ariaLabel);
      if (!isNamed) problems.push(`svg without a name: ${element.outerHTML.slice(0, 80)}`);
    }
    for (const element of all("[aria-describedby], [aria-labelledby], [aria-controls], label[for]")) {
      for (const attribute of ["aria-describedby", "aria-labelledby", "aria-controls", "for"]) {
        for (const id of (element.getAttribute(attribute) ?? "").split(/\s+/).filter(Boolean)) {
          if (!document.getElementById(id)) problems.push(`${attribute} points at nothing, #${id}: ${name(element)}`);
        }
      }
    }
    const ids = all("[id]").map(({ id }) => id);
    const twice = ids.filter((id, place) => ids.indexOf(id) !== place);
    if (twice.length) problems.push(`ids not unique: ${twice}`);
    return problems;
  }

  // -- The keyboard ---------------------------------------------------------------
  const PRESSED = "a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex]";

  /** Return what Tab must reach, in its order: that of the document. */
  function stops() {
    const root = document.querySelector("dialog[open]") ?? document;
    return [...root.querySelectorAll(PRESSED)].filter((element) => element.tabIndex === 0 && !element.disabled
      && (isVisible(element) || element.matches(".skip")));
  }

  /** Whether at least two pixels of the ring are inside of everything that clips it. */
  function isRingWhole(element, { outlineOffset }) {
    const box = element.getBoundingClientRect();
    const reach = parseFloat(outlineOffset) + 2;
    return chain(element).slice(1, -1).every((each) => {
      const { overflowX, overflowY, contain, contentVisibility } = getComputedStyle(each);
      const clips = /paint|strict|content/.test(contain) || contentVisibility === "auto";
      const edge = each.getBoundingClientRect();
      const isInside = (low, high, from, to) => low - reach >= from - 0.5 && high + reach <= to + 0.5;
      return ((overflowX === "visible" && !clips) || isInside(box.left, box.right, edge.left, edge.right))
        && ((overflowY === "visible" && !clips) || isInside(box.top, box.bottom, edge.top, edge.bottom));
    });
  }

  /** Return which stop has the focus (-1: none), and what a reader who looks for it would miss. */
  function focused() {
    const element = document.activeElement;
    if (!window.knownStops?.includes(element)) window.knownStops = stops();
    const place = window.knownStops.indexOf(element);
    if (element === document.body) return { place: -1, problems: [], isNowhere: true };
    const problems = [];
    const style = getComputedStyle(element);
    const { outlineStyle, outlineWidth, outlineColor } = style;
    if (outlineStyle === "none" || parseFloat(outlineWidth) < 2) problems.push(`no ring: ${name(element)}`);
    else {
      const found = seen(element, outlineColor, ground(element.parentElement));
      if (found < GRAPHIC) problems.push(`ring at ${found.toFixed(2)}: ${name(element)}`);
      if (!isRingWhole(element, style)) problems.push(`ring is cut off: ${name(element)}`);
    }
    const { left, right, top, bottom } = element.getBoundingClientRect();
    const on = document.elementFromPoint((left + right) / 2, (Math.max(top, 0) + Math.min(bottom, innerHeight)) / 2);
    const isSeen = element.contains(on) || on?.contains(element) || [...element.labels ?? []].some((label) => label.contains(on));
    if (!isSeen) problems.push(`covered by ${on ? name(on) : "nothing"}: ${name(element)}`);
    return { place, problems, isNowhere: false, isOutside: Boolean(document.querySelector("dialog[open]")) && !element.closest("dialog") };
  }

  return {
    stops: () => {
      window.knownStops = stops(); // looking for them costs more than all the rest
      return window.knownStops.map(name);
    },
    focused,
    look: () => [...unreadable(), ...unseen(), ...tooSmall(), ...tooWide()],
    structure,
  };
})()
