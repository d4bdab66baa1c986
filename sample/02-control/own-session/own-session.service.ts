import { ConflictException, Injectable } from '@nestjs/common';
import { DbContext } from 'nestjs-db-context';

import { EntriesService } from '../entries/entries.service.js';
import { Entry } from '../entries/entry.entity.js';

/** Sessions that belong to no context. They are handed on: `@InjectSession()` does not know them. */
@Injectable()
export class OwnSessionService {
  constructor(
    private readonly dbContext: DbContext,
    private readonly entries: EntriesService,
  ) {}

  /** Keeps what it commits. What is left at the end of the callback is rolled back. */
  async manual(): Promise<void> {
    await this.dbContext.newSession(async (session) => {
      await session.insert(Entry, { text: 'committed' });
      await session.commit();
      await session.insert(Entry, { text: 'never committed' });
    });
  }

  /** Commits at the end of the callback, although the request fails after it. */
  async atomic(): Promise<never> {
    await this.entries.add('rolled back with the request');
    await this.dbContext.newAtomicSession((session) => {
      session.persist(new Entry('committed with the callback'));
    });
    throw new ConflictException('The request fails after the session of its own.');
  }
}
