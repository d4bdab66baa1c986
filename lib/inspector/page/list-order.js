/** @import { RequestSummary } from '../view/view-types.js' */
import { COLUMNS } from './columns.js';
import { element } from './dom.js';

/** By which column the list is sorted: the latest first, until a button in the head says otherwise. */
export class ListOrder {
  #by = COLUMNS.length - 1;
  #isDescending = true;
  /** The cells of the head. */
  cells = COLUMNS.map(({ name, isNumber }, index) => {
    const button = element(
      'button',
      { type: 'button' },
      name,
      element('span', { class: 'direction', 'aria-hidden': 'true' }),
    );
    button.addEventListener('click', () => this.#choose(index));
    return element('th', { scope: 'col', class: isNumber ? 'number' : undefined }, button);
  });
  #changed;

  /** @param {() => void} changed */
  constructor(changed) {
    this.#changed = changed;
    this.#show();
  }

  /**
   * @param {RequestSummary} one
   * @param {RequestSummary} other
   */
  compare(one, other) {
    const { valueOf } = COLUMNS[this.#by] ?? COLUMNS[0];
    const [first, second] = [valueOf(one), valueOf(other)];
    const order = first < second ? -1 : first > second ? 1 : one.id - other.id;
    return this.#isDescending ? -order : order;
  }

  /** @param {number} index */
  #choose(index) {
    this.#isDescending =
      index === this.#by ? !this.#isDescending : COLUMNS[index]?.isNumber === true;
    this.#by = index;
    this.#show();
    this.#changed();
  }

  #show() {
    this.cells.forEach((cell, index) => {
      const isSorted = index === this.#by;
      const sign = cell.querySelector('.direction');
      sign?.replaceChildren(isSorted ? (this.#isDescending ? ' ▼' : ' ▲') : '');
      if (isSorted) {
        cell.setAttribute('aria-sort', this.#isDescending ? 'descending' : 'ascending');
      } else {
        cell.removeAttribute('aria-sort');
      }
    });
  }
}
