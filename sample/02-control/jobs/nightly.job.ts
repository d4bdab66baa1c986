import { Injectable } from '@nestjs/common';
import { DbContext, WithDbContext } from 'nestjs-db-context';

import { EntriesService } from '../entries/entries.service.js';

/** Work that no request has started, and so no interceptor reaches. Put your `@Cron()` here. */
@Injectable()
export class NightlyJob {
  constructor(
    private readonly dbContext: DbContext,
    private readonly entries: EntriesService,
  ) {}

  @WithDbContext()
  async decorated(): Promise<void> {
    await this.entries.add('job: first half');
    await this.entries.add('job: second half');
  }

  /** As a call, a context can be a part of a method: it has been committed when the rest fails. */
  async called(): Promise<never> {
    await this.dbContext.run(() => this.entries.add('job: committed by run()'));
    throw new Error('The rest of the job fails.');
  }

  @WithDbContext()
  async failing(): Promise<never> {
    await this.entries.add('job: rolled back');
    throw new Error('The job fails.');
  }
}
