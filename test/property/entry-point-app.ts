import { once, type EventEmitter } from 'node:events';
import { Readable } from 'node:stream';

import {
  Catch,
  Controller,
  Get,
  Inject,
  Injectable,
  Module,
  Req,
  Res,
  StreamableFile,
  UseGuards,
  type ArgumentsHost,
  type CanActivate,
  type ExceptionFilter,
  type ExecutionContext,
  type MiddlewareConsumer,
  type NestMiddleware,
  type NestModule,
} from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import type { EntityManager } from '@mikro-orm/postgresql';
import { getSessionToken } from 'nestjs-db-context';
import { defer } from 'rxjs';

import { ContextRegistry } from '../../lib/context/context-registry.js';
import { deferred, type Deferred } from '../support/deferred.js';
import { Note } from '../support/note.entity.js';
import type { AdapterName } from '../support/test-app.js';
import { startWorld, type TestWorld } from '../support/test-world.js';
import { waitFor } from '../support/wait-for.js';
import type { EarlyEnd, EntryRequest, HandlerEnd, Mount, Step } from './entry-point-requests.js';

/** What has come of a request. */
export interface EntryResult {
  /** `undefined`: the client left before it was answered. */
  readonly status: number | undefined;
  /** The notes that the code of the request has written. */
  readonly written: readonly string[];
  readonly saved: readonly string[];
}

interface NodeRequest {
  readonly headers: Readonly<Record<string, string>>;
}

interface NodeResponse extends EventEmitter {
  statusCode: number;
  write(chunk: string): boolean;
  end(chunk?: string): unknown;
}

/** The part of Express' and Fastify's responses that is used. */
interface Reply {
  readonly raw?: NodeResponse;
  status(code: number): Reply;
  send(body: string): unknown;
}

const HEADER = 'x-entry';

/** What a middleware or a guard throws. */
class EarlyError extends Error {}

/** Does what a request says, and keeps what was written. */
@Injectable()
class Steps {
  written: string[] = [];
  left: Deferred<void> = deferred();

  constructor(@Inject(getSessionToken()) private readonly session: EntityManager) {}

  async write(request: NodeRequest, name: 'middleware' | 'guard' | 'handler'): Promise<void> {
    const entry = entryOf(request);
    if (!entry[name].writes) {
      return;
    }
    await this.writeNote(entry, name);
  }

  async writeNote({ commitFails }: EntryRequest, text: string): Promise<void> {
    if (commitFails) {
      await this.session.execute('set constraints all deferred');
      await this.session.insert(Note, { text });
    }
    await this.session.insert(Note, { text });
    this.written.push(text);
  }

  /** Where the client is to leave, waits until it has. */
  async maybeLeave(
    request: NodeRequest,
    response: NodeResponse,
    name: 'guard' | 'handler',
  ): Promise<void> {
    if (entryOf(request).leaves === name) {
      const isClosed = once(response, 'close');
      this.left.resolve();
      await isClosed;
    }
  }
}

function entryOf({ headers }: NodeRequest): EntryRequest {
  return JSON.parse(headers[HEADER]!) as EntryRequest;
}

/** @returns whether the request goes on */
async function endEarly(
  { end }: Step<EarlyEnd>,
  response: NodeResponse,
  answer: (status: number) => unknown,
): Promise<boolean> {
  switch (end) {
    case 'go on':
      return true;
    case 'throw':
      throw new EarlyError('early');
    case 'answer in pieces':
      response.statusCode = 201;
      response.write('a');
      await new Promise((resolve) => void setImmediate(resolve));
      response.end('b');
      return false;
    default:
      answer(end === 'answer' ? 201 : 409);
      return false;
  }
}

@Injectable()
class EntryMiddleware implements NestMiddleware {
  constructor(@Inject(Steps) private readonly steps: Steps) {}

  async use(request: NodeRequest, response: NodeResponse, next: () => void): Promise<void> {
    await this.steps.write(request, 'middleware');
    const goesOn = await endEarly(entryOf(request).middleware, response, (status) => {
      response.statusCode = status;
      response.end('from the middleware');
    });
    if (goesOn) {
      next();
    }
  }
}

@Injectable()
class EntryGuard implements CanActivate {
  constructor(@Inject(Steps) private readonly steps: Steps) {}

  async canActivate(context: ExecutionContext): Promise<boolean> {
    const request = context.switchToHttp().getRequest<NodeRequest>();
    const reply = context.switchToHttp().getResponse<Reply>();
    const raw = reply.raw ?? (reply as unknown as NodeResponse);
    await this.steps.write(request, 'guard');
    await this.steps.maybeLeave(request, raw, 'guard');
    return endEarly(entryOf(request).guard, raw, (status) =>
      reply.status(status).send('from the guard'),
    );
  }
}

/** Answers what was thrown early with a success, where the request says so. */
@Catch(EarlyError)
class ForgivingFilter implements ExceptionFilter {
  constructor(private readonly host: HttpAdapterHost) {}

  catch(_error: unknown, host: ArgumentsHost): void {
    const { httpAdapter } = this.host;
    const response = host.switchToHttp().getResponse<object>();
    const { isForgiving } = entryOf(host.switchToHttp().getRequest<NodeRequest>());
    if (!httpAdapter.isHeadersSent(response)) {
      httpAdapter.reply(response, { isForgiving }, isForgiving ? 200 : 500);
    }
  }
}

@UseGuards(EntryGuard)
@Controller()
class EntryController {
  constructor(@Inject(Steps) private readonly steps: Steps) {}

  @Get('returned')
  async returned(
    @Req() request: NodeRequest,
    @Res({ passthrough: true }) reply: Reply,
  ): Promise<unknown> {
    const { end } = entryOf(request).handler;
    const work = async (): Promise<string> => {
      await this.steps.write(request, 'handler');
      await this.steps.maybeLeave(
        request,
        reply.raw ?? (reply as unknown as NodeResponse),
        'handler',
      );
      if (end === 'throw' || end === 'observable fails') {
        throw new Error('thrown');
      }
      return 'returned';
    };
    if (end === 'observable' || end === 'observable fails') {
      return defer(work);
    }
    const value = await work();
    switch (end) {
      case 'status 409':
        reply.status(409);
        return value;
      case 'stream':
        return new StreamableFile(Readable.from([value]));
      case 'cannot be serialized':
        return { size: 1n };
      default:
        return value;
    }
  }

  @Get('sent')
  async sent(@Req() request: NodeRequest, @Res() reply: Reply): Promise<void> {
    const entry = entryOf(request);
    await this.steps.write(request, 'handler');
    await this.steps.maybeLeave(
      request,
      reply.raw ?? (reply as unknown as NodeResponse),
      'handler',
    );
    reply.status(entry.handler.end === 'res.send 409' ? 409 : 201).send('sent');
    if (entry.handler.end === 'res.send, throw') {
      throw new Error('thrown after the answer');
    }
    if (entry.handler.end === 'res.send, write') {
      await this.steps.writeNote(entry, 'handler, after its answer');
    }
  }
}

@Module({ providers: [Steps, EntryMiddleware], exports: [Steps] })
class EntryModule implements NestModule {
  configure(consumer: MiddlewareConsumer): void {
    consumer.apply(EntryMiddleware).forRoutes('{*path}');
  }
}

function isSent(end: HandlerEnd): boolean {
  return end.startsWith('res.send');
}

/** An application that does what its requests say. */
export class EntryPointApp {
  readonly #world: TestWorld;
  readonly #steps: Steps;

  private constructor(world: TestWorld) {
    this.#world = world;
    this.#steps = world.app.get(Steps);
  }

  static async start(adapter: AdapterName, mount: Mount): Promise<EntryPointApp> {
    const world = await startWorld(
      {},
      {
        adapter,
        mount,
        serializeFirst: true,
        imports: [EntryModule],
        controllers: [EntryController],
        configure: (app) => app.useGlobalFilters(new ForgivingFilter(app.get(HttpAdapterHost))),
      },
    );
    return new EntryPointApp(world);
  }

  close(): Promise<void> {
    return this.#world.close();
  }

  /** Sends a request, and waits until nothing of it runs any more. */
  async send(request: EntryRequest): Promise<EntryResult> {
    const world = this.#world;
    await world.database.query('truncate note');
    this.#steps.written = [];
    this.#steps.left = deferred();
    const status = await this.#statusOf(request);
    const registry = world.app.get(ContextRegistry);
    await waitFor(() => registry.runningCount === 0, { what: 'the context to end' });
    await world.serverIsIdle();
    return { status, written: this.#steps.written, saved: await world.savedTexts() };
  }

  async #statusOf(request: EntryRequest): Promise<number | undefined> {
    const leaving = new AbortController();
    void this.#steps.left.promise.then(() => leaving.abort());
    const path = isSent(request.handler.end) ? '/sent' : '/returned';
    try {
      const answer = await this.#world.fetch(path, {
        headers: { [HEADER]: JSON.stringify(request) },
        signal: leaving.signal,
      });
      await answer.text();
      return answer.status;
    } catch (error) {
      if (leaving.signal.aborted) {
        return undefined;
      }
      throw error;
    }
  }
}
