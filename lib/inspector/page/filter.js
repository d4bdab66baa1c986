/** @import { RequestSummary, ShownOutcome } from '../view/view-types.js' */
import { element } from './dom.js';
import { OUTCOMES } from './format.js';

const FOUND = 'found';

/** Which requests of the list are shown: by a text, and by how they have ended. */
export class ListFilter {
  #text = element('input', { type: 'search', id: 'filter-text', autocomplete: 'off' });
  #outcome = element(
    'select',
    { id: 'filter-outcome' },
    element('option', { value: '' }, 'all'),
    ...Object.entries(OUTCOMES).map(([value, { text }]) => element('option', { value }, text)),
    element('option', { value: FOUND }, 'with findings'),
  );
  /** What is to be put into the page. */
  node = element(
    'search',
    { class: 'filter' },
    element('label', { for: 'filter-text' }, 'Filter'),
    this.#text,
    element('label', { for: 'filter-outcome' }, 'Outcome'),
    this.#outcome,
  );

  /** @param {() => void} changed */
  constructor(changed) {
    this.#text.addEventListener('input', changed);
    this.#outcome.addEventListener('input', changed);
  }

  /** @param {RequestSummary} summary */
  matches({ title, origin = '', status, outcome, findings }) {
    const isOutcome =
      this.#outcome.value === '' ||
      (this.#outcome.value === FOUND ? findings > 0 : this.#outcome.value === outcome);
    const words = this.#text.value.toLowerCase().split(/\s+/);
    const text = `${title} ${origin} ${status ?? ''}`.toLowerCase();
    return isOutcome && words.every((word) => text.includes(word));
  }
}
