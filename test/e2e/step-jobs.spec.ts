import { randomUUID } from 'node:crypto';

import type { EntityManager } from '@mikro-orm/postgresql';
import {
  BullModule,
  getQueueToken,
  OnQueueEvent,
  OnWorkerEvent,
  Processor,
  QueueEventsHost,
  QueueEventsListener,
  WorkerHost,
} from '@nestjs/bullmq';
import {
  DelayedError,
  RateLimitError,
  WaitingChildrenError,
  WaitingError,
  type Job,
  type Queue,
} from 'bullmq';
import { InjectSession, WithDbContext } from 'nestjs-db-context';

import { LogRecorder } from '../support/log-recorder.js';
import { Note } from '../support/note.entity.js';
import { describeWithRedis, startRedis, type TestRedis } from '../support/redis.js';
import { startWorld, type TestWorld } from '../support/test-world.js';
import { waitFor } from '../support/wait-for.js';

class LaterError extends Error {}

@Processor('steps')
@WithDbContext()
class StepJob extends WorkerHost {
  constructor(@InjectSession() private readonly session: EntityManager) {
    super();
  }

  async process(job: Job<{ step?: string }>, token?: string): Promise<unknown> {
    const { step = 'first' } = job.data;
    await this.session.insert(Note, { text: `${job.name} ${step} ${job.attemptsMade}` });
    if (job.name === 'bigint') {
      return 1n;
    }
    if (job.name === 'circle') {
      const circle: { self?: unknown } = {};
      circle.self = circle;
      return circle;
    }
    if (step === 'first' && job.name !== 'child') {
      await job.updateData({ step: 'second' });
      await this.#goOnLater(job, token);
    }
    return null;
  }

  async #goOnLater(job: Job, token: string | undefined): Promise<void> {
    switch (job.name) {
      case 'delayed':
        await job.moveToDelayed(Date.now() + 1, token);
        throw new DelayedError();
      case 'waiting':
        await job.moveToWait(token);
        throw new WaitingError();
      case 'children':
        await queue.add('child', {}, { parent: { id: job.id!, queue: job.queueQualifiedName } });
        await job.moveToWaitingChildren(token!);
        throw new WaitingChildrenError();
      case 'rate':
        await this.worker.rateLimit(1);
        throw new RateLimitError();
      default:
        throw new Error('a failure');
    }
  }

  // Synchronous, which the decorator turns into a promise that nobody awaits.
  @OnWorkerEvent('completed')
  completed({ name }: Job): void {
    if (name === 'waiting') {
      throw new Error('a listener of the worker');
    }
  }
}

@QueueEventsListener('steps')
@WithDbContext()
class StepEvents extends QueueEventsHost {
  @OnQueueEvent('completed')
  completed(): void {
    throw new Error('a listener of the queue');
  }
}

/** A job that says by an error of the application that it goes on later. */
@Processor('own')
class OwnJob extends WorkerHost {
  constructor(@InjectSession() private readonly session: EntityManager) {
    super();
  }

  @WithDbContext({ commitOnError: (error) => error instanceof LaterError })
  async process(job: Job): Promise<void> {
    await this.session.insert(Note, { text: `${job.name} ${job.attemptsMade}` });
    throw job.attemptsMade === 0 ? new LaterError() : new DelayedError();
  }
}

let queue: Queue;

describeWithRedis('jobs of several steps', () => {
  let redis: TestRedis;
  let world: TestWorld;
  const log = new LogRecorder();

  beforeAll(async () => {
    redis = await startRedis();
    world = await startWorld(
      {},
      {
        imports: [
          BullModule.forRoot({ connection: redis.connection, prefix: randomUUID() }),
          BullModule.registerQueue({ name: 'steps' }, { name: 'own' }),
        ],
        providers: [StepJob, StepEvents, OwnJob],
        configure: (app) => app.useLogger(log),
      },
    );
    queue = world.app.get<Queue>(getQueueToken('steps'));
  });
  afterAll(async () => {
    await world?.close();
    await redis.stop();
  });
  beforeEach(async () => {
    log.lines.length = 0;
    await world.database.query('truncate note restart identity');
  });

  /** Runs a job to its end. */
  const end = async (name: string, of: Queue, attempts = 1): Promise<string> => {
    const { id } = await of.add(name, {}, { attempts });
    let state = '';
    const isOver = async (): Promise<boolean> => {
      state = await of.getJobState(id!);
      return state === 'completed' || state === 'failed';
    };
    await waitFor(isOver, { what: 'the job' });
    const job = (await of.getJob(id!)) as Job;
    return `${state} ${job.failedReason ?? ''}`.trim();
  };

  it.each(['delayed', 'waiting', 'children', 'rate'])(
    'W1: the step of a job that goes on later is saved (%s)',
    async (name) => {
      expect(await end(name, queue)).toBe('completed');
      expect((await world.savedTexts()).filter((text) => text.startsWith(name))).toEqual([
        `${name} first 0`,
        expect.stringMatching(`^${name} second`),
      ]);
    },
  );

  it.each([
    ['bigint', /^failed Do not know how to serialize a BigInt/],
    ['circle', /^failed Converting circular structure to JSON/],
  ])(
    'W1: a job whose result cannot be kept fails, and saves nothing (%s)',
    async (name, outcome) => {
      expect(await end(name, queue, 2)).toMatch(outcome);
      expect(await world.savedTexts()).toEqual([]);
    },
  );

  it('W1: commitOnError of the decorator takes the place of what BullMQ has', async () => {
    const own = world.app.get<Queue>(getQueueToken('own'));
    expect(await end('own', own)).toBe('failed');
    expect(await world.savedTexts()).toEqual(['own 0']);
  });

  it('S8: in a context that is active already the handler joins it, errors included', async () => {
    const job = { name: 'bigint', data: {}, attemptsMade: 0 } as Job;
    const handler = world.app.get(StepJob);
    expect(await world.dbContext.run(() => handler.process(job))).toBe(1n);
    expect(await world.savedTexts()).toEqual(['bigint first 0']);
  });

  it('W1: listeners that throw are in the log, and do not end the process', async () => {
    expect(await end('waiting', queue)).toBe('completed');
    await waitFor(() => log.ofLibrary('error').length >= 2, { what: 'both listeners' });
    expect(log.ofLibrary('error').toSorted()).toEqual([
      'StepEvents.completed failed: a listener of the queue',
      'StepJob.completed failed: a listener of the worker',
    ]);
  });
});
