import type { EntityManager } from '@mikro-orm/postgresql';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { DbContext, DbContextModule, getSessionToken } from 'nestjs-db-context';

import type { DatabaseOptions } from './stand-options.js';
import type { Part, Stand } from './stand.js';

/** A million statements, or rows, may take longer than the minute that a transaction has by default. */
const TRANSACTION_TIMEOUT_MS = 3_600_000;

/** This library: a context, in which the injected sessions are used. */
export async function openLibrary(databases: readonly DatabaseOptions[]): Promise<Stand> {
  @Module({
    imports: [
      DbContextModule.forRoot({
        connections: databases.map(({ name, options }) => ({
          ...options,
          name,
          limits: { transactionTimeoutMs: TRANSACTION_TIMEOUT_MS },
        })),
      }),
    ],
  })
  class StandModule {}

  const app = await NestFactory.createApplicationContext(StandModule, {
    logger: ['error', 'fatal'],
  });
  const dbContext = app.get(DbContext);
  const sessions = databases.map(({ name }) => app.get<EntityManager>(getSessionToken(name)));
  const first = sessions[0]!;
  return {
    side: 'library',
    accounts: databases.map(({ account }) => account),
    injected: first,
    run: <T>(part: Part<T>) => dbContext.run(() => part(first)),
    runOnEach: (count, part) =>
      dbContext.run(async () => {
        for (const [index, session] of sessions.slice(0, count).entries()) {
          await part(session, index);
        }
      }),
    hold: (over) =>
      dbContext.run(async () => {
        first.isInTransaction();
        await over;
      }),
    close: () => app.close(),
  };
}
