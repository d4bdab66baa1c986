import { setImmediate } from 'node:timers/promises';

import type { EntityManager } from '@mikro-orm/postgresql';
import { Controller, Get, Post } from '@nestjs/common';
import { DbContext, InjectSession, type DbContextOptions } from 'nestjs-db-context';
import {
  dbContextChannels,
  UNMASKED,
  type ContextEndEvent,
  type FindingEvent,
} from 'nestjs-db-context/telemetry';

import { deferred, type Deferred } from '../support/deferred.js';
import { LogRecorder } from '../support/log-recorder.js';
import { Note } from '../support/note.entity.js';
import { withPrepareStackTrace } from '../support/prepare-stack-trace.js';
import { startWorld, type TestWorld } from '../support/test-world.js';
import { waitFor } from '../support/wait-for.js';

let mayGoOn: Deferred<void>;

@Controller()
class SlowController {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    private readonly dbContext: DbContext,
  ) {}

  @Get('slow')
  async slow(): Promise<string> {
    await mayGoOn.promise;
    return 'done';
  }

  @Get('holding')
  async holding(): Promise<string> {
    await this.session.count(Note);
    await mayGoOn.promise;
    return 'done';
  }

  @Get('executing')
  async executing(): Promise<string> {
    await this.session.execute('select 1 as one');
    await mayGoOn.promise;
    return 'done';
  }

  @Get('letting-go')
  async lettingGo(): Promise<string> {
    await this.session.count(Note);
    await this.dbContext.close();
    await mayGoOn.promise;
    return 'done';
  }

  @Get('unawaited')
  unawaited(): string {
    void mayGoOn.promise.then(() => this.session.count(Note)).catch(() => undefined);
    return 'done';
  }

  @Post('parallel')
  async parallel(): Promise<void> {
    await Promise.all(
      ['a', 'b'].map((text) => {
        this.session.persist(new Note(text));
        return this.session.flush();
      }),
    );
  }

  @Post('one-by-one')
  async oneByOne(): Promise<void> {
    for (const text of ['a', 'b']) {
      await this.session.persist(new Note(text)).flush();
    }
  }
}

const log = new LogRecorder();
let world: TestWorld | undefined;

beforeEach(() => {
  mayGoOn = deferred();
  log.lines.length = 0;
});
afterEach(async () => {
  mayGoOn.resolve();
  await world?.close();
  world = undefined;
});

async function start(options: Partial<DbContextOptions>): Promise<TestWorld> {
  world = await startWorld({}, { controllers: [SlowController], ...options });
  world.app.useLogger(log);
  return world;
}
const quick = { contextOpenMs: 100, idleInTransactionMs: 100 };
const calm = { contextOpenMs: 60_000, idleInTransactionMs: 60_000 };
const warnings = (): string[] =>
  log.ofLibrary('warn').filter((line) => line.includes('The context of'));
const oneWarning = (): Promise<void> => waitFor(() => warnings().length > 0, { what: 'a warning' });

describe('the watch', () => {
  it('names a context that stays open, and where it was opened, or what it does', async () => {
    const { fetch, dbContext } = await start({ watch: { ...calm, contextOpenMs: 100 } });
    const answer = fetch('/slow');
    await oneWarning();
    // The framework has opened it: no line of that leads to the code that takes so long.
    expect(warnings()[0]).toMatch(
      /^The context of SlowController\.slow has been open for more than 100 ms, and has no transaction now\.$/m,
    );
    const holding = fetch('/holding');
    await waitFor(() => warnings().length > 1, { what: 'a warning of the next request' });
    expect(warnings()[1]).toMatch(
      /open for more than 100 ms\. Its last statement \(select count.* was sent:\n\s+at .*SlowController\.holding/,
    );
    mayGoOn.resolve();
    await Promise.all([answer, holding]);
    mayGoOn = deferred();
    const job = dbContext.run(() => mayGoOn.promise);
    await waitFor(() => warnings().length > 2, { what: 'a warning of the job' });
    expect(warnings()[2]).toContain(
      'The context of dbContext.run() has been open for more than 100 ms. It was opened:',
    );
    expect(warnings()[2]).toContain('watch.spec.ts');
    mayGoOn.resolve();
    await job;
  });

  it('names a connection that is held across slow work, and its last statement', async () => {
    const { fetch } = await start({ watch: { ...calm, idleInTransactionMs: 100 } });
    const answer = fetch('/holding');
    await oneWarning();
    expect(warnings()).toEqual([expect.stringContaining('held a connection of "default"')]);
    expect(warnings()[0]).toContain('SlowController.holding');
    expect(warnings()[0]).toContain('(select count(*)');
    // Where the statement was asked for, in the application's own code.
    expect(warnings()[0]).toMatch(/at .*SlowController\.holding/);
    mayGoOn.resolve();
    await answer;
  });

  it('O1: names the code of the application behind session.execute(), on a pool that has connections', async () => {
    const { fetch, dbContext } = await start({ watch: quick });
    await dbContext.run(() => dbContext.session().execute('select 0'));
    const answer = fetch('/executing');
    await waitFor(() => warnings().length > 1, { what: 'two warnings' });
    mayGoOn.resolve();
    await answer;
    for (const what of ['held a connection of "default"', 'has been open for more than 100 ms']) {
      const warning = warnings().find((each) => each.includes(what));
      expect(warning).toMatch(
        /Its last statement \(select 1 as one\) was sent:\n\s+at .*SlowController\.executing/,
      );
    }
  });

  it('O1: names the last statement also where no stack leads to the code that has sent it', async () => {
    const { fetch } = await start({ watch: quick });
    await withPrepareStackTrace(
      () => [],
      async () => {
        const answer = fetch('/executing');
        await waitFor(() => warnings().length > 1, { what: 'two warnings' });
        mayGoOn.resolve();
        await answer;
      },
    );
    const sent =
      'Its last statement (select 1 as one) was sent by code that its stack does not show.';
    expect(warnings()).toEqual([expect.stringContaining(sent), expect.stringContaining(sent)]);
  });

  it('does not, where the session was closed before', async () => {
    const { fetch } = await start({ watch: quick });
    const answer = fetch('/letting-go');
    await oneWarning();
    expect(warnings()).toEqual([expect.stringContaining('has been open')]);
    mayGoOn.resolve();
    await answer;
  });

  it('says the same of a route once in a while, not for every request', async () => {
    const { fetch } = await start({ watch: quick });
    const answers = Promise.all([fetch('/slow'), fetch('/slow'), fetch('/slow')]);
    await oneWarning();
    await fetch('/unawaited');
    mayGoOn.resolve();
    await answers;
    expect(warnings().filter((line) => line.includes('.slow has been open'))).toHaveLength(1);
  });

  it('names work that nobody awaited, with the route that it came from', async () => {
    const { fetch } = await start({ watch: calm });
    await fetch('/unawaited');
    mayGoOn.resolve();
    await oneWarning();
    expect(warnings()).toEqual([
      expect.stringMatching(/SlowController\.unawaited used its session .* after it had ended/),
    ]);
  });

  it('names statements of a session that has ended, where the entity manager was kept', async () => {
    const { dbContext } = await start({ watch: calm });
    let kept: EntityManager | undefined;
    await dbContext.run(async () => {
      await dbContext.session().count(Note);
      kept = dbContext.getSession();
    });
    await expect(kept!.count(Note)).rejects.toMatchObject({ code: 'SESSION_CLOSED' });
    expect(warnings()).toEqual([expect.stringContaining('dbContext.run() used its session')]);
  });

  it('names flushes at the same time, and not those one after another', async () => {
    const { fetch, savedTexts } = await start({ watch: calm });
    await fetch('/one-by-one', { method: 'POST' });
    expect(warnings()).toEqual([]);
    await world!.database.query('truncate note');
    await fetch('/parallel', { method: 'POST' });
    expect(warnings()).toEqual([
      expect.stringMatching(/SlowController\.parallel flushed its session .* was running/s),
    ]);
    expect(await savedTexts()).toHaveLength(2);
  });

  it('names a request of the middleware by its method and path, without its query', async () => {
    const { fetch } = await start({ watch: quick, mount: 'middleware' });
    // No handler takes the context over, so it stays as the middleware named it.
    const origins: string[] = [];
    const onEnd = ({ context }: ContextEndEvent): void => void origins.push(context.origin);
    dbContextChannels.contextEnd.subscribe(onEnd);
    await fetch('/nowhere?secret=1');
    await waitFor(() => origins.length > 0, { what: 'the context to end' });
    dbContextChannels.contextEnd.unsubscribe(onEnd);
    expect(origins).toEqual(['GET /nowhere']);
  });

  it('O1: publishes each thing that it finds, without the values of the statement', async () => {
    const { dbContext, connection } = await start({ watch: { ...calm, idleInTransactionMs: 40 } });
    const found: FindingEvent[] = [];
    const onFinding = (event: FindingEvent): void => void found.push(event);
    dbContextChannels.finding.subscribe(onFinding);
    const holding = (): Promise<void> =>
      dbContext.run(async () => {
        const before = found.length;
        await dbContext.session().find(Note, { text: 'a secret' }, { fields: ['id'] });
        await waitFor(() => found.length > before, { what: 'a finding' });
      });
    try {
      await holding();
      await holding();
    } finally {
      dbContextChannels.finding.unsubscribe(onFinding);
    }
    // The log is warned of a route once in a while; an inspector shows each request.
    expect(warnings()).toHaveLength(1);
    expect(found).toMatchObject(
      [1, 2].map(() => ({ kind: 'idle-in-transaction', context: { origin: 'dbContext.run()' } })),
    );
    expect(found[0]!.context).not.toBe(found[1]!.context);
    expect(found[0]!.connection).toMatchObject({ name: 'default', host: connection().host });
    expect(found[0]!.message).toMatch(
      /^The context of dbContext\.run\(\) held a connection of "default" .* \(select "n0"\."id" from "note" as "n0" where "n0"\."text" = \?\) was sent$/,
    );
    expect(found[0]![UNMASKED].message).toContain(`"n0"."text" = 'a secret'`);
    expect(found[0]!.stack).toMatch(/^ {4}at .*watch\.spec\.ts/);
    expect(JSON.stringify(found)).not.toContain('a secret');
  });

  // startApp() turns it off where nothing is said.
  const byDefault = { watch: undefined as never };

  it('is off in production, and where it was turned off', async () => {
    const { NODE_ENV } = process.env;
    try {
      process.env['NODE_ENV'] = 'production';
      await start(byDefault);
    } finally {
      process.env['NODE_ENV'] = NODE_ENV;
    }
    await world!.fetch('/parallel', { method: 'POST' });
    await world!.close();
    await start({ watch: false });
    await world!.fetch('/parallel', { method: 'POST' });
    await world!.close();
    expect(warnings()).toEqual([]);
    await start(byDefault);
    await world!.fetch('/parallel', { method: 'POST' });
    expect(warnings()).toHaveLength(1);
  });
});

describe('contextTimeoutMs', () => {
  it('F1, F6: ends the context of a handler that never returns, and answers 503', async () => {
    const { fetch, pool } = await start({ contextTimeoutMs: 200, watch: false });
    const response = await fetch('/holding');
    expect(response.status).toBe(503);
    expect(await response.json()).toMatchObject({
      message: 'The request took too long, and was rolled back.',
    });
    expect(log.ofLibrary('error')).toEqual([
      expect.stringContaining(
        'The context of SlowController.holding was open for more than 200 ms',
      ),
    ]);
    // The response does not wait for the rollback.
    await waitFor(() => pool().checkedOut === 0, { what: 'the connection to be given back' });
    // One that is quick enough is not touched.
    mayGoOn.resolve();
    expect((await fetch('/holding')).status).toBe(200);
  });

  it('F6: rejects run(), whose later statements are refused', async () => {
    const { dbContext, savedTexts } = await start({ contextTimeoutMs: 200, watch: false });
    const late = deferred<unknown>();
    await expect(
      dbContext.run(async () => {
        await dbContext.session().insert(Note, { text: 'undone' });
        await mayGoOn.promise;
        const count = async (): Promise<number> => dbContext.session().count(Note);
        late.resolve(await count().catch((error: unknown) => error));
      }),
    ).rejects.toMatchObject({ code: 'CONTEXT_TIMEOUT', origin: 'dbContext.run()' });
    mayGoOn.resolve();
    expect(await late.promise).toMatchObject({ code: 'SESSION_CLOSED' });
    expect(await savedTexts()).toEqual([]);
  });
});

describe('what fails in the watch', () => {
  const broken = {} as never;
  const failures = (): string[] =>
    log.ofLibrary('warn').filter((line) => line.includes('The option watch could not look'));

  it('O1: is one warning, and costs neither a request nor the process', async () => {
    const { fetch } = await start({ watch: calm });
    const { contextOpen, contextEnd, sessionRefuse, transactionEnd, flush, statement } =
      dbContextChannels;
    contextOpen.publish(broken);
    contextEnd.publish(undefined as never);
    sessionRefuse.publish(broken);
    transactionEnd.publish(broken);
    flush.start.publish(undefined as never);
    statement.start.publish(undefined as never);
    // An exception of a listener is thrown in a tick of its own.
    await setImmediate();
    expect((await fetch('/one-by-one', { method: 'POST' })).status).toBe(201);
    expect(failures()).toEqual([expect.stringMatching(/: TypeError: Cannot read properties of/)]);
  });

  it('O1: also where it is the log that throws, or the look at what stays open', async () => {
    const { fetch, app } = await start({ watch: { ...calm, contextOpenMs: 20 } });
    const warned: unknown[][] = [];
    const emitWarning = process.emitWarning.bind(process);
    // Jest hands the warnings of a spec to another process object than its own.
    process.emitWarning = (...warning: unknown[]) => void warned.push(warning);
    const refuse = (): never => {
      throw new RangeError('no room');
    };
    app.useLogger({ log: () => undefined, error: () => undefined, warn: refuse });
    try {
      const answer = fetch('/slow');
      await waitFor(() => warned.length > 0, { what: 'a warning of the process' });
      mayGoOn.resolve();
      expect((await answer).status).toBe(200);
    } finally {
      process.emitWarning = emitWarning;
    }
    expect(warned).toEqual([
      [expect.stringContaining('RangeError: no room'), 'DbContextWatchWarning'],
    ]);
  });
});
