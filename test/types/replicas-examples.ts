// The code of docs/replicas.md; tsc checks it here, and a spec checks that it is the same.
import { defineConfig, type EntityManager } from '@mikro-orm/postgresql';
import { Controller, Get, Post } from '@nestjs/common';
import {
  DbConnection,
  DbContext,
  DbContextModule,
  DbTransaction,
  InjectConnection,
  InjectSession,
} from 'nestjs-db-context';

import { Note } from '../support/note.entity.js';

const clientUrl = 'postgres://localhost/app';
const reportsUrl = 'postgres://replica/app';

export const root = DbContextModule.forRoot({
  connections: [
    {
      ...defineConfig({
        clientUrl,
        replicas: [{ host: 'db2' }, { host: 'db3' }],
        entities: [Note],
      }),
      readFrom: { fallback: 'primary', retryAfterMs: 10_000 },
    },
  ],
  readOnlyMethods: ['GET', 'HEAD'],
});

@Controller('notes')
export class NotesController {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    private readonly dbContext: DbContext,
  ) {}

  @DbTransaction({ readOnly: true })
  @Post('search')
  search() {
    return this.session.find(Note, {});
  }

  @DbTransaction({ readOnly: false })
  @Get('next')
  async next() {
    const note = await this.session.findOneOrFail(Note, { text: 'unread' });
    note.text = 'read';
    return note;
  }

  @Get('count')
  count() {
    return this.dbContext.atomic((session) => session.count(Note), { readOnly: true });
  }
}

export const sticky = DbContextModule.forRoot({
  connections: [
    {
      ...defineConfig({ clientUrl, replicas: [{ host: 'db2' }], entities: [Note] }),
      readYourWrites: { via: 'cookie', waitMs: 100, maxAgeSeconds: 60 },
    },
  ],
});

export class Replicas {
  constructor(@InjectConnection() private readonly connection: DbConnection) {}

  unreachable() {
    return this.connection.replicaStates().filter(({ isLeftOut }) => isLeftOut);
  }
}

export const two = DbContextModule.forRoot({
  connections: [
    defineConfig({ clientUrl, entities: [Note] }),
    {
      name: 'reports',
      ...defineConfig({ clientUrl: reportsUrl, entities: [Note] }),
      transaction: { readOnly: true },
    },
  ],
});
