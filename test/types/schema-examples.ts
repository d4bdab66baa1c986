// The code of docs/schema.md; tsc checks it here, and a spec checks that it is the same.
import { defineConfig, type EntityManager } from '@mikro-orm/postgresql';
import type { Type } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import {
  DbContextModule,
  getConnectionToken,
  type DbConnection,
  type DbContext,
} from 'nestjs-db-context';

import { Note } from '../support/note.entity.js';

declare const AppModule: Type;
declare const dbContext: DbContext;
declare const session: EntityManager;

// mikro-orm.config.ts
export const ormOptions = defineConfig({
  clientUrl: process.env['DATABASE_URL'] ?? 'postgres://localhost/app',
  entities: [Note],
});

export const root = DbContextModule.forRoot({ connections: [ormOptions] });

export async function update() {
  const app = await NestFactory.create(AppModule);
  const { orm } = app.get<DbConnection>(getConnectionToken());
  await orm.schema.update({ safe: true }); // adds what is missing, drops nothing
}

export async function migrate() {
  const app = await NestFactory.createApplicationContext(AppModule);
  const { orm } = app.get<DbConnection>(getConnectionToken());
  await orm.migrator.up();
  await app.close();
}

export async function seed() {
  await dbContext.run(
    async () => {
      if ((await session.count(Note)) === 0) {
        session.persist([new Note('first'), new Note('second')]);
      }
    },
    { name: 'seed' },
  );
}
