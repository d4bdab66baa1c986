import { randomUUID } from 'node:crypto';

import type { EntityManager } from '@mikro-orm/postgresql';
import { BullModule, Processor, WorkerHost } from '@nestjs/bullmq';
import { Module, type INestApplicationContext, type Type } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { Queue, type Job } from 'bullmq';
import { DbContextModule, InjectSession, WithDbContext } from 'nestjs-db-context';
import {
  DbContextBullModule,
  InjectCommittedQueue,
  type CommittedQueue,
} from 'nestjs-db-context/bullmq';

import { ContextRegistry } from '../../lib/context/context-registry.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { deferred, type Deferred } from '../support/deferred.js';
import { LogRecorder } from '../support/log-recorder.js';
import { Note, NOTE_SCHEMA } from '../support/note.entity.js';
import { describeWithRedis, startRedis, type TestRedis } from '../support/redis.js';
import { noteConnection } from '../support/test-app.js';
import { waitFor } from '../support/wait-for.js';

let reached: Deferred<void>;
let mayGoOn: Deferred<void>;

/** A job that saves a row, and sends the next job with its commit. */
@Processor('work')
@WithDbContext()
class WorkJob extends WorkerHost {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    @InjectCommittedQueue('next') private readonly next: CommittedQueue<string>,
  ) {
    super();
  }

  async process({ data }: Job<string>): Promise<void> {
    await this.session.insert(Note, { text: data });
    await this.next.add('next', data);
    await this.next.addBulk([{ name: 'bulk', data }]);
    reached.resolve();
    await mayGoOn.promise;
  }
}

const next = (): ReturnType<typeof DbContextBullModule.registerQueue> =>
  DbContextBullModule.registerQueue({ name: 'next' });
const work = (): ReturnType<typeof BullModule.registerQueue> =>
  BullModule.registerQueue({ name: 'work' });

/** How an application may put its queues and its processor into modules. */
const LAYOUTS: Record<string, (root: object[]) => { imports: object[]; providers: Type[] }> = {
  'all in the AppModule': (root) => ({
    imports: [...root, next(), work()],
    providers: [WorkJob],
  }),
  'the queues before forRoot()': (root) => ({
    imports: [next(), work(), ...root],
    providers: [WorkJob],
  }),
  'the processor in a feature module': (root) => {
    const queues = next();
    @Module({ imports: [queues], exports: [queues] })
    class Queues {}
    @Module({ imports: [Queues, work()], providers: [WorkJob] })
    class Feature {}
    return { imports: [...root, Feature], providers: [] };
  },
};

describeWithRedis('what a job sends with its commit in a shutdown', () => {
  let redis: TestRedis;
  let database: TestDatabase;

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
    await database.query('truncate note restart identity');
  });

  it.each(Object.keys(LAYOUTS))(
    'H3, W1: no job is completed whose follow-up is lost (%s)',
    async (layout) => {
      const prefix = randomUUID();
      const log = new LogRecorder();
      const root = [
        DbContextModule.forRoot({ connections: [noteConnection(database.url)], watch: false }),
        BullModule.forRoot({ connection: redis.connection, prefix }),
      ];
      const testingModule = await Test.createTestingModule(LAYOUTS[layout]!(root) as object)
        .setLogger(log)
        .compile();
      const app: INestApplicationContext = await testingModule.init();
      const [workQueue, nextQueue] = ['work', 'next'].map(
        (name) => new Queue(name, { connection: redis.connection, prefix }),
      ) as [Queue, Queue];
      const clients = async (): Promise<number> => {
        const client = await nextQueue.getBackend().client;
        return (await client.clientList()).trim().split('\n').length;
      };
      try {
        await workQueue.addBulk(['first', 'second'].map((data) => ({ name: 'work', data })));
        await reached.promise;
        const closing = app.close();
        await waitFor(() => app.get(ContextRegistry).shutdown.hasBegun, { what: 'the drain' });
        mayGoOn.resolve();
        await closing;
        const completed = (await workQueue.getCompleted()).map(({ data }) => String(data));
        const rows = await database.query<{ text: string }>('select text from note order by text');
        const followUps = (await nextQueue.getWaiting()).map(({ name, data }) => `${name} ${data}`);
        expect(completed.length).toBeGreaterThan(0);
        expect(rows.map(({ text }) => text)).toEqual(completed.toSorted());
        expect(followUps.toSorted()).toEqual(
          completed.flatMap((data) => [`bulk ${data}`, `next ${data}`]).toSorted(),
        );
        expect(log.ofLibrary('error')).toEqual([]);
        // Those of the two queues of this test.
        await waitFor(async () => (await clients()) === 2, {
          what: 'all connections to be closed',
        });
      } finally {
        await Promise.all([workQueue.close(), nextQueue.close()]);
      }
    },
  );
});
