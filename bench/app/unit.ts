import type { EntityManager } from '@mikro-orm/core';

/** A part of a request's work. */
export type Work<T> = (em: EntityManager) => Promise<T>;

/**
 * How a candidate makes a unit of work of a request. All else of the application is the same for
 * all of them. It is also the token it is injected by.
 */
export abstract class Unit {
  /**
   * What a service deep inside works with.
   *
   * @param handed what it was handed by its callers, where a candidate needs that
   */
  abstract manager(handed: EntityManager): EntityManager;

  /** Runs work that changes something, as the handler of a route does. */
  abstract write<T>(work: Work<T>): Promise<T>;

  /** Runs work that changes nothing. */
  read<T>(work: Work<T>): Promise<T> {
    return this.write(work);
  }

  /** Frees the connection after a unit, where it is not free already. */
  release(): Promise<void> {
    return Promise.resolve();
  }
}
