import { once, type EventEmitter } from 'node:events';

import { Controller, Get, Query, Res } from '@nestjs/common';
import type { EntityManager } from '@mikro-orm/postgresql';
import { DbContext, InjectSession, RetryOnSerializationFailure } from 'nestjs-db-context';

import { ContextRegistry } from '../../lib/context/context-registry.js';
import { deferred, type Deferred } from '../support/deferred.js';
import { LogRecorder } from '../support/log-recorder.js';
import { Note } from '../support/note.entity.js';
import { RawClient } from '../support/raw-client.js';
import type { AdapterName } from '../support/test-app.js';
import { startWorld } from '../support/test-world.js';
import { useWorld } from '../support/use-world.js';
import { waitFor } from '../support/wait-for.js';

/** The part of Express' and Fastify's responses that the routes use. */
interface Answer {
  readonly raw?: RawAnswer;
  status(code: number): Answer;
  send(body: string): unknown;
}

interface RawAnswer extends EventEmitter {
  write(chunk: string): boolean;
  end(chunk?: string, callback?: () => void): unknown;
}

function rawOf(response: Answer): RawAnswer {
  return response.raw ?? (response as unknown as RawAnswer);
}

/** As an application measures its handlers: the function in its place has no name of its own. */
const Timed: MethodDecorator = (_target, _key, descriptor) => {
  const method = descriptor.value as (...args: unknown[]) => unknown;
  const timed = [
    function (this: unknown, ...args: unknown[]): unknown {
      return method.apply(this, args);
    },
  ];
  descriptor.value = timed[0] as never;
};

let attempts = 0;
let mayReturn: Deferred<void>;

@Controller()
class ResController {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    private readonly dbContext: DbContext,
  ) {}

  @Get('sent')
  async sent(@Res() response: Answer): Promise<void> {
    await this.#write('sent');
    response.status(201).send('sent');
    await this.#write('afterwards');
    await mayReturn.promise;
  }

  @Get('sent-early')
  async sentEarly(@Res() response: Answer): Promise<void> {
    await this.#write('sent-early');
    await this.dbContext.commit();
    response.status(201).send('sent-early');
    await mayReturn.promise;
  }

  @Get('unsaved')
  async unsaved(@Res() response: Answer): Promise<void> {
    await this.#failAtCommit();
    response.status(201).send('unsaved');
  }

  @Get('wrapped')
  @Timed
  async wrapped(@Res() response: Answer): Promise<void> {
    await this.#failAtCommit();
    response.status(201).send('wrapped');
  }

  @Get('thrown')
  async thrown(@Res() response: Answer): Promise<void> {
    await this.#write('thrown');
    response.status(201).send('thrown');
    throw new Error('no');
  }

  @Get('refused')
  async refused(@Res() response: Answer): Promise<void> {
    await this.#write('refused');
    response.status(409).send('refused');
  }

  @Get('late')
  async late(@Res() response: Answer): Promise<void> {
    response.status(202).send('late');
    await this.#write('late');
  }

  @Get('streamed')
  async streamed(@Res() response: Answer): Promise<void> {
    await this.#write('streamed');
    const raw = rawOf(response);
    raw.write('a');
    await this.session.count(Note);
    raw.end('b');
  }

  @Get('awaited-before')
  async awaitedBefore(@Res() response: Answer): Promise<void> {
    await this.#write('awaited-before');
    const isSent = once(rawOf(response), 'finish');
    response.status(200).send('awaited-before');
    await isSent;
  }

  @Get('awaited-after')
  async awaitedAfter(@Res() response: Answer): Promise<void> {
    await this.#write('awaited-after');
    response.status(200).send('awaited-after');
    await once(rawOf(response), 'finish');
  }

  @Get('awaited-end')
  async awaitedEnd(@Res() response: Answer): Promise<void> {
    await this.#write('awaited-end');
    await new Promise<void>((resolve) => void rawOf(response).end('awaited-end', resolve));
  }

  @RetryOnSerializationFailure({ attempts: 2, backoffMs: 1 })
  @Get('again')
  async again(@Res() response: Answer): Promise<void> {
    attempts++;
    await this.#write(`attempt ${attempts}`);
    const isFirst = attempts === 1;
    this.dbContext.beforeCommit(() =>
      isFirst
        ? this.session.execute(`do $$ begin raise exception using errcode = '40001'; end $$`)
        : undefined,
    );
    response.send(`attempt ${attempts}`);
  }

  async #write(text: string): Promise<void> {
    await this.session.persist(new Note(text)).flush();
  }

  async #failAtCommit(): Promise<void> {
    await this.session.execute('set constraints all deferred');
    this.session.persist([new Note('twice'), new Note('twice')]);
    await this.session.flush();
  }
}

describe.each<AdapterName>(['express', 'fastify'])('@Res() over %s', (adapter) => {
  const logger = new LogRecorder();
  const shared = useWorld(
    () =>
      startWorld(
        {},
        { adapter, controllers: [ResController], configure: (app) => app.useLogger(logger) },
      ),
    { hasLateWork: true },
  );

  beforeEach(() => {
    attempts = 0;
    logger.lines.length = 0;
    mayReturn = deferred();
  });
  afterEach(async () => {
    mayReturn.resolve();
    const registry = shared.world.app.get(ContextRegistry);
    await waitFor(() => registry.runningCount === 0, { what: 'the context to end' });
  });

  const fetch = async (path: string): Promise<[number, string]> => {
    const answer = await shared.world.fetch(path);
    return [answer.status, await answer.text()];
  };
  const serverError: unknown = [500, expect.stringContaining('Internal server error')];

  it('S1: res.send() leaves when the handler has returned and the COMMIT was answered', async () => {
    const client = await RawClient.get(`${shared.world.url}/sent`);
    await waitFor(
      () => shared.world.proxy.log.filter((sql) => sql.startsWith('insert')).length === 2,
      {
        what: 'both notes',
      },
    );
    // A whole exchange with the same server: bytes that had left would be here by now.
    expect(await fetch('/refused')).toEqual([409, 'refused']);
    expect(client.received).toBe('');
    mayReturn.resolve();
    expect(await client.response()).toContain('201 Created');
    expect(await shared.world.savedTexts()).toEqual(['sent', 'afterwards']);
    expect(logger.ofLibrary('warn')).toEqual([]);
  });

  it('S1: after dbContext.commit() it leaves at once', async () => {
    expect(await fetch('/sent-early')).toEqual([201, 'sent-early']);
    expect(await shared.world.savedTexts()).toEqual(['sent-early']);
  });

  it('S1: a COMMIT that fails is the answer in place of what was sent', async () => {
    expect(await fetch('/unsaved')).toEqual(serverError);
    expect(await shared.world.savedTexts()).toEqual([]);
    expect(logger.lines.filter(({ context }) => context === 'ExceptionsHandler')).toHaveLength(1);
  });

  it('S1: so it is where a decorator has put a function of another name into the place of the handler', async () => {
    expect(await fetch('/wrapped')).toEqual(serverError);
    expect(await shared.world.savedTexts()).toEqual([]);
  });

  it('S1: what is thrown after res.send() is the answer in place of what was sent', async () => {
    expect(await fetch('/thrown')).toEqual(serverError);
    expect(await shared.world.savedTexts()).toEqual([]);
  });

  it('S2: a status of 400 or above is rolled back before it leaves', async () => {
    expect(await fetch('/refused')).toEqual([409, 'refused']);
    expect(shared.world.proxy.log.at(-1)).toBe('rollback');
    expect(await shared.world.savedTexts()).toEqual([]);
  });

  it.each(['late', 'streamed', 'awaited-before', 'awaited-after', 'awaited-end'])(
    'S2: /%s, which works or waits on after its head, commits afterwards and warns',
    async (path) => {
      expect((await shared.world.fetch(`/${path}`)).ok).toBe(true);
      await waitFor(async () => (await shared.world.savedTexts()).includes(path), {
        what: 'the commit',
      });
      expect(logger.ofLibrary('warn')).toEqual([
        expect.stringContaining('sends its response before the transaction is committed'),
      ]);
    },
  );

  it('S1: what was sent is dropped where the commit asks for another attempt', async () => {
    expect(await fetch('/again')).toEqual([200, 'attempt 2']);
    expect(await shared.world.savedTexts()).toEqual(['attempt 2']);
  });
});

/** Answers as `@fastify/session` and others make it: what is sent waits for a hook. */
@Controller()
class HookedController {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  @Get('sent')
  async sent(@Query('text') text: string, @Res() reply: Answer): Promise<void> {
    await this.#write(text);
    reply.send('sent');
  }

  @Get('returned')
  async returned(@Query('text') text: string, @Res() reply: Answer): Promise<unknown> {
    await this.#write(text);
    return reply.send('returned');
  }

  @Get('awaited')
  async awaited(@Query('text') text: string, @Res() reply: Answer): Promise<void> {
    await this.#write(text);
    await reply.send('awaited');
  }

  async #write(text: string): Promise<void> {
    if (text === 'twice') {
      await this.session.execute('set constraints all deferred');
      await this.session.persist(new Note(text)).flush();
    }
    await this.session.persist(new Note(text)).flush();
  }
}

describe.each(['interceptor', 'middleware'] as const)(
  '@Res() over fastify with an asynchronous onSend hook (%s)',
  (mount) => {
    const logger = new LogRecorder();
    let pause: () => Promise<void>;
    const shared = useWorld(() =>
      startWorld(
        {},
        {
          adapter: 'fastify',
          mount,
          controllers: [HookedController],
          configure: (app) => {
            app.useLogger(logger);
            const fastify = app.getHttpAdapter().getInstance() as {
              addHook(name: 'onSend', hook: () => Promise<void>): void;
            };
            fastify.addHook('onSend', () => pause());
          },
        },
      ),
    );

    beforeEach(() => {
      logger.lines.length = 0;
      pause = () => Promise.resolve();
    });

    it.each(['sent', 'returned', 'awaited'])(
      'S1: /%s leaves when the COMMIT was answered',
      async (path) => {
        const mayCommit = deferred();
        const isCommitting = deferred();
        shared.world.proxy.onStatement = async (sql) => {
          if (sql === 'commit') {
            isCommitting.resolve();
            await mayCommit.promise;
          }
        };
        pause = () => new Promise((resolve) => setImmediate(resolve));
        const client = await RawClient.get(`${shared.world.url}/${path}?text=${path}`);
        await isCommitting.promise;
        await (await shared.world.fetch('/nowhere')).text();
        expect(client.received).toBe('');
        mayCommit.resolve();
        expect(await client.response()).toContain('200 OK');
        expect(await shared.world.savedTexts()).toEqual([path]);
        expect(logger.ofLibrary('warn')).toEqual([]);
      },
    );

    it.each(['sent', 'returned', 'awaited'])(
      'S1: a COMMIT that fails is the answer in place of /%s, whose hook may be under way still',
      async (path) => {
        const isAnswering = deferred();
        let hooks = 0;
        pause = async () => {
          hooks++;
          if (hooks === 1 && path === 'sent') {
            // The answer of the error comes here while the first one is held up.
            await isAnswering.promise;
          } else {
            isAnswering.resolve();
            await new Promise((resolve) => setImmediate(resolve));
          }
        };
        const response = await shared.world.fetch(`/${path}?text=twice`);
        expect(response.status).toBe(500);
        expect(await response.text()).toContain('Internal server error');
        expect(hooks).toBe(2);
        expect(await shared.world.savedTexts()).toEqual([]);
      },
    );
  },
);
