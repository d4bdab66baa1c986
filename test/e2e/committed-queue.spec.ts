import { randomUUID } from 'node:crypto';

import type { EntityManager } from '@mikro-orm/postgresql';
import { BullModule, getQueueToken, Processor, WorkerHost } from '@nestjs/bullmq';
import { Body, Controller, Post } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import type { Job, Queue } from 'bullmq';
import { DbContext, InjectSession, InvalidOptionsError, WithDbContext } from 'nestjs-db-context';
import {
  CommittedQueue,
  DbContextBullModule,
  getCommittedQueueToken,
  InjectCommittedQueue,
  type JobReceipt,
} from 'nestjs-db-context/bullmq';

import { LogRecorder } from '../support/log-recorder.js';
import { Note } from '../support/note.entity.js';
import { describeWithRedis, startRedis, type TestRedis } from '../support/redis.js';
import type { AdapterName } from '../support/test-app.js';
import { startWorld, type TestWorld } from '../support/test-world.js';
import { waitFor } from '../support/wait-for.js';

interface NoteData {
  text: string;
}
/** What a job has seen of the note that it is about. */
interface Seen {
  readonly id: string | undefined;
  readonly text: string;
  readonly rows: number;
}

let seen: Seen[] = [];
let receipts: JobReceipt<NoteData>[] = [];

@Controller()
class NoteController {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    @InjectCommittedQueue('notes') private readonly queue: CommittedQueue<NoteData>,
    private readonly dbContext: DbContext,
  ) {}

  @Post('save')
  async save(@Body() data: NoteData): Promise<JobReceipt<NoteData>> {
    this.session.persist(new Note(data.text));
    const receipt = await this.queue.add('saved', data);
    // The job is what it was when it was added.
    data.text = 'changed afterwards';
    await this.session.flush();
    return receipt;
  }

  @Post('fail')
  async fail(@Body() data: NoteData): Promise<void> {
    await this.session.persist(new Note(data.text)).flush();
    await this.queue.add('failed', data);
    throw new Error('after the job was added');
  }

  @Post('savepoint')
  async savepoint(): Promise<void> {
    await this.session.insert(Note, { text: 'outer' });
    await this.queue.add('outer', { text: 'outer' });
    await this.session
      .transactional(async (em) => {
        await em.insert(Note, { text: 'undone' });
        await this.queue.add('undone', { text: 'undone' });
        throw new Error('undo');
      })
      .catch(() => undefined);
  }

  @Post('bulk')
  async bulk(): Promise<void> {
    await this.session.insert(Note, { text: 'bulk' });
    receipts = await this.queue.addBulk([
      { name: 'first', data: { text: 'bulk' } },
      { name: 'second', data: { text: 'bulk' }, opts: { jobId: 'own-id' } },
      { name: 'third', data: { text: 'bulk' }, opts: { deduplication: { id: 'once' } } },
    ]);
  }

  @Post('refused')
  async refused(): Promise<void> {
    await this.session.insert(Note, { text: 'refused' });
    await this.queue.add('refused', { text: 'refused' }, { priority: 0.5 });
  }

  @Post('job-id')
  async jobId(): Promise<void> {
    await this.session.insert(Note, { text: 'job id' });
    await this.queue.add('refused', { text: 'job id' }, { jobId: '0:a:b' });
  }

  /** Gives the queue itself one job before any work, and two after it. */
  @Post('early')
  async early(@Body() data: NoteData): Promise<void> {
    const { queue } = this.queue;
    await queue.add('of no work', data);
    await this.session.insert(Note, data);
    await this.queue.add('committed', data);
    await queue.add('early', data);
    await queue.add('early again', data);
  }

  @Post('circle')
  async circle(): Promise<void> {
    const circle: NoteData & { self?: unknown } = { text: 'circle' };
    circle.self = circle;
    await this.session.insert(Note, { text: 'circle' });
    await this.queue.add('circle', circle);
  }
}

@Processor('notes')
@WithDbContext()
class NoteJob extends WorkerHost {
  constructor(@InjectSession() private readonly session: EntityManager) {
    super();
  }

  async process(job: Job<NoteData>): Promise<void> {
    const { text } = job.data;
    seen.push({ id: job.id, text, rows: await this.session.count(Note, { text }) });
  }
}

const startWith = (redis: TestRedis, adapter: AdapterName, sendTimeoutMs?: number) =>
  startWorld(
    {},
    {
      adapter,
      watch: true,
      imports: [
        BullModule.forRoot({ connection: redis.connection, prefix: randomUUID() }),
        DbContextBullModule.registerQueue({
          name: 'notes',
          ...(sendTimeoutMs !== undefined && { sendTimeoutMs }),
        }),
      ],
      controllers: [NoteController],
      providers: [NoteJob],
    },
  );
const post = (world: TestWorld, path: string, body: object = {}): Promise<Response> =>
  world.fetch(path, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });

describeWithRedis('a queue that waits for the commit', () => {
  let redis: TestRedis;

  beforeAll(async () => {
    redis = await startRedis();
  });
  afterAll(() => redis.stop());
  beforeEach(() => {
    seen = [];
    receipts = [];
  });

  describe.each<AdapterName>(['express', 'fastify'])('over %s', (adapter) => {
    let world: TestWorld;
    let queue: Queue;

    beforeAll(async () => {
      world = await startWith(redis, adapter);
      queue = world.app.get<Queue>(getQueueToken('notes'));
    });
    afterAll(() => world?.close());
    beforeEach(() => world.database.query('truncate note restart identity'));

    const jobs = (): Promise<Job[]> => queue.getJobs();
    const committedQueue = (): CommittedQueue<NoteData> =>
      world.app.get(getCommittedQueueToken('notes'));

    it('W1, C5: the worker sees the row of the job, which has the id and the data of its receipt', async () => {
      const held: (string | undefined)[] = [];
      world.proxy.onStatement = async (sql) => {
        if (sql === 'commit') {
          held.push(...(await jobs()).map(({ id }) => id));
        }
      };
      const response = await post(world, '/save', { text: 'saved' });
      world.proxy.onStatement = undefined;
      const receipt = (await response.json()) as { state: string; id: string };
      expect([response.status, receipt.state]).toEqual([201, 'held']);
      await waitFor(() => seen.length > 0, { what: 'the job' });
      expect(seen).toEqual([{ id: receipt.id, text: 'saved', rows: 1 }]);
      expect(held).toEqual([]);
    });

    it('W1, C5: no job is sent for what is rolled back: a request, a savepoint', async () => {
      expect((await post(world, '/fail', { text: 'failed' })).status).toBe(500);
      expect((await post(world, '/savepoint')).status).toBe(201);
      await waitFor(() => seen.length > 0, { what: 'the job of the outer transaction' });
      expect(await world.savedTexts()).toEqual(['outer']);
      expect((await jobs()).map(({ name }) => name).filter((name) => name !== 'saved')).toEqual([
        'outer',
      ]);
    });

    it('W1: addBulk() sends all jobs in one step', async () => {
      expect((await post(world, '/bulk')).status).toBe(201);
      expect(receipts).toEqual([
        { state: 'held', id: expect.any(String) },
        { state: 'held', id: 'own-id' },
        { state: 'held', id: undefined },
      ]);
      await waitFor(() => seen.length === 3, { what: 'all jobs' });
      expect(seen.map(({ rows }) => rows)).toEqual([1, 1, 1]);
    });

    it('W1: what BullMQ refuses fails the request, rather than be lost after its commit', async () => {
      expect((await post(world, '/refused')).status).toBe(500);
      expect((await post(world, '/circle')).status).toBe(500);
      expect((await post(world, '/job-id')).status).toBe(500);
      expect(await world.savedTexts()).toEqual([]);
    });

    it('W1: what the queue itself is given before the commit is warned of, once, where the watch is on', async () => {
      const log = new LogRecorder();
      world.app.useLogger(log);
      await post(world, '/early', { text: 'early' });
      await post(world, '/early', { text: 'early again' });
      await waitFor(() => seen.length === 8, { what: 'all jobs' });
      expect(log.ofLibrary('warn')).toEqual([
        expect.stringMatching(
          /^NoteController\.early has added the job early to the queue "notes" before its commit/,
        ),
      ]);
    });

    it('W1: where no context is active the job is sent at once', async () => {
      const receipt = await committedQueue().add('now', { text: 'now' });
      expect(receipt).toMatchObject({ state: 'sent', job: { name: 'now' } });
      expect(await queue.getJob(receipt.id!)).toMatchObject({ data: { text: 'now' } });
      await waitFor(() => seen.length > 0, { what: 'the job' });
    });
  });

  it('is refused with a limit that is none', () => {
    const register = (): unknown =>
      DbContextBullModule.registerQueue({ name: 'notes', sendTimeoutMs: 0 });
    expect(register).toThrow(InvalidOptionsError);
    expect(register).toThrow('The queue "notes" has sendTimeoutMs: 0.');
  });

  it('is refused without DbContextModule.forRoot()', async () => {
    const booting = Test.createTestingModule({
      imports: [
        BullModule.forRoot({ connection: redis.connection }),
        DbContextBullModule.registerQueue({ name: 'notes' }),
      ],
    })
      .overrideProvider(getQueueToken('notes'))
      .useValue({})
      .compile();
    await expect(booting).rejects.toThrow(InvalidOptionsError);
    await expect(booting).rejects.toThrow(
      'DbContextBullModule.registerQueue() is imported, and DbContextModule.forRoot() is missing.',
    );
  });

  it('W1: a job that Redis does not take after the commit is in the log, with its route; the row stays', async () => {
    const own = await startRedis();
    const world = await startWith(own, 'express', 200);
    const log = new LogRecorder();
    try {
      world.app.useLogger(log);
      world.app.get<Queue>(getQueueToken('notes')).on('error', () => undefined);
      world.app.get(NoteJob).worker.on('error', () => undefined);
      await own.stop();
      const response = await post(world, '/save', { text: 'saved' });
      expect(response.status).toBe(201);
      expect(await world.savedTexts()).toEqual(['saved']);
      expect(log.ofLibrary('error')).toEqual([
        expect.stringMatching(
          /saved \(id [\w-]+\) for the queue "notes" could not be sent after the commit of NoteController\.save within 200 ms \(sendTimeoutMs\)\./,
        ),
      ]);
    } finally {
      await own.restart();
      await world.close();
      await own.stop();
    }
  });
});
