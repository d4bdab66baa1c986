import type { EntityManager } from '@mikro-orm/core';

import { unsavedEntities } from '../session/changes.js';
import type { RouteLog } from './route-log.js';
import type { RouteSettings } from './route-settings.js';

/** For how long the fields of an answer may change what their root field has returned, in milliseconds. */
const GRACE_MS = 1_000;
/** How many root fields are looked after at a time: entities are kept until then. */
const MOST = 100;

/**
 * Looks for entities that are changed after the context of their root field has been committed, by field resolvers
 * or by interceptors: the answer shows the change, and nothing saves it.
 */
export class LateChanges {
  readonly #log: RouteLog;
  #count = 0;

  constructor(log: RouteLog) {
    this.#log = log;
  }

  /**
   * Looks a while later at what has just been committed.
   *
   * @param managers those of the sessions of the context
   */
  lookAfter(managers: readonly EntityManager[], route: RouteSettings): void {
    if (managers.length === 0 || this.#count >= MOST) {
      return;
    }
    this.#count++;
    // What differs without any change, by a type that compares badly, is no change.
    const before = new Set(managers.flatMap(unsavedEntities));
    setTimeout(() => {
      this.#count--;
      const changed = managers.flatMap(unsavedEntities).filter((name) => !before.has(name));
      if (changed.length > 0) {
        this.#log.changedAfterCommit(route, [...new Set(changed)]);
      }
    }, GRACE_MS).unref();
  }
}
