// The code of docs/events.md; tsc checks it here, and a spec checks that it is the same.
import type { EntityManager } from '@mikro-orm/postgresql';
import { Injectable, Module } from '@nestjs/common';
import { CqrsModule, EventsHandler, type IEventHandler } from '@nestjs/cqrs';
import { EventEmitter2 } from '@nestjs/event-emitter';
import {
  DbContextModule,
  InjectSession,
  WithDbContext,
  type DbContextModuleOptions,
} from 'nestjs-db-context';
import { DbContextCqrsModule } from 'nestjs-db-context/cqrs';
import { OnCommitted } from 'nestjs-db-context/event-emitter';

import { Note } from '../support/note.entity.js';

abstract class Mailer {
  abstract send(text: string): Promise<void>;
}

const options: DbContextModuleOptions = { connections: [] };

class NoteCreated {
  constructor(readonly text: string) {}
}

@Injectable()
export class Notes {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    private readonly emitter: EventEmitter2,
  ) {}

  create(text: string): void {
    this.session.persist(new Note(text));
    this.emitter.emit('note.created', text);
  }
}

@Injectable()
export class Announcements {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    private readonly mailer: Mailer,
  ) {}

  @OnCommitted('note.created')
  async announce(text: string): Promise<void> {
    await this.mailer.send(text);
    this.session.persist(new Note(`announced: ${text}`));
  }
}

@Module({
  imports: [DbContextModule.forRoot(options), CqrsModule.forRoot(), DbContextCqrsModule],
})
export class AppModule {}

@EventsHandler(NoteCreated)
export class NoteCreatedHandler implements IEventHandler<NoteCreated> {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  @WithDbContext()
  async handle({ text }: NoteCreated): Promise<void> {
    this.session.persist(new Note(`handled: ${text}`));
  }
}
