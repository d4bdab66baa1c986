// The code of docs/jobs.md; tsc checks it here, and a spec checks that it is the same.
import { EntityManager } from '@mikro-orm/postgresql';
import { BullModule, Processor, WorkerHost } from '@nestjs/bullmq';
import { Injectable, Module } from '@nestjs/common';
import { Cron } from '@nestjs/schedule';
import type { FlowJob, FlowProducer, Job } from 'bullmq';
import {
  DbContext,
  DbContextModule,
  InjectSession,
  WithDbContext,
  type DbContextModuleOptions,
} from 'nestjs-db-context';
import {
  CommittedQueue,
  DbContextBullModule,
  InjectCommittedQueue,
} from 'nestjs-db-context/bullmq';
import { PgBoss } from 'pg-boss';

import { Note } from '../support/note.entity.js';

declare const options: DbContextModuleOptions;

interface Mail {
  readonly noteId: number;
}

@Processor('reports')
@WithDbContext()
export class ReportJob extends WorkerHost {
  constructor(@InjectSession() private readonly session: EntityManager) {
    super();
  }

  async process(job: Job<{ text: string }>): Promise<void> {
    this.session.persist(new Note(job.data.text));
  }

  @Cron('0 3 * * *')
  async nightly(): Promise<void> {
    await this.session.nativeDelete(Note, { text: '' });
  }
}

declare class TryLaterError extends Error {}

@Processor('imports')
export class ImportJob extends WorkerHost {
  @WithDbContext({ commitOnError: (error) => error instanceof TryLaterError })
  async process(): Promise<void> {}
}

@Injectable()
export class Accounts {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    @InjectCommittedQueue('mail') private readonly mail: CommittedQueue<Mail>,
  ) {}

  async open(text: string): Promise<void> {
    const note = new Note(text);
    await this.session.persist(note).flush();
    await this.mail.add('welcome', { noteId: note.id });
  }
}

@Module({
  imports: [
    DbContextModule.forRoot(options),
    BullModule.forRoot({ connection: { host: 'localhost' } }),
    DbContextBullModule.registerQueue({ name: 'mail' }),
  ],
  providers: [Accounts],
})
export class AppModule {}

@Injectable()
export class Outbox {
  constructor(
    private readonly boss: PgBoss,
    private readonly dbContext: DbContext,
  ) {}

  async send(name: string, data: object): Promise<string | null> {
    return this.dbContext.withClient((client) =>
      this.boss.send(name, data, {
        db: { executeSql: (text, values = []) => client.query(text, values) },
      }),
    );
  }
}

export async function examples(
  dbContext: DbContext,
  boss: PgBoss,
  sendReports: () => Promise<void>,
  handle: (text: string) => Promise<void>,
  mail: CommittedQueue<Mail>,
  flows: FlowProducer,
  children: FlowJob[],
): Promise<void> {
  await dbContext.run(() => sendReports(), { name: 'nightly reports' });

  dbContext.onCommit(() => mail.queue.upsertJobScheduler('digest', { pattern: '0 7 * * *' }));
  dbContext.onCommit(() => flows.add({ name: 'order', queueName: 'mail', children }));

  await boss.work<{ text: string }>('notes', async ([job]) => {
    await dbContext.run(() => handle(job!.data.text), { name: 'the job notes' });
  });
}
