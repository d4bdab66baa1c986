/** @import { RequestSummary } from '../view/view-types.js' */
import { COLUMNS } from './columns.js';
import { element } from './dom.js';
import { ListFilter } from './filter.js';
import { ListOrder } from './list-order.js';

/**
 * @typedef {object} Entry
 * @property {HTMLTableRowElement} row stays the same element while its request goes on
 * @property {RequestSummary} summary
 */

/** The list of the last requests. */
export class RequestList {
  /** @type {Map<number, Entry>} */
  #entries = new Map();
  #isLoaded = false;
  /** @type {string | undefined} why there is no list, or none that is live */
  #problem;
  #filter = new ListFilter(() => this.#arrange());
  #order = new ListOrder(() => this.#arrange());
  #body = element('tbody', {});
  #table = element(
    'table',
    { class: 'list' },
    element('caption', { class: 'unseen' }, 'The last requests'),
    element('thead', {}, element('tr', {}, ...this.#order.cells)),
    this.#body,
  );
  #note = element('p', { class: 'empty', role: 'status' });

  /** The nodes of the view. */
  nodes() {
    return [element('h1', {}, 'Requests'), this.#filter.node, this.#note, this.#table];
  }

  constructor() {
    this.#arrange();
  }

  /** @param {readonly RequestSummary[]} summaries all of them */
  reset(summaries) {
    this.#entries.clear();
    this.#body.replaceChildren();
    this.#isLoaded = true;
    this.#problem = undefined;
    this.update(summaries);
  }

  /** @param {readonly RequestSummary[]} summaries those that are new or otherwise */
  update(summaries) {
    for (const summary of summaries) {
      const row = this.#entries.get(summary.id)?.row ?? newRow();
      COLUMNS.forEach(({ fill }, index) => {
        const cell = row.cells[index];
        if (cell !== undefined) {
          fill(cell, summary);
        }
      });
      this.#entries.set(summary.id, { row, summary });
    }
    this.#arrange();
  }

  /** @param {number} oldest id of the oldest request that is kept */
  forgetBefore(oldest) {
    for (const [id, { row }] of this.#entries) {
      if (id < oldest) {
        row.remove();
        this.#entries.delete(id);
      }
    }
    this.#arrange();
  }

  /** Nobody may see what was loaded any more. */
  forgetAll() {
    this.reset([]);
    this.#isLoaded = false;
  }

  /** @param {string} problem why it cannot be loaded, as a sentence */
  fail(problem) {
    this.#problem = problem;
    this.#arrange();
  }

  /** @param {number} id of the request whose link gets the focus */
  focus(id) {
    this.#entries.get(id)?.row.querySelector('a')?.focus();
  }

  #arrange() {
    const entries = [...this.#entries.values()];
    const focused = document.activeElement;
    let next = this.#body.firstElementChild;
    let shown = 0;
    for (const { row, summary } of entries.toSorted((one, other) =>
      this.#order.compare(one.summary, other.summary),
    )) {
      row.hidden = !this.#filter.matches(summary);
      shown += row.hidden ? 0 : 1;
      if (row === next) {
        next = next.nextElementSibling;
      } else {
        this.#body.insertBefore(row, next);
      }
    }
    // What is moved loses the focus.
    if (focused instanceof HTMLElement && this.#body.contains(focused)) {
      focused.focus({ preventScroll: true });
    }
    this.#table.hidden = entries.length === 0;
    this.#filter.node.hidden = entries.length === 0;
    const note = this.#noteFor(entries.length, shown);
    if (this.#note.textContent !== note) {
      this.#note.textContent = note;
    }
    this.#note.hidden = note === '';
  }

  /**
   * @param {number} count
   * @param {number} shown
   */
  #noteFor(count, shown) {
    if (this.#problem !== undefined) {
      return this.#problem;
    }
    if (!this.#isLoaded) {
      return 'Loading the list.';
    }
    if (count === 0) {
      return 'No request has come yet. Send one to the application, and it appears here at once.';
    }
    return shown === count ? '' : `${shown} of ${count} requests match the filter.`;
  }
}

function newRow() {
  return element(
    'tr',
    {},
    element('th', { scope: 'row' }),
    ...COLUMNS.slice(1).map(({ isNumber }) =>
      element('td', { class: isNumber ? 'number' : undefined }),
    ),
  );
}
