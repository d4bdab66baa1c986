/** @import { RequestSummary } from '../view/view-types.js' */
import { findingsChip, outcomeChip, statusText } from './chips.js';
import { element } from './dom.js';
import { duration, timeOfDay } from './format.js';

const COLUMNS = [
  { name: 'Request' },
  { name: 'Status' },
  { name: 'Outcome' },
  { name: 'Statements', isNumber: true },
  { name: 'In transaction', isNumber: true },
  { name: 'Waited', isNumber: true },
  { name: 'Time', isNumber: true },
];

/** The list of the last requests. A row stays the same element while its request goes on. */
export class RequestList {
  /** @type {Map<number, HTMLTableRowElement>} */
  #rows = new Map();
  #body = element('tbody', {});
  #table = element(
    'table',
    { class: 'list' },
    element('caption', { class: 'unseen' }, 'The last requests, the latest first'),
    element(
      'thead',
      {},
      element(
        'tr',
        {},
        ...COLUMNS.map(({ name, isNumber }) =>
          element('th', { scope: 'col', class: isNumber ? 'number' : undefined }, name),
        ),
      ),
    ),
    this.#body,
  );
  #empty = element(
    'p',
    { class: 'empty' },
    'No request has come yet. Send one to the application, and it appears here at once.',
  );

  /** The nodes of the view. */
  nodes() {
    return [element('h1', {}, 'Requests'), this.#empty, this.#table];
  }

  constructor() {
    this.#showEmpty();
  }

  /** @param {readonly RequestSummary[]} summaries all of them, the latest first */
  reset(summaries) {
    this.#rows.clear();
    this.#body.replaceChildren();
    this.update(summaries.toReversed());
  }

  /** @param {readonly RequestSummary[]} summaries those that are new or otherwise */
  update(summaries) {
    for (const summary of summaries) {
      const row = this.#rows.get(summary.id);
      if (row === undefined) {
        this.#insert(summary);
      } else {
        fill(row, summary);
      }
    }
    this.#showEmpty();
  }

  /** @param {number} oldest id of the oldest request that is kept */
  forgetBefore(oldest) {
    for (const [id, row] of this.#rows) {
      if (id < oldest) {
        row.remove();
        this.#rows.delete(id);
      }
    }
  }

  /** @param {number} id of the request whose link gets the focus */
  focus(id) {
    this.#rows.get(id)?.querySelector('a')?.focus();
  }

  /** @param {RequestSummary} summary */
  #insert(summary) {
    const row = element(
      'tr',
      {},
      element('th', { scope: 'row' }),
      ...COLUMNS.slice(1).map(({ isNumber }) =>
        element('td', { class: isNumber ? 'number' : undefined }),
      ),
    );
    fill(row, summary);
    this.#rows.set(summary.id, row);
    this.#body.prepend(row);
  }

  #showEmpty() {
    const isEmpty = this.#rows.size === 0;
    this.#empty.hidden = !isEmpty;
    this.#table.hidden = isEmpty;
  }
}

/**
 * @param {HTMLTableRowElement} row
 * @param {RequestSummary} summary
 */
function fill(row, summary) {
  const { id, at, title, origin, outcome, statements, transactionMs, waitMs, attempts } = summary;
  const [request, status, end, sent, held, waited, time] = row.cells;
  const link = request?.querySelector('a') ?? element('a', { href: `#${id}` });
  link.textContent = title;
  const remark = [origin === title ? '' : origin, attempts > 1 ? `${attempts} attempts` : '']
    .filter(Boolean)
    .join(', ');
  // The link stays where it is, as it may have the focus.
  while (link.nextSibling !== null) {
    link.nextSibling.remove();
  }
  if (link.parentNode === null) {
    request?.append(link);
  }
  request?.append(
    ...[findingsChip(summary.findings), element('small', {}, remark)].filter(
      (each) => each !== undefined,
    ),
  );
  status?.replaceChildren(statusText(summary));
  end?.replaceChildren(outcomeChip(outcome));
  sent?.replaceChildren(`${statements}`);
  held?.replaceChildren(transactionMs === 0 ? '' : duration(transactionMs));
  waited?.replaceChildren(waitMs === 0 ? '' : duration(waitMs));
  time?.replaceChildren(element('time', { datetime: new Date(at).toISOString() }, timeOfDay(at)));
}
