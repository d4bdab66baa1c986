import {
  Catch,
  Controller,
  Get,
  Injectable,
  Module,
  UnauthorizedException,
  UseFilters,
  UseGuards,
  type ArgumentsHost,
  type CanActivate,
  type ExceptionFilter,
  type ExecutionContext,
  type INestApplication,
  type MiddlewareConsumer,
  type NestMiddleware,
  type NestModule,
} from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import type { EntityManager } from '@mikro-orm/postgresql';
import { commitOnSuccess, InjectSession } from 'nestjs-db-context';

import { ContextRegistry } from '../../lib/context/context-registry.js';
import { deferred } from '../support/deferred.js';
import { LogRecorder } from '../support/log-recorder.js';
import { Note } from '../support/note.entity.js';
import { RawClient } from '../support/raw-client.js';
import type { AdapterName } from '../support/test-app.js';
import { startWorld } from '../support/test-world.js';
import { useWorld } from '../support/use-world.js';
import { waitFor } from '../support/wait-for.js';

/** The part of Node's response that the middleware uses. */
interface NodeResponse {
  statusCode: number;
  readonly headersSent: boolean;
  readonly writableEnded: boolean;
  setHeader(name: string, value: string): unknown;
  writeHead(status: number, headers?: Record<string, string>): unknown;
  flushHeaders(): void;
  write(chunk: string | Buffer, callback?: (error?: Error | null) => void): boolean;
  end(chunk?: string, callback?: () => void): unknown;
  once(event: string, listener: () => void): unknown;
}

const seen: unknown[] = [];

/** Writes two notes that only the COMMIT finds to be the same. */
async function failAtCommit(session: EntityManager): Promise<void> {
  await session.execute('set constraints all deferred');
  session.persist([new Note('twice'), new Note('twice')]);
  await session.flush();
}

/** Answers by itself what lies under `/answered`. */
@Injectable()
class AnsweringMiddleware implements NestMiddleware {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  async use(
    request: { readonly originalUrl: string },
    response: NodeResponse,
    next: () => void,
  ): Promise<void> {
    switch (request.originalUrl.split('?')[0]) {
      case '/answered/created':
        await this.session.persist(new Note('created')).flush();
        response.writeHead(201, { 'x-from': 'middleware' });
        response.end('created');
        return;
      case '/answered/persisted':
        this.session.persist(new Note('persisted'));
        response.end('persisted');
        return;
      case '/answered/refused':
        await this.session.persist(new Note('refused')).flush();
        response.statusCode = 409;
        response.end('refused');
        return;
      case '/answered/unsaved':
        await failAtCommit(this.session);
        response.setHeader('content-type', 'text/plain');
        response.setHeader('content-length', '7');
        response.end('unsaved');
        return;
      case '/answered/streamed':
        await this.session.persist(new Note('streamed')).flush();
        await this.#stream(response);
        return;
      case '/answered/unsaved-stream':
        await failAtCommit(this.session);
        response.write('one');
        await new Promise((resolve) => void setImmediate(resolve));
        await waitFor(() => response.writableEnded, { what: 'the answer of the filter' });
        response.write('two', (error) => seen.push(error));
        response.end('three');
        return;
      case '/answered/untouched':
        response.flushHeaders();
        seen.push(response.write('un'));
        response.end('touched');
        return;
      default:
        next();
    }
  }

  async #stream(response: NodeResponse): Promise<void> {
    response.flushHeaders();
    seen.push(
      response.headersSent,
      codeOf(() => response.setHeader('x-late', 'yes')),
    );
    seen.push(codeOf(() => response.writeHead(200)));
    const isWritten = new Promise((resolve) => void response.write('a'.repeat(10), resolve));
    seen.push(response.write('b'.repeat(10)));
    await Promise.all([
      isWritten,
      new Promise<void>((resolve) => void response.once('drain', resolve)),
    ]);
    seen.push(response.write('c'.repeat(10)));
    response.end('d', () => seen.push('ended'));
    seen.push(response.writableEnded);
  }
}

function codeOf(work: () => unknown): unknown {
  try {
    work();
    return undefined;
  } catch (error) {
    return (error as { readonly code?: unknown }).code;
  }
}

@Module({ providers: [AnsweringMiddleware] })
class AnsweringModule implements NestModule {
  configure(consumer: MiddlewareConsumer): void {
    consumer.apply(AnsweringMiddleware).forRoutes('{*path}');
  }
}

/** Writes a note and answers by itself. */
@Injectable()
class AnsweringGuard implements CanActivate {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  async canActivate(context: ExecutionContext): Promise<boolean> {
    await this.session.persist(new Note('guard')).flush();
    const response = context.switchToHttp().getResponse<{
      status(code: number): { send(body: string): unknown };
    }>();
    response.status(202).send('from the guard');
    return false;
  }
}

/** Writes a note and throws. */
@Injectable()
class ThrowingGuard implements CanActivate {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  async canActivate(): Promise<boolean> {
    await this.session.persist(new Note('a failed log-in')).flush();
    throw new UnauthorizedException();
  }
}

/** Makes a success of every refusal. */
@Catch(UnauthorizedException)
class ForgivingFilter implements ExceptionFilter {
  catch(_error: unknown, host: ArgumentsHost): void {
    const response = host.switchToHttp().getResponse<{
      status(code: number): { send(body: string): unknown };
    }>();
    response.status(200).send('welcome all the same');
  }
}

@Controller()
class GuardedController {
  @UseGuards(AnsweringGuard)
  @Get('answering-guard')
  answeringGuard(): void {
    seen.push('handler');
  }

  @UseGuards(ThrowingGuard)
  @Get('throwing-guard')
  throwingGuard(): void {
    seen.push('handler');
  }

  @UseFilters(ForgivingFilter)
  @UseGuards(ThrowingGuard)
  @Get('forgiven')
  forgiven(): void {
    seen.push('handler');
  }
}

/** Answers what the commit has failed with, as an application may do. */
@Catch()
class TeapotFilter implements ExceptionFilter {
  constructor(private readonly host: HttpAdapterHost) {}

  catch(error: Error, host: ArgumentsHost): void {
    const status = error instanceof UnauthorizedException ? 401 : 418;
    const { httpAdapter } = this.host;
    const response = host.switchToHttp().getResponse<object>();
    if (!httpAdapter.isHeadersSent(response)) {
      httpAdapter.reply(response, { error: error.name }, status);
    }
  }
}

describe.each<AdapterName>(['express', 'fastify'])(
  'answers that are held back over %s',
  (adapter) => {
    const logger = new LogRecorder();
    const shared = useWorld(() =>
      startWorld(
        {},
        {
          adapter,
          mount: 'middleware',
          commitOn: (outcome) => commitOnSuccess(outcome) || outcome.status === 401,
          controllers: [GuardedController],
          imports: [AnsweringModule],
          configure: (app: INestApplication) => {
            app.useLogger(logger);
            app.useGlobalFilters(new TeapotFilter(app.get(HttpAdapterHost)));
          },
        },
      ),
    );
    const errors = () => logger.ofLibrary('error');

    beforeEach(() => {
      seen.length = 0;
      logger.lines.length = 0;
    });
    afterEach(async () => {
      const registry = shared.world.app.get(ContextRegistry);
      await waitFor(() => registry.runningCount === 0, { what: 'the context to end' });
    });

    it('W1: a middleware that answers by itself has saved what it answers for', async () => {
      const answer = await shared.world.fetch('/answered/created');
      expect([answer.status, answer.headers.get('x-from'), await answer.text()]).toEqual([
        201,
        'middleware',
        'created',
      ]);
      expect(await shared.world.savedTexts()).toEqual(['created']);
      expect(errors()).toEqual([]);
    });

    it('W1: what it has only persisted is saved as well', async () => {
      expect(await (await shared.world.fetch('/answered/persisted')).text()).toBe('persisted');
      expect(await shared.world.savedTexts()).toEqual(['persisted']);
    });

    it('W1: no byte of its answer leaves before COMMIT was answered', async () => {
      const commitReached = deferred();
      const commitMayGoOn = deferred();
      shared.world.proxy.onStatement = async (sql) => {
        if (sql === 'commit') {
          commitReached.resolve();
          await commitMayGoOn.promise;
        }
      };
      const client = await RawClient.get(`${shared.world.url}/answered/created`);
      await commitReached.promise;
      // A whole exchange with the same server: bytes that had left would be here by now.
      expect((await shared.world.fetch('/answered/untouched')).status).toBe(200);
      expect(client.received).toBe('');
      commitMayGoOn.resolve();
      expect(await client.response()).toContain('201 Created');
    });

    it('W1: a status of 400 or above is rolled back, before the first byte', async () => {
      const answer = await shared.world.fetch('/answered/refused');
      expect([answer.status, await answer.text()]).toEqual([409, 'refused']);
      expect(shared.world.proxy.log.map((sql) => sql.split(' ')[0])).toEqual([
        'begin',
        'insert',
        'rollback',
      ]);
      expect(await shared.world.savedTexts()).toEqual([]);
      expect(errors()).toEqual([]);
    });

    it("W1: a COMMIT that fails drops the answer, and the application's filter gives another", async () => {
      const answer = await shared.world.fetch('/answered/unsaved');
      expect([answer.status, await answer.json()]).toEqual([
        418,
        { error: 'UniqueConstraintViolationException' },
      ]);
      expect(answer.headers.get('content-type')).toContain('application/json');
      expect(await shared.world.savedTexts()).toEqual([]);
      expect(errors()).toEqual([
        expect.stringContaining('GET /answered/unsaved was answered with 200 by other code'),
      ]);
    });

    it('W1: a streamed answer is held until the commit: back-pressure, callbacks, late headers', async () => {
      const answer = await shared.world.fetch('/answered/streamed');
      expect(await answer.text()).toBe(`${'a'.repeat(10)}${'b'.repeat(10)}${'c'.repeat(10)}d`);
      expect(answer.headers.get('x-late')).toBeNull();
      await waitFor(() => seen.includes('ended'), { what: 'the callback of end()' });
      expect(seen).toEqual([
        true,
        'ERR_HTTP_HEADERS_SENT',
        'ERR_HTTP_HEADERS_SENT',
        false,
        true,
        true,
        'ended',
      ]);
      expect(await shared.world.savedTexts()).toEqual(['streamed']);
    });

    it('W1: what is written after the answer was dropped goes nowhere', async () => {
      const answer = await shared.world.fetch('/answered/unsaved-stream');
      expect([answer.status, await answer.json()]).toEqual([
        418,
        { error: 'UniqueConstraintViolationException' },
      ]);
      await waitFor(() => seen.length > 0, { what: 'the callback of write()' });
      expect(seen).toEqual([
        expect.objectContaining({ name: 'UniqueConstraintViolationException' }),
      ]);
      expect(await shared.world.savedTexts()).toEqual([]);
    });

    it('L2: an answer of a context that nobody has used is not held', async () => {
      expect(await (await shared.world.fetch('/answered/untouched')).text()).toBe('untouched');
      expect(seen).toEqual([true]);
      expect(shared.world.proxy.log).toEqual([]);
    });

    it('W1: a guard that answers by itself has saved what it answers for', async () => {
      const answer = await shared.world.fetch('/answering-guard');
      expect([answer.status, await answer.text()]).toEqual([202, 'from the guard']);
      expect(await shared.world.savedTexts()).toEqual(['guard']);
      expect(seen).toEqual([]);
    });

    it('S2: what a guard wrote that refuses is kept where commitOn says so, before the first byte', async () => {
      expect((await shared.world.fetch('/throwing-guard')).status).toBe(401);
      expect(await shared.world.savedTexts()).toEqual(['a failed log-in']);
      expect(shared.world.proxy.log.at(-1)).toBe('commit');
    });

    it('W1: an exception filter that answers with a success has saved what it answers for', async () => {
      const answer = await shared.world.fetch('/forgiven');
      expect([answer.status, await answer.text()]).toEqual([200, 'welcome all the same']);
      expect(await shared.world.savedTexts()).toEqual(['a failed log-in']);
    });
  },
);
