// The code of docs/streams.md; tsc checks it here, and a spec checks that it is the same.
import type { EventEmitter } from 'node:events';
import { Transform, type Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';

import { EntityManager } from '@mikro-orm/postgresql';
import { Controller, Get, Sse, StreamableFile, type MessageEvent } from '@nestjs/common';
import { GrpcStreamMethod } from '@nestjs/microservices';
import {
  WebSocketGateway,
  type OnGatewayConnection,
  type OnGatewayDisconnect,
} from '@nestjs/websockets';
import { DbContext, InjectSession, SkipDbContext, WithDbContext } from 'nestjs-db-context';
import { concatMap, count, exhaustMap, interval, map, Observable } from 'rxjs';

import { Note } from '../support/note.entity.js';

const toCsv = (): Transform =>
  new Transform({
    writableObjectMode: true,
    transform: (note: Note, _, onLine) => onLine(null, `${note.id};${note.text}\n`),
  });

@Controller('notes')
export class NotesExportController {
  constructor(private readonly dbContext: DbContext) {}

  @Get('export')
  export() {
    const lines = this.dbContext.stream(async function* (session) {
      for await (const note of session.stream(Note)) {
        yield `${note.id};${note.text}\n`;
      }
    });
    return new StreamableFile(lines, { type: 'text/csv' });
  }
}

export async function exportTo(file: Writable, dbContext: DbContext) {
  const notes = dbContext.stream((session) => session.stream(Note), { objectMode: true });
  await pipeline(notes, toCsv(), file);
}

@Controller('notes')
export class NoteEventsController {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    private readonly dbContext: DbContext,
  ) {}

  @SkipDbContext()
  @Sse('count')
  count(): Observable<MessageEvent> {
    return interval(1_000).pipe(exhaustMap(() => this.dbContext.run(() => this.event())));
  }

  private async event(): Promise<MessageEvent> {
    return { data: { count: await this.session.count(Note) } };
  }
}

@Controller()
export class NotesImportController {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    private readonly dbContext: DbContext,
  ) {}

  @GrpcStreamMethod('Notes', 'Import')
  import(messages: Observable<{ text: string }>) {
    return this.dbContext.bind(messages, (notes) =>
      notes.pipe(
        concatMap((note) => this.session.insert(Note, note)),
        count(),
        map((imported) => ({ imported })),
      ),
    );
  }
}

@WebSocketGateway()
export class PresenceGateway implements OnGatewayConnection, OnGatewayDisconnect {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    private readonly dbContext: DbContext,
  ) {}

  @WithDbContext()
  async handleConnection(client: EventEmitter) {
    this.session.persist(new Note('connected'));
    const save = this.dbContext.bind((text: string) => this.session.insert(Note, { text }));
    client.on('note', (text: string) => void save(text).catch(() => client.emit('failed')));
  }

  @WithDbContext()
  async handleDisconnect() {
    this.session.persist(new Note('disconnected'));
  }
}
