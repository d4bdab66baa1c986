/** Interceptors that answer before the handler has returned: by `race()`, `timeout()` with a fallback, `take()`. */
import { Controller, Post, UseInterceptors, type NestInterceptor } from '@nestjs/common';
import type { EntityManager } from '@mikro-orm/postgresql';
import { InjectSession, UseAfterCommit, type DbContextOptions } from 'nestjs-db-context';
import { concat, defer, firstValueFrom, from, type Observable, of } from 'rxjs';

import { EarlyAnswers, FIRST_VALUE } from '../support/early-answers.js';
import { LogRecorder } from '../support/log-recorder.js';
import { Note } from '../support/note.entity.js';
import type { AdapterName } from '../support/test-app.js';
import { startWorld, type TestWorld } from '../support/test-world.js';
import { waitFor } from '../support/wait-for.js';

const early = new EarlyAnswers();
const fallback = early.fallback({ accepted: true });
const fire: NestInterceptor = {
  intercept: (_context, next) => {
    next.handle().subscribe({ error: () => undefined });
    return defer(() => early.reached.promise.then(() => ({ accepted: true })));
  },
};
const fallbackByPromise: NestInterceptor = {
  intercept: (_context, next) =>
    from(
      Promise.race([
        firstValueFrom(next.handle()),
        early.reached.promise.then(() => ({ accepted: true })),
      ]),
    ),
};

@Controller()
class TransferController {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  @UseInterceptors(fallback)
  @Post('race')
  race(): Promise<unknown> {
    return early.transfer(this.session, { done: true });
  }

  @UseAfterCommit(fallback)
  @Post('around')
  around(): Promise<unknown> {
    return this.race();
  }

  @UseAfterCommit(fallback)
  @Post('around-reads')
  aroundReads(): Promise<unknown> {
    return this.reads();
  }

  @UseAfterCommit(fallback)
  @Post('violates')
  async violates(): Promise<void> {
    await this.session.execute('set constraints note_text_unique deferred');
    await this.session.insert(Note, { text: 'twice' });
    await this.session.insert(Note, { text: 'twice' });
  }

  @UseAfterCommit(fallbackByPromise)
  @Post('violates-by-promise')
  violatesByPromise(): Promise<void> {
    return this.violates();
  }

  @UseInterceptors(fire)
  @Post('fire')
  fire(): Promise<unknown> {
    return this.race();
  }

  @UseInterceptors(fallback)
  @Post('persisted')
  persisted(): Promise<unknown> {
    return early.persisted(this.session, { done: true });
  }

  @UseInterceptors(fallback)
  @Post('observable')
  observable(): Observable<unknown> {
    return from(defer(() => this.race()));
  }

  @UseInterceptors(fallback)
  @Post('untouched')
  untouched(): Promise<unknown> {
    return early.ending({ done: true }, async () => {
      await early.halfWay();
      await this.session.insert(Note, { text: 'late' });
    });
  }

  @UseInterceptors(fallback)
  @Post('reads')
  reads(): Promise<unknown> {
    return early.ending({ done: true }, async () => {
      await this.session.count(Note);
      await early.halfWay();
    });
  }

  @UseInterceptors(FIRST_VALUE)
  @Post('values')
  values(): Observable<unknown> {
    return concat(
      defer(() => this.session.insert(Note, { text: 'value' }).then(() => ({ value: 1 }))),
      of({ value: 2 }),
    );
  }
}

describe.each(
  (['express', 'fastify'] as const satisfies readonly AdapterName[]).flatMap((adapter) =>
    ([{}, { mount: 'middleware' }, { flush: 'commit' }] as const satisfies DbContextOptions[]).map(
      (options) => ({ adapter, options }),
    ),
  ),
)('handlers that are answered early, $adapter, $options', ({ adapter, options }) => {
  let world: TestWorld;
  let log: LogRecorder;

  beforeAll(async () => {
    world = await startWorld({}, { adapter, controllers: [TransferController], ...options });
  });
  afterAll(() => world?.close());
  beforeEach(async () => {
    early.reset();
    log = new LogRecorder();
    world.app.useLogger(log);
    await world.database.query('truncate note');
  });

  const post = async (path: string): Promise<readonly [number, unknown]> => {
    const response = await world.fetch(path, { method: 'POST' });
    return [response.status, await response.json()];
  };

  it.each(['race', 'fire', 'persisted', 'observable'])(
    'W3: half of what a handler writes is not committed (%s)',
    async (path) => {
      const [status] = await post(`/${path}`);
      early.mayGoOn.resolve();
      await early.ended.promise;
      expect([status, await world.savedTexts()]).toEqual([500, []]);
      expect(log.lines.map(({ message }) => message).join('\n')).toContain(
        'was rolled back instead of committed: its handler had not returned when it was answered in its place',
      );
    },
  );

  it('S2: the log says that an interceptor around the context has given up what was written', async () => {
    expect(await post('/around')).toEqual([201, { accepted: true }]);
    early.mayGoOn.resolve();
    expect(await early.ended.promise).toMatchObject({ code: 'SESSION_CLOSED' });
    await world.serverIsIdle();
    expect(await world.savedTexts()).toEqual([]);
    expect(log.ofLibrary('error')).toContainEqual(
      'The work of TransferController.around was rolled back: an interceptor around it (@UseAfterCommit(), or one ' +
        'above DbContextInterceptor) answered in its place before it was done.',
    );
  });

  it.each([
    ['violates', 'violates', 'an interceptor around it has answered in its place'],
    ['violates-by-promise', 'violatesByPromise', 'its response has been sent'],
  ])(
    'S1: the log says that what was answered in the middle of its commit is not saved (%s)',
    async (path, handler, why) => {
      world.proxy.onStatement = async (sql) => {
        if (/^commit/i.test(sql)) {
          early.reached.resolve();
          await early.mayGoOn.promise;
        }
      };
      try {
        expect(await post(`/${path}`)).toEqual([201, { accepted: true }]);
      } finally {
        world.proxy.onStatement = undefined;
        early.mayGoOn.resolve();
      }
      await waitFor(() => log.ofLibrary('error').length > 0, { what: 'the error in the log' });
      expect(log.ofLibrary('error')).toEqual([
        expect.stringContaining(
          `TransferController.${handler} could not be committed, and ${why}: UniqueConstraintViolation`,
        ),
      ]);
      expect(await world.savedTexts()).toEqual([]);
    },
  );

  it('S2: the log says nothing of one that has only read', async () => {
    expect(await post('/around-reads')).toEqual([201, { accepted: true }]);
    early.mayGoOn.resolve();
    expect(await early.ended.promise).toBe('done');
    expect(log.ofLibrary('error')).toEqual([]);
    expect(log.ofLibrary('warn')).toEqual([]);
  });

  it('S5: one that has not begun to write is answered, and its failure is in the log', async () => {
    expect(await post('/untouched')).toEqual([201, { accepted: true }]);
    early.mayGoOn.resolve();
    expect(await early.ended.promise).toMatchObject({ code: 'SESSION_CLOSED' });
    await world.serverIsIdle();
    expect(await world.savedTexts()).toEqual([]);
    expect(log.ofLibrary('error').join('\n')).toContain(
      'failed after it had been answered in its place',
    );
  });

  it('S2: one that only reads is answered', async () => {
    expect(await post('/reads')).toEqual([201, { accepted: true }]);
    early.mayGoOn.resolve();
    expect(await early.ended.promise).toBe('done');
  });

  it('S2: one that has given a value is committed, whoever asks for no other', async () => {
    expect(await post('/values')).toEqual([201, { value: 1 }]);
    expect(await world.savedTexts()).toEqual(['value']);
  });
});
