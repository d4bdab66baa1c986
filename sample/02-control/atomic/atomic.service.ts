import { ConflictException, Injectable } from '@nestjs/common';
import { Atomic, DbContext } from 'nestjs-db-context';

import { EntriesService } from '../entries/entries.service.js';

/** Blocks that are transactions of their own, around code that knows nothing of transactions. */
@Injectable()
export class AtomicService {
  constructor(
    private readonly dbContext: DbContext,
    private readonly entries: EntriesService,
  ) {}

  /** The same function twice: in a transaction of its own, then in that of the request. */
  async blockThenRequest(): Promise<void> {
    await this.dbContext.atomic(() => this.entries.add('committed by the block'));
    await this.entries.add('committed by the request');
  }

  /** What every mode makes of the transaction that the line before it has begun. */
  async inARow(): Promise<void> {
    await this.entries.add('1: committed by the block after it');
    await this.dbContext.atomic(() => this.entries.add('2: committed'));

    await this.entries.add('3: rolled back by the block after it');
    await this.dbContext.atomic(() => this.entries.add('4: committed'), { current: 'rollback' });

    await this.entries.add('5: committed with 6');
    await this.dbContext.atomic(() => this.entries.add('6: committed with 5'), {
      current: 'append',
    });

    await this.entries.add('7: rolled back with 8');
    await this.dbContext
      .atomic(() => this.addAndFail('8: rolled back with 7'), { current: 'append' })
      .catch(() => undefined);

    await this.entries.add('9: rolled back by the request, which fails');
    // Throws InvalidTransactionStateError: 9 has begun a transaction.
    await this.dbContext.atomic(() => this.entries.add('10: never sent'), { current: 'raise' });
  }

  /** The decorated method has committed when the request fails. */
  async decorated(): Promise<never> {
    await this.addAtOnce('committed by @Atomic()');
    await this.entries.add('rolled back by the request');
    throw new ConflictException('The request fails after the atomic method.');
  }

  @Atomic()
  async addAtOnce(text: string): Promise<void> {
    await this.entries.add(text);
  }

  private async addAndFail(text: string): Promise<never> {
    await this.entries.add(text);
    throw new Error('The block fails.');
  }
}
