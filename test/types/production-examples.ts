// The code of docs/production.md; tsc checks it here, and a spec checks that it is the same.
import { defineConfig } from '@mikro-orm/postgresql';
import { DbContextModule } from 'nestjs-db-context';

import { Note } from '../support/note.entity.js';

declare const clientUrl: string;
declare const ca: string;

export const root = DbContextModule.forRoot({
  contextTimeoutMs: 30_000,
  shutdownTimeoutMs: 20_000,
  connections: [
    {
      ...defineConfig({
        clientUrl,
        entities: [Note],
        pool: { max: 10 },
        driverOptions: { ssl: { ca } },
      }),
      acquireTimeoutMs: 3_000,
      transaction: { statementTimeoutMs: 10_000, lockTimeoutMs: 2_000 },
    },
  ],
});
