import { createReadStream } from 'node:fs';
import type { ServerResponse } from 'node:http';
import { fileURLToPath } from 'node:url';

import { Controller, Get, Next, Query, Res } from '@nestjs/common';
import type { EntityManager } from '@mikro-orm/postgresql';
import { DbContext, InjectSession } from 'nestjs-db-context';

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
  readonly raw?: NodeJS.WritableStream & Answer;
  status(code: number): Answer;
  send(body: unknown): unknown;
  json?(body: unknown): unknown;
  redirect(url: string): unknown;
  sendFile?(path: string): unknown;
  hijack?(): unknown;
}

const FILE = fileURLToPath(import.meta.url);

const WAYS: Record<string, (response: Answer) => unknown> = {
  json: (response) => (response.json ? response.json({ a: 1 }) : response.send({ a: 1 })),
  status: (response) => response.status(201).send('created'),
  redirect: (response) => response.status(302).redirect('/elsewhere'),
  file: (response) =>
    response.sendFile ? response.sendFile(FILE) : response.send(createReadStream(FILE)),
  pipe: (response) => {
    response.hijack?.();
    const raw = response.raw ?? (response as unknown as NodeJS.WritableStream);
    createReadStream(FILE).pipe(raw);
  },
};

let isReturned: Deferred<void>;
let mayCommit: Deferred<void>;
let mayAnswer: Deferred<void>;
const thrownBySender: unknown[] = [];

/** Handlers whose answer begins after they have returned. */
@Controller()
class LateController {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    private readonly dbContext: DbContext,
  ) {}

  @Get('late')
  async late(
    @Query('way') way: string,
    @Query('text') text: string,
    @Res() response: Answer,
  ): Promise<void> {
    await this.#write(text);
    this.#later(() => WAYS[way]!(response));
  }

  /** Fastify leaves the response to the handler from the start; nothing of it begins before the COMMIT. */
  @Get('hijacked')
  async hijacked(@Res() response: Answer): Promise<void> {
    response.hijack?.();
    await this.#write('twice');
    this.#later(() => (response.raw ?? (response as unknown as NodeJS.WritableStream)).end('late'));
  }

  /** What its answer says of its body must not be said of the error. */
  @Get('labelled')
  async labelled(@Res() response: Answer): Promise<void> {
    await this.#write('twice');
    const raw = (response.raw ?? response) as unknown as ServerResponse;
    raw.setHeader('Trailer', 'x-checksum');
    raw.setHeader('Content-Encoding', 'gzip');
    raw.setHeader('Cache-Control', 'public, max-age=999');
    raw.setHeader('Location', '/elsewhere');
    raw.setHeader('X-Own', 'kept');
    raw.end('zipped');
  }

  @Get('next')
  async next(@Query('text') text: string, @Next() next: (error: Error) => void): Promise<void> {
    await this.#write(text);
    this.#later(() => next(new Error('by next')));
  }

  @Get('hook')
  async hook(@Res() response: Answer): Promise<void> {
    await this.#write('hook');
    const raw = (response.raw ?? response) as unknown as {
      end(body: string, callback: () => void): void;
    };
    this.dbContext.onCommit(() => new Promise<void>((resolve) => raw.end('hook', resolve)));
    this.#later(() => undefined);
  }

  #later(answer: () => unknown): void {
    void mayAnswer.promise.then(answer).catch((error: unknown) => thrownBySender.push(error));
  }

  async #write(text: string): Promise<void> {
    if (text === 'twice') {
      await this.session.execute('set constraints all deferred');
      await this.session.persist(new Note(text)).flush();
    }
    await this.session.persist(new Note(text)).flush();
  }
}

describe.each<[AdapterName, 'interceptor' | 'middleware']>([
  ['express', 'interceptor'],
  ['express', 'middleware'],
  ['fastify', 'interceptor'],
  ['fastify', 'middleware'],
])('answers that begin after the handler has returned, over %s (%s)', (adapter, mount) => {
  const logger = new LogRecorder();
  const shared = useWorld(() =>
    startWorld(
      {},
      { adapter, mount, controllers: [LateController], configure: (app) => app.useLogger(logger) },
    ),
  );

  beforeEach(() => {
    logger.lines.length = 0;
    thrownBySender.length = 0;
    isReturned = deferred();
    mayCommit = deferred();
    mayAnswer = deferred();
    shared.world.proxy.onStatement = async (sql) => {
      if (sql === 'commit') {
        isReturned.resolve();
        await mayCommit.promise;
      }
    };
  });
  afterEach(async () => {
    mayCommit.resolve();
    mayAnswer.resolve();
    const registry = shared.world.app.get(ContextRegistry);
    await waitFor(() => registry.runningCount === 0, { what: 'the context to end' });
    expect(thrownBySender).toEqual([]);
  });

  /** Asks for a route, and waits until its commit is under way. */
  const asked = async (path: string): Promise<RawClient> => {
    const client = await RawClient.get(`${shared.world.url}/${path}`);
    await isReturned.promise;
    return client;
  };
  /** A whole exchange with the same server: bytes that had left would be here after it. */
  const roundTrip = async (): Promise<void> => {
    for (const _ of [1, 2, 3]) {
      await (await shared.world.fetch('/nowhere')).text();
    }
  };

  it.each([
    ['json', '200 OK'],
    ['status', '201 Created'],
    ['redirect', '302 Found'],
    ['file', '200 OK'],
    ['pipe', '200 OK'],
  ])('W1: one by %s leaves when the COMMIT was answered', async (way, status) => {
    const client = await asked(`late?way=${way}&text=${way}`);
    mayAnswer.resolve();
    await roundTrip();
    expect(client.received).toBe('');
    mayCommit.resolve();
    const response = await client.response();
    expect(response).toContain(status);
    if (way === 'file' || way === 'pipe') {
      expect(response).toContain('useWorld');
    }
    expect(await shared.world.savedTexts()).toEqual([way]);
    expect(logger.ofLibrary('warn')).toEqual([]);
  });

  it.each(['json', 'pipe'])(
    'W1: one by %s is dropped where the COMMIT fails meanwhile, and the error is answered',
    async (way) => {
      const client = await asked(`late?way=${way}&text=twice`);
      mayAnswer.resolve();
      await roundTrip();
      mayCommit.resolve();
      expect(await client.response()).toContain('500 Internal Server Error');
      expect(await shared.world.savedTexts()).toEqual([]);
    },
  );

  it('W1: one that is dropped leaves nothing of its body behind on the error', async () => {
    const client = await asked('labelled');
    mayCommit.resolve();
    const response = await client.response();
    expect(response).toContain('500 Internal Server Error');
    expect(response).toMatch(/x-own: kept/i);
    expect(response).not.toMatch(/trailer|gzip|max-age|elsewhere|zipped/i);
  });

  it('W1: one of a handler that has taken the response over is no success where the COMMIT fails first', async () => {
    const client = await asked('hijacked');
    mayCommit.resolve();
    expect(await client.response()).toContain('500 Internal Server Error');
    expect(await shared.world.savedTexts()).toEqual([]);
  });

  it.each(['json', 'redirect', 'pipe'])(
    'W1: one by %s that comes after the error of the COMMIT was answered hurts nobody, and is in the log',
    async (way) => {
      const client = await asked(`late?way=${way}&text=twice`);
      mayCommit.resolve();
      expect(await client.response()).toContain('500 Internal Server Error');
      mayAnswer.resolve();
      await roundTrip();
      if (adapter === 'express') {
        await waitFor(() => logger.ofLibrary('error').length > 0, { what: 'the log' });
        expect(logger.ofLibrary('error')).toEqual([
          expect.stringContaining('LateController.late answered after its work had failed'),
        ]);
      }
      expect((await shared.world.fetch('/nowhere')).status).toBe(404);
      expect(await shared.world.savedTexts()).toEqual([]);
    },
  );

  it('W1: an error that comes after the work was let be committed is warned of', async () => {
    if (adapter === 'fastify') {
      return;
    }
    const client = await asked('next?text=next');
    mayAnswer.resolve();
    await roundTrip();
    mayCommit.resolve();
    expect(await client.response()).toContain('500 Internal Server Error');
    expect(await shared.world.savedTexts()).toEqual(['next']);
    expect(logger.ofLibrary('warn')).toEqual([
      expect.stringContaining('LateController.next was answered with 500 after it had returned'),
    ]);
  });

  it('C5: a hook of onCommit() may answer, and wait for the end of its answer', async () => {
    const client = await asked('hook');
    mayCommit.resolve();
    expect(await client.response()).toContain('hook');
    expect(await shared.world.savedTexts()).toEqual(['hook']);
  });
});
