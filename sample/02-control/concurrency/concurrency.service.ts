import { Injectable } from '@nestjs/common';
import { DbContext, NewDbContext } from 'nestjs-db-context';

import { EntriesService } from '../entries/entries.service.js';
import { Entry } from '../entries/entry.entity.js';

/**
 * Statements of one session go one after another, in a `Promise.all` too. To run at the same time,
 * each branch needs a context or a session, and so a connection, of its own.
 */
@Injectable()
export class ConcurrencyService {
  constructor(
    private readonly dbContext: DbContext,
    private readonly entries: EntriesService,
  ) {}

  /** Every way at once, each on a connection of its own; only the last one saves nothing. */
  async everyWay(): Promise<void> {
    await Promise.allSettled([
      this.entries.add('session of the request'),

      this.dbContext.runInNewContext(() => this.entries.add('new context')),

      this.dbContext.runInNewContext(async () => {
        await this.entries.add('new context, ended by hand');
        await this.dbContext.commit();
        await this.dbContext.close();
      }),

      this.dbContext.newAtomicSession((session) =>
        session.insert(Entry, { text: 'session outside any context, atomic' }),
      ),

      this.dbContext.newSession(async (session) => {
        await session.insert(Entry, { text: 'session outside any context, committed by hand' });
        await session.commit();
      }),

      this.dbContext.runInNewContext(async () => {
        await this.entries.add('rolled back with its new context');
        throw new Error('This branch fails; the others do not notice.');
      }),
    ]);
  }

  async decorated(): Promise<void> {
    await Promise.all(['a', 'b', 'c'].map((text) => this.addInNewContext(text)));
  }

  @NewDbContext()
  async addInNewContext(text: string): Promise<void> {
    await this.entries.add(text);
  }
}
