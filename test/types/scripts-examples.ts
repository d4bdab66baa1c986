// The code of docs/scripts.md; tsc checks it here, and a spec checks that it is the same.
import { EntityManager } from '@mikro-orm/postgresql';
import { Injectable, type Type } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { DbContext, InjectSession, WithDbContext } from 'nestjs-db-context';

import { Note } from '../support/note.entity.js';

declare const AppModule: Type;
declare abstract class Reports {
  sendMonthly(): Promise<number>;
}

export async function script() {
  const app = await NestFactory.createApplicationContext(AppModule);
  try {
    const dbContext = app.get(DbContext);
    const sent = await dbContext.run(() => app.get(Reports).sendMonthly(), {
      name: 'monthly reports',
    });
    console.log(`${sent} reports sent`);
  } finally {
    await app.close(); // ends the pools, so that the process can end
  }
}

export async function inBatches(dbContext: DbContext, session: EntityManager) {
  let last = 0;
  for (;;) {
    const batch = await dbContext.run(
      async () => {
        const notes = await session.find(
          Note,
          { id: { $gt: last } },
          { orderBy: { id: 'asc' }, limit: 1_000 },
        );
        notes.forEach((note) => (note.text = note.text.trim()));
        return notes.map(({ id }) => id);
      },
      { name: 'trim notes', retry: { attempts: 5 } },
    );
    if (batch.length === 0) {
      break;
    }
    last = batch.at(-1)!;
  }
}

@Injectable()
@WithDbContext()
export class TrimCommand {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  async run(): Promise<void> {
    await this.session.nativeDelete(Note, { text: '' });
  }
}

export async function saved(dbContext: DbContext, session: EntityManager) {
  await dbContext.runInNewContext(() => session.insert(Note, { text: 'the import has begun' }));
}
