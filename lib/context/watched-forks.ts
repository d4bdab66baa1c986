import type { EntityManager } from '@mikro-orm/core';

import { unsavedEntities } from '../session/changes.js';
import { isOfTransactional } from '../session/session-marks.js';
import type { Place } from './place.js';

interface WatchedFork {
  readonly fork: EntityManager;
  readonly place: Place;
}

/** A context that makes more has shown what it does; a job would otherwise keep the forks of all its runs. */
const MOST_FORKS = 100;
/** For how long work that nobody awaits may still flush a fork, in milliseconds. */
const GRACE_MS = 1_000;

/** The forks that the code of one context has made, to find those that it has never flushed. */
export class WatchedForks {
  readonly #forks: WatchedFork[] = [];

  add(fork: EntityManager, place: Place): void {
    if (this.#forks.length < MOST_FORKS) {
      this.#forks.push({ fork, place });
    }
  }

  /** Where the last one was made. */
  get lastPlace(): Place | undefined {
    return this.#forks.at(-1)?.place;
  }

  /** Where the fork was made that MikroORM knows by this id, if it is one of these. */
  placeOf(managerId: unknown): Place | undefined {
    return this.#forks.find(({ fork }) => fork.id === managerId)?.place;
  }

  /**
   * Looks for entities that nobody has saved, and again after a while.
   *
   * @param warn is called for each fork that has any
   */
  contextHasEnded(warn: (what: string, place: Place) => void): void {
    const suspects = this.#forks.filter(isUnsaved);
    if (suspects.length > 0) {
      setTimeout(() => {
        suspects.filter(isUnsaved).forEach(({ fork, place }) => warn(lossOf(fork), place));
      }, GRACE_MS).unref();
    }
  }
}

function isUnsaved({ fork }: WatchedFork): boolean {
  // MikroORM flushes those of transactional(), or their transaction was undone.
  return !isOfTransactional(fork) && unsavedEntities(fork).length > 0;
}

function lossOf(fork: EntityManager): string {
  return (
    'persisted or changed entities in a fork of the entity manager that was never flushed, so nothing of ' +
    `them was saved (${unsavedEntities(fork).join(', ')}). A fork is not part of the context: work with ` +
    'the injected session or orm.em, or flush the fork. It was made'
  );
}
