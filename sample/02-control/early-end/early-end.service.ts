import { EntityManager } from '@mikro-orm/postgresql';
import { Injectable } from '@nestjs/common';
import { DbContext, InjectSession } from 'nestjs-db-context';

import { EntriesService } from '../entries/entries.service.js';
import { SlowWorkService } from './slow-work.service.js';

/** Ends transactions before the request does. After each end the next statement begins anew. */
@Injectable()
export class EarlyEndService {
  constructor(
    private readonly dbContext: DbContext,
    private readonly entries: EntriesService,
    private readonly slowWork: SlowWorkService,
    @InjectSession() private readonly session: EntityManager,
  ) {}

  /** Three transactions: two that end here, and one of two entries that the request commits. */
  async commitEarly(): Promise<void> {
    await this.entries.add('first transaction');
    await this.dbContext.commit();

    await this.entries.add('second transaction');
    await this.dbContext.commit();
    // The commit has freed the connection already. This drops the session and its entities as well.
    await this.dbContext.close();

    await this.entries.add('third transaction');
    await this.entries.add('third transaction, too');
  }

  /** The request succeeds, and saves nothing. */
  async rollBackEarly(): Promise<void> {
    await this.entries.add('undone by the context');
    await this.dbContext.rollback();

    await this.entries.add('undone by the session');
    await this.session.rollback();
  }

  /** Through the injected session, as with any EntityManager of MikroORM. */
  async endByHand(): Promise<void> {
    await this.entries.add('committed by hand');
    await this.session.commit();

    await this.entries.add('rolled back by hand');
    await this.session.rollback();

    await this.entries.add('committed by the request');
  }

  /** Occupies no connection of the pool while something slow goes on. */
  async closeEarly(): Promise<void> {
    await this.dbContext.atomic(() => this.entries.add('before the slow work'));
    // Has begun the next transaction, which would keep its connection until the end of the request.
    await this.entries.latest();
    await this.dbContext.close();

    await this.slowWork.run();

    await this.entries.add('after the slow work');
  }
}
