import type { EntityManager } from '@mikro-orm/core';

/** A part of a request's work. */
export type Work<T> = (em: EntityManager) => Promise<T>;

/**
 * How a candidate runs a request as a unit of work. The rest of the application is the same for all
 * candidates. The class is also the injection token.
 */
export abstract class Unit {
  /**
   * The entity manager that a service works with.
   *
   * @param handed the manager that the callers of the service pass on, where a candidate needs that
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
