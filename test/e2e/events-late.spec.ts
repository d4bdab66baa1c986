import { Inject, Injectable, Scope } from '@nestjs/common';
import { EventEmitter2, EventEmitterModule } from '@nestjs/event-emitter';
import type { EntityManager } from '@mikro-orm/postgresql';
import { CommitOutcomeUnknownError, InjectSession } from 'nestjs-db-context';
import { OnCommitted } from 'nestjs-db-context/event-emitter';

import { deferred, type Deferred } from '../support/deferred.js';
import { LogRecorder } from '../support/log-recorder.js';
import { Note } from '../support/note.entity.js';
import { startWorld, type TestWorld } from '../support/test-world.js';
import { fail, useWorld } from '../support/use-world.js';

// A bare symbol, which the emitter knows only without wildcards.
const CREATED = Symbol('created');

@Injectable()
class Listener {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  @OnCommitted('created')
  @OnCommitted(CREATED)
  async onCreated(text: string): Promise<void> {
    calls.push(`${text} sees ${(await world.savedTexts()).join()}`);
    await this.session.insert(Note, { text: `${text} handled` });
    done.resolve();
  }

  @OnCommitted('fails')
  onFailure(): void {
    throw new Error('the listener failed');
  }
}

@Injectable({ scope: Scope.REQUEST })
class RequestScopedListener {
  constructor(
    @Inject('GATE') readonly gate: unknown,
    @InjectSession() private readonly session: EntityManager,
  ) {}

  @OnCommitted('scoped')
  async onScoped(text: string): Promise<void> {
    calls.push(`${text} sees ${(await world.savedTexts()).join()}`);
    await this.session.insert(Note, { text: `${text} handled` });
    done.resolve();
  }
}

const shared = useWorld(
  () =>
    startWorld(
      {},
      {
        imports: [EventEmitterModule.forRoot()],
        providers: [
          Listener,
          RequestScopedListener,
          { provide: 'GATE', scope: Scope.REQUEST, useFactory: () => gate },
        ],
      },
    ),
  { hasLateWork: true },
);
const { run, insert } = shared;
let world: TestWorld;
let session: EntityManager;
let emitter: EventEmitter2;
const log = new LogRecorder();
let calls: string[] = [];
/** Resolved by the listener. */
let done: Deferred<void>;
/** Awaited before a request-scoped listener is made. */
let gate: Promise<void> | undefined;

beforeAll(() => {
  ({ world, session } = shared);
  emitter = world.app.get(EventEmitter2);
  world.app.useLogger(log);
});

beforeEach(() => {
  log.lines.length = 0;
  calls = [];
  done = deferred();
  gate = undefined;
  world.proxy.onStatement = undefined;
});

/** Lets all that needs no input or output come to its end. */
const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('an event from work that nobody awaited', () => {
  it('C5: is heard in a context of its own, when its context has committed', async () => {
    const later = deferred();
    let late: Promise<unknown> | undefined;
    await run(async () => {
      await insert('a');
      late = later.promise.then(() => emitter.emitAsync(CREATED, 'late'));
    });
    later.resolve();
    expect(await late).toEqual([undefined]);
    await done.promise;
    await world.serverIsIdle();
    expect(calls).toEqual(['late sees a']);
    expect(await world.savedTexts()).toEqual(['a', 'late handled']);
  });

  it('C5: is dropped, when its context was rolled back', async () => {
    const later = deferred();
    let late: Promise<unknown> | undefined;
    await run(async () => {
      await insert('a');
      late = later.promise.then(() => emitter.emitAsync('created', 'never'));
      fail();
    }).catch(() => undefined);
    later.resolve();
    await late;
    await settled();
    expect(calls).toEqual([]);
    expect(log.ofLibrary('error')).toEqual([]);
  });

  it('C5: waits for a commit that is under way', async () => {
    const commit = holdCommit();
    const later = deferred();
    let late: Promise<unknown> | undefined;
    const request = run(async () => {
      await insert('a');
      late = later.promise.then(() => emitter.emitAsync('created', 'late'));
    });
    await commit.arrived;
    later.resolve();
    await late;
    await settled();
    expect(calls).toEqual([]);
    commit.release();
    await request;
    await done.promise;
    expect(calls).toEqual(['late sees a']);
  });

  it('C5: is dropped with a commit that is under way and fails', async () => {
    const commit = holdCommit();
    const later = deferred();
    let late: Promise<unknown> | undefined;
    const request = run(async () => {
      await insert('a');
      late = later.promise.then(() => emitter.emitAsync('created', 'never'));
    });
    await commit.arrived;
    later.resolve();
    await late;
    world.proxy.cut();
    commit.release();
    await expect(request).rejects.toMatchObject({
      constructor: CommitOutcomeUnknownError,
      code: 'COMMIT_OUTCOME_UNKNOWN',
      cause: { message: expect.stringContaining('ECONNRESET') },
    });
    await settled();
    expect(calls).toEqual([]);
  });

  it('C5: a listener that throws is logged', async () => {
    const later = deferred();
    let late: Promise<unknown> | undefined;
    await run(async () => {
      late = later.promise.then(() => emitter.emitAsync('fails'));
    });
    later.resolve();
    await late;
    await settled();
    expect(log.ofLibrary('error').join()).toContain('the listener failed');
  });
});

describe('a request-scoped listener', () => {
  it('C5: listens after the commit, in a context of its own', async () => {
    await run(async () => {
      await insert('a');
      await emitter.emitAsync('scoped', 'awaited');
      expect(calls).toEqual([]);
    });
    expect(calls).toEqual(['awaited sees a']);
    expect(await world.savedTexts()).toEqual(['a', 'awaited handled']);
  });

  it('C5: does not listen when the context, or its savepoint, is rolled back', async () => {
    await run(async () => {
      await emitter.emitAsync('scoped', 'never');
      fail();
    }).catch(() => undefined);
    const opened = deferred();
    gate = opened.promise;
    await run(async () => {
      let emission: Promise<unknown> | undefined;
      await session
        .transactional(async () => {
          emission = emitter.emitAsync('scoped', 'never');
          fail();
        })
        .catch(() => undefined);
      opened.resolve();
      await emission;
    });
    expect(calls).toEqual([]);
  });

  it('C5: is made after the commit: listens nevertheless', async () => {
    const opened = deferred();
    gate = opened.promise;
    await run(async () => {
      await insert('a');
      emitter.emit('scoped', 'emitted');
    });
    expect(calls).toEqual([]);
    opened.resolve();
    await done.promise;
    expect(calls).toEqual(['emitted sees a']);
  });

  it('C5: is made after the rollback: does not listen', async () => {
    const opened = deferred();
    gate = opened.promise;
    let emission: Promise<unknown> | undefined;
    await run(async () => {
      await insert('a');
      emission = emitter.emitAsync('scoped', 'never');
      fail();
    }).catch(() => undefined);
    opened.resolve();
    await emission;
    await settled();
    expect(calls).toEqual([]);
  });

  it('C5: listens at once where no context is active', async () => {
    await emitter.emitAsync('scoped', 'alone');
    expect(calls).toEqual(['alone sees ']);
    expect(await world.savedTexts()).toEqual(['alone handled']);
  });
});

function holdCommit(): { readonly arrived: Promise<void>; readonly release: () => void } {
  const arrived = deferred();
  const released = deferred();
  world.proxy.onStatement = async (sql) => {
    if (/^commit/i.test(sql)) {
      arrived.resolve();
      await released.promise;
    }
  };
  return { arrived: arrived.promise, release: () => released.resolve() };
}
