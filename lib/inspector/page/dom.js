/**
 * Makes an element. Whatever is to be read goes in as text, never as HTML: statements and errors come from
 * anywhere.
 *
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Readonly<Record<string, string | undefined>>} attributes those that are undefined are left out
 * @param {...(Node | string | undefined)} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function element(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined) {
      made.setAttribute(name, value);
    }
  }
  made.append(...children.filter((child) => child !== undefined));
  return made;
}

const UNFOLDED = 'button[aria-expanded="true"]';

/**
 * Replaces what an element holds by other nodes, and keeps what people have opened and where the focus is;
 * nodes are known by their `data-key`.
 *
 * @param {HTMLElement} parent
 * @param {readonly Node[]} children
 */
export function replaceKeeping(parent, children) {
  const openKeys = [...parent.querySelectorAll('details[open]')].map(keyOf);
  const unfoldedKeys = [...parent.querySelectorAll(UNFOLDED)].map(keyOf);
  const focused = document.activeElement;
  const focusedKey = focused !== null && parent.contains(focused) ? keyOf(focused) : undefined;
  parent.replaceChildren(...children);
  for (const details of parent.querySelectorAll('details')) {
    details.open = openKeys.includes(keyOf(details));
  }
  for (const button of parent.querySelectorAll('button[aria-expanded]')) {
    if (button instanceof HTMLElement && unfoldedKeys.includes(keyOf(button))) {
      button.click();
    }
  }
  if (focusedKey !== undefined) {
    const keyed = /** @type {HTMLElement[]} */ ([...parent.querySelectorAll('[data-key]')]);
    const again = keyed.find((each) => keyOf(each) === focusedKey);
    (again instanceof HTMLDetailsElement ? again.querySelector('summary') : again)?.focus();
  }
}

/**
 * @param {Element} node
 * @returns {string | undefined}
 */
function keyOf(node) {
  const keyed = node.closest('[data-key]');
  return keyed instanceof HTMLElement ? keyed.dataset['key'] : undefined;
}
