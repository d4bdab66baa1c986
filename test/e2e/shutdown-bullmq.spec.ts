import { randomUUID } from 'node:crypto';

import type { EntityManager } from '@mikro-orm/postgresql';
import {
  BullModule,
  getQueueToken,
  InjectQueue,
  OnWorkerEvent,
  Processor,
  WorkerHost,
} from '@nestjs/bullmq';
import { Controller, Get, Injectable, type OnApplicationShutdown } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import type { Queue } from 'bullmq';
import {
  DbContext,
  DbContextModule,
  getConnectionToken,
  InjectSession,
  WithDbContext,
} from 'nestjs-db-context';
import type { DbConnection } from 'nestjs-db-context';

import { ContextRegistry } from '../../lib/context/context-registry.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { deferred, type Deferred } from '../support/deferred.js';
import { Note, NOTE_SCHEMA } from '../support/note.entity.js';
import { describeWithRedis, startRedis, type TestRedis } from '../support/redis.js';
import { noteConnection } from '../support/test-app.js';
import { waitFor } from '../support/wait-for.js';

let reached: Deferred<void>;
let mayGoOn: Deferred<void>;
let failures: unknown[] = [];
let hold: ((text: string) => Promise<void>) | undefined;

@Controller()
class SlowController {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  @Get('slow')
  async slow(): Promise<string> {
    await this.session.insert(Note, { text: 'slow' });
    reached.resolve();
    await mayGoOn.promise;
    return 'done';
  }
}

@Processor('notes')
@WithDbContext()
class NoteJob extends WorkerHost {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    private readonly dbContext: DbContext,
  ) {
    super();
  }

  async process({ data }: { data: string }): Promise<void> {
    await this.session.insert(Note, { text: data });
    await hold?.(data);
  }

  @OnWorkerEvent('failed')
  async failed(_job: unknown, error: unknown): Promise<void> {
    failures.push([error, this.dbContext.isActive()]);
  }
}

/** A module of the application that saves something as it is closed. */
@Injectable()
class LastWill implements OnApplicationShutdown {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    private readonly dbContext: DbContext,
    @InjectQueue('notes') readonly queue: Queue,
  ) {}

  async onApplicationShutdown(): Promise<void> {
    await this.dbContext.run(() => this.session.insert(Note, { text: 'last will' }));
  }
}

describeWithRedis('shutdown beside @nestjs/bullmq', () => {
  let redis: TestRedis;
  let database: TestDatabase;
  let stop: (() => Promise<void>) | undefined;

  beforeAll(async () => {
    [redis, database] = await Promise.all([startRedis(), createTestDatabase()]);
    await database.query(NOTE_SCHEMA);
  });
  afterAll(async () => {
    await redis.stop();
    await database.drop();
  });
  beforeEach(async () => {
    reached = deferred();
    mayGoOn = deferred();
    failures = [];
    hold = undefined;
    await database.query('truncate note restart identity');
  });
  afterEach(async () => {
    mayGoOn.resolve();
    await stop?.();
  });

  const start = async (order: 'before' | 'after', shutdownTimeoutMs = 5_000) => {
    const bull = BullModule.forRoot({ connection: redis.connection, prefix: randomUUID() });
    const context = DbContextModule.forRoot({
      connections: [noteConnection(database.url)],
      watch: false,
      shutdownTimeoutMs,
    });
    const testingModule = await Test.createTestingModule({
      imports: [
        ...(order === 'before' ? [context, bull] : [bull, context]),
        BullModule.registerQueue({ name: 'notes' }),
      ],
      controllers: [SlowController],
      providers: [NoteJob, LastWill],
    }).compile();
    const app = testingModule.createNestApplication({ logger: false });
    stop = () => app.close();
    await app.listen(0, '127.0.0.1');
    return {
      app,
      url: await app.getUrl(),
      queue: app.get<Queue>(getQueueToken('notes')),
      registry: app.get(ContextRegistry),
      connection: app.get<DbConnection>(getConnectionToken()),
    };
  };
  const count = async (): Promise<number> => {
    const [row] = await database.query<{ n: number }>('select count(*)::int as n from note');
    return row!.n;
  };
  const texts = async (): Promise<string[]> =>
    (await database.query<{ text: string }>('select text from note order by text')).map(
      ({ text }) => text,
    );

  it.each(['before', 'after'] as const)(
    'H3: no job fails of 500 that wait while a slow request drains (DbContextModule imported %s BullModule)',
    async (order) => {
      const { app, url, queue, registry, connection } = await start(order);
      const slow = fetch(`${url}/slow`);
      await reached.promise;
      await queue.addBulk(
        Array.from({ length: 500 }, (_, index) => ({ name: 'note', data: `job ${index}` })),
      );
      await waitFor(async () => (await count()) > 0, { what: 'the first jobs' });
      const closing = app.close();
      await waitFor(() => registry.shutdown.hasBegun, { what: 'the drain to begin' });
      const before = await count();
      await waitFor(async () => (await count()) > before + 20, { what: 'jobs in the drain' });
      mayGoOn.resolve();
      expect((await slow).status).toBe(200);
      await closing;
      expect(failures).toEqual([]);
      expect(await texts()).toEqual(expect.arrayContaining(['last will', 'slow']));
      expect(connection.poolState()).toMatchObject({ checkedOut: 0, idle: 0, waiting: 0 });
    },
  );

  it('H3, W1: a job that never returns is rolled back, fails by its name, and does not hold the process', async () => {
    const { app, queue } = await start('before', 300);
    hold = () => {
      reached.resolve();
      return deferred().promise;
    };
    await queue.add('note', 'hung');
    await reached.promise;
    await app.close();
    expect(failures).toEqual([
      [expect.objectContaining({ code: 'SHUTTING_DOWN', cutOff: 'NoteJob.process' }), true],
    ]);
    expect(await texts()).toEqual(['last will']);
  });
});
