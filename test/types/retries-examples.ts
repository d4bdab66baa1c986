// The code of docs/retries.md; tsc checks it here, and a spec checks that it is the same.
import { EntityManager } from '@mikro-orm/postgresql';
import { Controller, Post } from '@nestjs/common';
import {
  DbTransaction,
  InjectSession,
  RetryOnSerializationFailure,
  type DbContext,
} from 'nestjs-db-context';

import { Note } from '../support/note.entity.js';

declare const dbContext: DbContext;
declare function increment(): Promise<void>;

@Controller('accounts')
export class AccountsController {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  @RetryOnSerializationFailure({ attempts: 5, backoffMs: 20 })
  @DbTransaction({ isolationLevel: 'serializable' })
  @Post(':id/rename')
  async rename() {
    const note = await this.session.findOneOrFail(Note, 1);
    note.text = 'renamed';
  }
}

export async function elsewhere() {
  await dbContext.atomic(() => increment(), { retry: { attempts: 5 } });
  await dbContext.run(() => increment(), { name: 'a job', retry: { attempts: 5 } });
}
