import type { NestInterceptor } from '@nestjs/common';
import type { EntityManager } from '@mikro-orm/postgresql';
import { from, map, race, take } from 'rxjs';

import { deferred } from './deferred.js';
import { Note } from './note.entity.js';

/** Handlers that stop half-way, and interceptors that answer in their place. */
export class EarlyAnswers {
  /** The handler has come half-way. */
  reached = deferred();
  /** It may go on. */
  mayGoOn = deferred();
  /** How it has ended. */
  ended = deferred<unknown>();

  /** To be called before each test. */
  reset(): void {
    this.reached = deferred();
    this.mayGoOn = deferred();
    this.ended = deferred<unknown>();
  }

  /** Answers with `value` as the handler comes half-way. */
  fallback(value: unknown): NestInterceptor {
    return {
      intercept: (_context, next) =>
        race(next.handle(), from(this.reached.promise).pipe(map(() => value))),
    };
  }

  /** Stops there until it may go on. */
  async halfWay(): Promise<void> {
    this.reached.resolve();
    await this.mayGoOn.promise;
  }

  /** Runs a handler, and keeps how it ends. */
  async ending<T>(result: T, work: () => Promise<void>): Promise<T> {
    try {
      await work();
      this.ended.resolve('done');
      return result;
    } catch (error) {
      this.ended.resolve(error);
      throw error;
    }
  }

  /** Writes one half, and the other one when it may go on. */
  transfer<T>(session: EntityManager, result: T): Promise<T> {
    return this.ending(result, async () => {
      await session.insert(Note, { text: 'debit' });
      await this.halfWay();
      await session.insert(Note, { text: 'credit' });
    });
  }

  /** As `transfer()`, by entities that wait for a flush. */
  persisted<T>(session: EntityManager, result: T): Promise<T> {
    return this.ending(result, async () => {
      session.persist(new Note('debit'));
      await this.halfWay();
      session.persist(new Note('credit'));
    });
  }
}

/** Answers with the first value of an Observable. */
export const FIRST_VALUE: NestInterceptor = {
  intercept: (_context, next) => next.handle().pipe(take(1)),
};
