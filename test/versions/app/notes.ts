import type { EntityManager, EntityRepository } from '@mikro-orm/core';
import { Body, Controller, Get, Inject, Injectable, Post } from '@nestjs/common';
import { DbContext, InjectRepository, InjectSession } from 'nestjs-db-context';

import { Note, type NoteRow } from './note.entity.js';

interface NoteBody {
  readonly text: string;
}

@Injectable()
export class Notes {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    @InjectRepository(Note) private readonly repository: EntityRepository<NoteRow>,
  ) {}

  /** Two rows, one of them left to the commit. */
  async add(text: string): Promise<void> {
    await this.session.insert(Note, { text });
    this.session.persist(this.repository.create({ text: `${text}, persisted` }));
  }

  insert(text: string): Promise<unknown> {
    return this.session.insert(Note, { text });
  }

  count(): Promise<number> {
    return this.repository.count();
  }
}

@Controller()
export class NotesController {
  constructor(
    @Inject(Notes) private readonly notes: Notes,
    @Inject(DbContext) private readonly dbContext: DbContext,
  ) {}

  @Get('idle')
  idle(): string {
    return 'idle';
  }

  @Get('lazy')
  lazy(): string {
    return this.dbContext.session().name;
  }

  @Get('count')
  async count(): Promise<{ count: number }> {
    return { count: await this.notes.count() };
  }

  @Post('notes')
  add(@Body() { text }: NoteBody): Promise<void> {
    return this.notes.add(text);
  }

  @Post('failing')
  async addAndFail(@Body() { text }: NoteBody): Promise<void> {
    await this.notes.add(text);
    throw new Error('the handler fails');
  }

  @Post('undone-part')
  async addInParts(@Body() { text }: NoteBody): Promise<void> {
    await this.notes.insert(text);
    const undone = this.dbContext.atomic(
      async () => {
        await this.notes.insert(`${text}, undone`);
        throw new Error('the part fails');
      },
      { current: 'savepoint' },
    );
    await undone.catch(() => undefined);
    await this.dbContext.runInNewContext(() => this.notes.insert(`${text}, on its own`));
  }
}
