import { AsyncLocalStorage } from 'node:async_hooks';

import type { EntityManager } from '@mikro-orm/postgresql';
import { Controller, Get, Param, StreamableFile } from '@nestjs/common';
import { DbContext, InjectSession, type StreamOptions } from 'nestjs-db-context';

import { LogRecorder } from '../support/log-recorder.js';
import { Note } from '../support/note.entity.js';
import { SlowClient } from '../support/slow-client.js';
import type { AdapterName } from '../support/test-app.js';
import { startWorld, type TestWorld } from '../support/test-world.js';
import { waitFor } from '../support/wait-for.js';

/** At 16 KiB each, more than the buffers between the stream and a client that does not read can hold. */
const ROWS = 1_500;
const LINE_BYTES = 16_384;
/** Rows that one FETCH brings. */
const CHUNK = 100;
const TRANSACTION_LIMIT_MS = 300;

const tenant = new AsyncLocalStorage<string>();

@Controller()
class ExportController {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    private readonly dbContext: DbContext,
  ) {}

  @Get('notes')
  async notes(): Promise<StreamableFile> {
    // The request has a transaction of its own, which is over when the stream begins.
    await this.session.execute('select 1 as of_the_request');
    return this.#file();
  }

  @Get('limited')
  limited(): StreamableFile {
    return this.#file({ timeoutMs: TRANSACTION_LIMIT_MS });
  }

  @Get('unread')
  unread(): string {
    this.#file();
    return 'not read';
  }

  @Get('fails/:after')
  fails(@Param('after') after: string): StreamableFile {
    const { session } = this;
    return new StreamableFile(
      this.dbContext.stream(async function* () {
        for (let row = 0; row < Number(after); row++) {
          yield 'a row\n';
        }
        await session.execute('select 1 / 0');
      }),
    );
  }

  @Get('tenant')
  tenant(): StreamableFile {
    return tenant.run(
      'acme',
      () =>
        new StreamableFile(
          this.dbContext.stream(async function* () {
            yield String(tenant.getStore());
          }),
        ),
    );
  }

  #file(options?: StreamOptions & { readonly objectMode?: false }): StreamableFile {
    return new StreamableFile(this.dbContext.stream(lines, options));
  }
}

async function* lines(session: EntityManager): AsyncIterable<string> {
  for await (const { text } of session.stream(Note, { orderBy: { id: 'asc' } })) {
    yield `${text.padEnd(LINE_BYTES - 1, '.')}\n`;
  }
}

describe.each<AdapterName>(['express', 'fastify'])('streamed bodies over %s', (adapter) => {
  let world: TestWorld;
  let logger: LogRecorder;

  const start = async (options: Parameters<typeof startWorld>[1] = {}): Promise<void> => {
    logger = new LogRecorder();
    world = await startWorld(
      { transactionTimeoutMs: TRANSACTION_LIMIT_MS },
      {
        adapter,
        controllers: [ExportController],
        configure: (app) => app.useLogger(logger),
        ...options,
      },
    );
    await world.database.query(
      `insert into note (text) select 'n' || i from generate_series(1, ${ROWS}) i`,
    );
  };
  const fetches = (): number =>
    world.proxy.log.filter((sql) => sql.startsWith('fetch forward')).length;
  const ends = (): string[] => world.proxy.log.filter((sql) => /^(commit|rollback)/.test(sql));
  const everythingIsBack = async (): Promise<void> => {
    await waitFor(() => world.pool().checkedOut === 0, { what: 'the connection to come back' });
    await world.serverIsIdle();
  };
  /** Waits until the client's buffers are full, so that nothing is read any more. */
  const isStuck = async (): Promise<number> => {
    let last = -1;
    await waitFor(
      async () => {
        const before = last;
        last = fetches();
        // Between two looks the server has answered, so that a FETCH that was under way has ended.
        await world.database.query('select pg_sleep(0.05)');
        return last > 0 && last === before && last === fetches();
      },
      { what: 'the stream to stop reading' },
    );
    return last;
  };
  /** Milliseconds since the transactions of the application began, as the server sees it. */
  const openForMs = async (): Promise<number[]> => {
    const rows = await world.database.query<{ ms: number }>(
      `select extract(epoch from clock_timestamp() - xact_start)::float8 * 1000 as ms
       from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()
       and xact_start is not null`,
    );
    return rows.map(({ ms }) => ms);
  };

  describe('in one application', () => {
    beforeAll(() => start());
    afterAll(() => world.close());
    beforeEach(() => {
      world.proxy.reset();
      logger.lines.length = 0;
    });

    it('W1, F6: a client that reads slowly holds one connection past transactionTimeoutMs, and gets all', async () => {
      const client = await SlowClient.open(`${world.url}/notes`);
      const fetched = await isStuck();
      expect(fetched).toBeLessThan(ROWS / CHUNK);
      expect(world.pool()).toMatchObject({ checkedOut: 1 });
      await waitFor(async () => (await openForMs()).some((ms) => ms > 2 * TRANSACTION_LIMIT_MS), {
        what: 'the transaction to be older than the limit of others',
      });
      expect(await openForMs()).toHaveLength(1);
      expect(fetches()).toBe(fetched);

      const body = await client.readAll();
      expect(client.isComplete).toBe(true);
      expect(body).toHaveLength(ROWS * LINE_BYTES);
      await everythingIsBack();
      expect(ends()).toEqual(['commit', 'commit']);
      expect(world.proxy.log.filter((sql) => sql.startsWith('begin'))).toEqual([
        'begin',
        'begin read only',
      ]);
      expect(logger.ofLibrary('error')).toEqual([]);
    });

    it('S4, F1: a client that leaves midway frees the connection', async () => {
      const client = await SlowClient.open(`${world.url}/notes`);
      await isStuck();
      expect(world.pool()).toMatchObject({ checkedOut: 1 });
      client.leave();
      await everythingIsBack();
      expect(ends()).toEqual(['commit', 'rollback']);
      expect(logger.ofLibrary('error')).toEqual([]);
    });

    it('F6: is cut at its own limit, and the log names the route', async () => {
      const client = await SlowClient.open(`${world.url}/limited`);
      await waitFor(() => logger.ofLibrary('error').length > 0, { what: 'the limit' });
      await everythingIsBack();
      await client.readAll();
      expect(client.isComplete).toBe(false);
      expect(logger.ofLibrary('error')).toEqual([
        expect.stringContaining(
          `ExportController.limited stream was open for more than ${TRANSACTION_LIMIT_MS} ms`,
        ),
      ]);
      expect(ends()).toEqual(['rollback']);
    });

    it('W1: an error midway cuts the response, and the log names the route', async () => {
      const client = await SlowClient.open(`${world.url}/fails/3`);
      expect(client.response.statusCode).toBe(200);
      await client.readAll();
      expect(client.isComplete).toBe(false);
      await everythingIsBack();
      expect(logger.ofLibrary('error')).toEqual([
        expect.stringMatching(/^ExportController\.fails stream failed: .*division by zero/s),
      ]);
    });

    it('W1: an error before the first byte is no success', async () => {
      const answer = await world.fetch('/fails/0');
      // What Nest answers by itself for a file that cannot be read.
      expect(answer.status).toBe(adapter === 'express' ? 400 : 500);
      expect(await answer.text()).not.toContain('division');
      await everythingIsBack();
    });

    it('L2: one that nobody reads takes no connection and sends nothing', async () => {
      expect(await (await world.fetch('/unread')).text()).toBe('not read');
      expect(world.proxy.log).toEqual([]);
      expect(world.pool()).toMatchObject({ checkedOut: 0 });
    });

    it('W4: the stores of the application are those of the request', async () => {
      expect(await (await world.fetch('/tenant')).text()).toBe('acme');
    });
  });

  describe('H3: at a shutdown', () => {
    let closing: Promise<void> | undefined;
    afterEach(async () => {
      await closing;
      await world.close();
    });

    it('a client that reads on gets all of it', async () => {
      await start();
      const client = await SlowClient.open(`${world.url}/notes`);
      await isStuck();
      closing = world.app.close();
      const body = await client.readAll();
      expect(body).toHaveLength(ROWS * LINE_BYTES);
      await closing;
      expect(ends()).toEqual(['commit', 'commit']);
    });

    it('one that goes on for longer than shutdownTimeoutMs is cut', async () => {
      await start({ shutdownTimeoutMs: 200 });
      const client = await SlowClient.open(`${world.url}/notes`);
      await isStuck();
      closing = world.app.close();
      await closing;
      await client.readAll();
      expect(client.isComplete).toBe(false);
      expect(ends()).toEqual(['commit', 'rollback']);
      expect(logger.ofLibrary('error')).toEqual([
        expect.stringContaining('ExportController.notes stream was cut'),
      ]);
    });
  });
});
