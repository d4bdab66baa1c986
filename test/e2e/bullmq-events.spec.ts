import { randomUUID } from 'node:crypto';

import type { EntityManager } from '@mikro-orm/postgresql';
import {
  BullModule,
  getQueueToken,
  InjectFlowProducer,
  OnWorkerEvent,
  Processor,
  WorkerHost,
} from '@nestjs/bullmq';
import { Controller, Param, Post } from '@nestjs/common';
import type { FlowProducer, Job, Queue } from 'bullmq';
import { DbContext, InjectSession, WithDbContext } from 'nestjs-db-context';
import {
  DbContextBullModule,
  InjectCommittedQueue,
  type CommittedQueue,
} from 'nestjs-db-context/bullmq';

import { LogRecorder } from '../support/log-recorder.js';
import { Note } from '../support/note.entity.js';
import { describeWithRedis, startRedis, type TestRedis } from '../support/redis.js';
import { startWorld, type TestWorld } from '../support/test-world.js';
import { waitFor } from '../support/wait-for.js';

/** What an event of the worker has seen. */
let events: unknown[] = [];

@Processor('notes')
@WithDbContext()
class NoteJob extends WorkerHost {
  constructor(@InjectSession() private readonly session: EntityManager) {
    super();
  }

  async process({ name, data }: Job<string>): Promise<number> {
    await this.session.execute('set constraints all deferred');
    await this.session.insert(Note, { text: data });
    if (name === 'twice') {
      await this.session.insert(Note, { text: data });
    }
    return this.session.count(Note);
  }

  @OnWorkerEvent('completed')
  async completed({ name, data }: Job<string>, rows: number): Promise<void> {
    events.push([name, rows, await this.session.count(Note, { text: data })]);
    if (name === 'no listener') {
      // The duplicate is found by the COMMIT of the listener.
      await this.session.execute('set constraints all deferred');
      await this.session.insert(Note, { text: data });
    }
  }

  @OnWorkerEvent('failed')
  async failed({ name, data, attemptsMade, opts }: Job<string>, error: Error): Promise<void> {
    events.push([name, attemptsMade, error.constructor.name]);
    if (attemptsMade === opts.attempts) {
      await this.session.insert(Note, { text: `given up: ${data}` });
    }
  }
}

@Controller()
class NoteController {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    @InjectCommittedQueue('notes') private readonly notes: CommittedQueue<string>,
    @InjectFlowProducer('flows') private readonly flows: FlowProducer,
    private readonly dbContext: DbContext,
  ) {}

  @Post('delayed/:end')
  async delayed(@Param('end') end: string): Promise<void> {
    await this.session.insert(Note, { text: 'request' });
    await this.notes.add('later', 'delayed', { delay: 600_000 });
    await this.notes.addBulk([{ name: 'later', data: 'bulk', opts: { delay: 600_000 } }]);
    this.#end(end);
  }

  @Post('flow/:end')
  async flow(@Param('end') end: string): Promise<void> {
    await this.session.insert(Note, { text: 'request' });
    this.dbContext.onCommit(() =>
      this.flows.add({
        name: 'parent',
        queueName: 'notes',
        data: 'parent',
        children: [{ name: 'child', queueName: 'notes', data: 'child' }],
      }),
    );
    this.#end(end);
  }

  @Post('scheduler/:end')
  async scheduler(@Param('end') end: string): Promise<void> {
    await this.session.insert(Note, { text: 'request' });
    const { queue } = this.notes;
    this.dbContext.onCommit(() =>
      queue.upsertJobScheduler('once', { every: 600_000, limit: 1 }, { name: 'run', data: 'run' }),
    );
    this.#end(end);
  }

  #end(end: string): void {
    if (end === 'fails') {
      throw new Error('the request');
    }
  }
}

describeWithRedis('jobs of BullMQ and what follows them', () => {
  let redis: TestRedis;
  let world: TestWorld;
  let queue: Queue<string>;
  const log = new LogRecorder();

  beforeAll(async () => {
    redis = await startRedis();
    world = await startWorld(
      {},
      {
        imports: [
          BullModule.forRoot({ connection: redis.connection, prefix: randomUUID() }),
          BullModule.registerFlowProducer({ name: 'flows' }),
          DbContextBullModule.registerQueue({ name: 'notes' }),
        ],
        controllers: [NoteController],
        providers: [NoteJob],
        configure: (app) => app.useLogger(log),
      },
    );
    queue = world.app.get<Queue<string>>(getQueueToken('notes'));
  });
  afterAll(async () => {
    await world?.close();
    await redis.stop();
  });
  beforeEach(async () => {
    events = [];
    log.lines.length = 0;
    await queue.obliterate({ force: true });
    await queue.resume();
    await world.database.query('truncate note restart identity');
  });

  const post = async (path: string): Promise<number> =>
    (await world.fetch(path, { method: 'POST' })).status;

  it('W1: "completed" comes after the COMMIT of the job, in a context of its own', async () => {
    await queue.add('once', 'done');
    await waitFor(() => events.length > 0, { what: 'the event' });
    expect(events).toEqual([['once', 1, 1]]);
  });

  it('W1: a COMMIT that fails is a failed attempt; what "failed" does is saved', async () => {
    await queue.add('twice', 'twice', { attempts: 2 });
    await waitFor(async () => (await world.savedTexts()).length > 0, { what: 'the last attempt' });
    expect(events).toEqual([
      ['twice', 1, 'UniqueConstraintViolationException'],
      ['twice', 2, 'UniqueConstraintViolationException'],
    ]);
    expect(await world.savedTexts()).toEqual(['given up: twice']);
    expect(await queue.getFailedCount()).toBe(1);
  });

  it('W1: a listener of the worker whose COMMIT fails is in the log; nobody else gets its error', async () => {
    await queue.add('no listener', 'row');
    await waitFor(() => log.ofLibrary('error').length > 0, { what: 'the log' });
    expect(log.ofLibrary('error')).toEqual([
      expect.stringMatching(/^NoteJob\.completed failed: duplicate key .* "note_text_unique"/s),
    ]);
    expect(await queue.getCompletedCount()).toBe(1);
    expect(await world.savedTexts()).toEqual(['row']);
  });

  it.each([
    ['delayed jobs', '/delayed', ['delayed: bulk', 'delayed: delayed']],
    ['a flow', '/flow', ['completed: child', 'completed: parent']],
    ['a scheduler', '/scheduler', ['completed: run']],
  ])('W1, C5: %s begin with the commit, and not without one', async (_, path, expected) => {
    const states = async (): Promise<string[]> => {
      const jobs = await queue.getJobs();
      return Promise.all(jobs.map(async (job) => `${await job.getState()}: ${job.data}`));
    };
    expect(await post(`${path}/fails`)).toBe(500);
    expect([await states(), await queue.getJobSchedulersCount()]).toEqual([[], 0]);
    expect(await post(`${path}/succeeds`)).toBe(201);
    let seen: string[] = [];
    await waitFor(
      async () => {
        seen = (await states()).toSorted();
        return seen.length === expected.length && seen.every((one) => !/wait|active/.test(one));
      },
      { what: 'the jobs' },
    );
    expect(seen).toEqual(expected);
    const done = expected.filter((one) => one.startsWith('completed')).length;
    await waitFor(() => events.length === done, { what: 'their events' });
    expect(await world.savedTexts()).toHaveLength(1 + done);
  });
});
