import { types } from 'node:util';

import { Utils } from '@mikro-orm/core';

/** How deep in a value promises are looked for. */
const LARGEST_DEPTH = 6;
/** In how many objects of one value they are looked for; the items of a list are looked at without a limit. */
const MOST_OBJECTS = 10_000;

const IGNORE = (): void => undefined;

/**
 * Handles the promises in what a handler has returned, before the context is flushed or settled and whoever reads
 * the value next is kept waiting. One that has failed by then (an item of a list, a property) would have nobody to
 * handle it in the meantime, which ends the process, although its reader handles it as soon as it is there.
 *
 * They are looked for in arrays, sets and the own properties of objects. No getter is called, and entities are not
 * followed to others.
 */
export function handlePromisesIn(value: unknown): void {
  new PromiseSearch().lookAt(value, LARGEST_DEPTH);
}

class PromiseSearch {
  readonly #seen = new Set<object>();

  lookAt(value: unknown, depth: number): void {
    if (typeof value !== 'object' || value === null) {
      return;
    }
    // What has a method `then`, as a query builder has, does its work when that is called, and can leave nothing
    // unhandled.
    if (types.isPromise(value)) {
      void Promise.prototype.then.call(value, (result) => this.lookAt(result, depth), IGNORE);
    } else if (depth > 0 && this.#seen.size < MOST_OBJECTS && !this.#seen.has(value)) {
      this.#seen.add(value);
      try {
        this.#lookInside(value, depth);
      } catch {
        // A proxy may refuse it; its reader is the one to learn of that.
      }
    }
  }

  #lookInside(value: object, depth: number): void {
    if (Array.isArray(value) || value instanceof Set) {
      for (const item of value) {
        this.lookAt(item, depth - 1);
      }
      return;
    }
    if (ArrayBuffer.isView(value)) {
      return;
    }
    const depthBelow = Utils.isEntity(value) ? 0 : depth - 1;
    for (const key of Object.keys(value)) {
      this.lookAt(Object.getOwnPropertyDescriptor(value, key)?.value, depthBelow);
    }
  }
}
