import type { EntityManager } from '@mikro-orm/core';

import { unsavedEntities } from '../session/changes.js';
import { isOfTransactional } from '../session/session-marks.js';
import type { Place } from '../telemetry/place.js';

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

  /** Where a manager was made for a `RequestContext` that the code has opened by itself, if it is one. */
  placeOfRequestContext(manager: EntityManager | undefined): Place | undefined {
    const place = this.#forks.find(({ fork }) => fork === manager)?.place;
    return place && isOfRequestContext(place) && !isOfDecorator(place) ? place : undefined;
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
        suspects.filter(isUnsaved).forEach(({ fork, place }) => warn(lossOf(fork, place), place));
      }, GRACE_MS).unref();
    }
  }
}

function isUnsaved({ fork }: WatchedFork): boolean {
  // MikroORM flushes those of transactional(), or their transaction was undone.
  return !isOfTransactional(fork) && unsavedEntities(fork).length > 0;
}

function isOfRequestContext({ stack }: Place): boolean {
  return /@mikro-orm[/\\]core[/\\].*RequestContext/.test(stack);
}

/** Whether `@CreateRequestContext()` has made it, which says in the code what it does. */
function isOfDecorator({ stack }: Place): boolean {
  return /@mikro-orm[/\\]decorators[/\\]/.test(stack);
}

function lossOf(fork: EntityManager, place: Place): string {
  const [what, advice] = isOfRequestContext(place)
    ? [
        'a RequestContext of MikroORM that was opened inside of the context and',
        'In there orm.em and the injected session are an entity manager of its own: leave the RequestContext ' +
          'out, or flush in it',
      ]
    : [
        'a fork of the entity manager that',
        'A fork is not part of the context: work with the injected session or orm.em, or flush the fork',
      ];
  return (
    `persisted or changed entities in ${what} was never flushed, so nothing of them was saved ` +
    `(${unsavedEntities(fork).join(', ')}). ${advice}. It was made`
  );
}
