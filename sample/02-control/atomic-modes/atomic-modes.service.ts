import { Injectable } from '@nestjs/common';
import { DbContext, type CurrentTransaction } from 'nestjs-db-context';

import { EntriesService } from '../entries/entries.service.js';

/** One block in the mode of your choice, with and without a transaction that is open before it. */
@Injectable()
export class AtomicModesService {
  constructor(
    private readonly dbContext: DbContext,
    private readonly entries: EntriesService,
  ) {}

  async withoutPrevious(current: CurrentTransaction): Promise<void> {
    await this.dbContext.atomic(() => this.entries.add('inside'), { current });
  }

  async afterPrevious(current: CurrentTransaction): Promise<void> {
    await this.entries.add('before');
    await this.withoutPrevious(current);
  }

  /** The block fails, and the request succeeds. */
  async failingWithoutPrevious(current: CurrentTransaction): Promise<void> {
    const failure = new Error('The block fails.');
    const block = async (): Promise<never> => {
      await this.entries.add('inside');
      throw failure;
    };
    await this.dbContext.atomic(block, { current }).catch((error: unknown) => {
      // It arrives as it was thrown. Anything else (`raise`) fails the request.
      if (error !== failure) {
        throw error;
      }
    });
  }

  async failingAfterPrevious(current: CurrentTransaction): Promise<void> {
    await this.entries.add('before');
    await this.failingWithoutPrevious(current);
  }
}
