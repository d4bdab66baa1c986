import { EntityManager } from '@mikro-orm/postgresql';
import { Injectable } from '@nestjs/common';
import { InjectSession } from 'nestjs-db-context';

import { Entry } from './entry.entity.js';

/**
 * What the other services reuse. It knows nothing of transactions: whoever calls it decides which
 * one it works in, and when that ends.
 */
@Injectable()
export class EntriesService {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  /** Sends the INSERT at once, so that each example shows what becomes of a row already sent. */
  async add(text: string): Promise<void> {
    await this.session.insert(Entry, { text });
  }

  latest(): Promise<Entry[]> {
    return this.session.find(Entry, {}, { orderBy: { id: 'desc' }, limit: 20 });
  }
}
