/** @import { ShownOutcome } from '../view/view-types.js' */

const ONE_SECOND_MS = 1_000;
const TWO_DIGITS_FROM_MS = 100;

/**
 * A duration with as many digits as say something.
 *
 * @param {number} ms
 */
export function duration(ms) {
  if (ms >= ONE_SECOND_MS) {
    return `${(ms / ONE_SECOND_MS).toFixed(2)} s`;
  }
  return `${ms.toFixed(ms >= TWO_DIGITS_FROM_MS ? 0 : 1)} ms`;
}

/**
 * The time of day.
 *
 * @param {number} at in milliseconds since 1970
 */
export function timeOfDay(at) {
  return new Date(at).toLocaleTimeString([], { hour12: false });
}

/**
 * @param {number} count
 * @param {string} one
 * @param {string} several
 */
export function counted(count, one, several = `${one}s`) {
  return `${count} ${count === 1 ? one : several}`;
}

/** @type {Readonly<Record<ShownOutcome, { readonly sign: string, readonly text: string }>>} */
export const OUTCOMES = {
  running: { sign: '●', text: 'running' },
  committed: { sign: '✓', text: 'committed' },
  'rolled-back': { sign: '✕', text: 'rolled back' },
  unknown: { sign: '?', text: 'unknown' },
  untouched: { sign: '–', text: 'no transaction' },
};
