// The code of docs/several-databases.md; tsc checks it here, and a spec checks that it is the same.
import { defineConfig, EntityManager } from '@mikro-orm/postgresql';
import { Injectable, Module } from '@nestjs/common';
import { DbContextModule, InjectSession } from 'nestjs-db-context';

import { Note } from '../support/note.entity.js';

declare const clientUrl: string;
declare const auditUrl: string;
declare class Entry {
  readonly text: string;
  constructor(text: string);
}

@Module({
  imports: [
    DbContextModule.forRoot({
      connections: [
        defineConfig({ clientUrl, entities: [Note] }),
        { name: 'audit', ...defineConfig({ clientUrl: auditUrl, entities: [Entry] }) },
      ],
    }),
  ],
})
export class AppModule {}

@Injectable()
export class NotesService {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    @InjectSession('audit') private readonly audit: EntityManager,
  ) {}

  add(text: string): void {
    this.session.persist(new Note(text));
    this.audit.persist(new Entry(`added ${text}`));
  }
}

export const root = DbContextModule.forRoot({
  connections: [
    defineConfig({ clientUrl, entities: [Note], pool: { max: 20 } }),
    {
      name: 'exports',
      ...defineConfig({ clientUrl, entities: [Note], pool: { max: 3 } }),
      transactionTimeoutMs: 600_000,
    },
  ],
});
