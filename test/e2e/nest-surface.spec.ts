import { EventEmitter } from 'node:events';
import { ServerResponse } from 'node:http';

import {
  Controller,
  Get,
  Global,
  Injectable,
  Module,
  Next,
  Res,
  type CallHandler,
  type ExecutionContext,
  type NestInterceptor,
  type OnApplicationShutdown,
} from '@nestjs/common';
import * as nestInternals from '@nestjs/common/internal';
import {
  APP_INTERCEPTOR,
  ApplicationConfig,
  BaseExceptionFilter,
  ExternalContextCreator,
} from '@nestjs/core';
import { Test } from '@nestjs/testing';
import { WebSocketGateway } from '@nestjs/websockets';
import {
  DbContextInterceptor,
  DbContextModule,
  getConnectionToken,
  InjectConnection,
  DbConnection,
} from 'nestjs-db-context';
import { isObservable, lastValueFrom, type Observable } from 'rxjs';

import { SCOPE_METADATA } from '../../lib/transport/after-commit-interceptors.js';
import { GATEWAY_METADATA } from '../../lib/decorators/listeners.js';
import { INTERCEPTORS_METADATA } from '../../lib/transport/route-interceptors.js';
import {
  answersByItself,
  REDIRECT_METADATA,
  RENDER_METADATA,
  SSE_METADATA,
} from '../../lib/transport/http-exchange.js';
import { nodeResponseOf } from '../../lib/transport/node-response.js';
import { ResponseHold } from '../../lib/transport/response-hold.js';
import { noteConnection, startApp, type AdapterName, type TestApp } from '../support/test-app.js';
import { HOLDING } from '../support/holding-listener.js';

interface InterceptorList {
  getGlobalInterceptors(): NestInterceptor[];
}

/** Of a global module, as the workers of queues are: Nest ends those last, in the order of the imports. */
@Injectable()
class LastToEnd implements OnApplicationShutdown {
  wasOpen: boolean | undefined;
  constructor(@InjectConnection() private readonly connection: DbConnection) {}

  onApplicationShutdown(): void {
    this.wasOpen = !this.connection.isClosed;
  }
}

@Global()
@Module({ providers: [LastToEnd], exports: [LastToEnd] })
class GlobalModule {}

@Injectable()
class OtherInterceptor implements NestInterceptor {
  intercept(_context: unknown, next: CallHandler): Observable<unknown> {
    return next.handle();
  }
}

@Controller()
class AnsweringController {
  @Get('res')
  res(@Res() _response: unknown): void {}

  @Get('next')
  next(@Next() _next: unknown): void {}

  @Get('passthrough')
  passthrough(@Res({ passthrough: true }) _response: unknown): void {}

  @Get('neither')
  neither(): void {}
}

interface Consumer {
  intercept(
    interceptors: readonly NestInterceptor[],
    args: readonly unknown[],
    instance: object,
    callback: () => void,
    next: () => Promise<unknown>,
    type: string,
  ): Promise<unknown>;
}

/** What Nest runs interceptors with, of a class that its routers share. */
function chainOf({ app }: TestApp): {
  readonly consumer: Consumer;
  readonly interceptor: NestInterceptor;
} {
  const { interceptorsConsumer } = app.get<{ readonly interceptorsConsumer: Consumer }>(
    ExternalContextCreator,
  );
  return { consumer: interceptorsConsumer, interceptor: app.get(DbContextInterceptor) };
}

const handler = (): void => undefined;
const run = (): Promise<unknown> => Promise.resolve('value');

// The internals of Nest that lib/transport uses. When one of these fails after
// an upgrade, look at lib/transport/global-interceptor.ts and lib/transport/http-exchange.ts.
describe('the parts of Nest that are not its public API', () => {
  it("http-exchange.ts: the metadata keys are Nest's", () => {
    expect(nestInternals.REDIRECT_METADATA).toBe(REDIRECT_METADATA);
    expect(nestInternals.SSE_METADATA).toBe(SSE_METADATA);
    expect(nestInternals.RENDER_METADATA).toBe(RENDER_METADATA);
  });

  it.each([
    ['res', true],
    ['next', true],
    ['passthrough', false],
    ['neither', false],
  ] as const)(
    'http-exchange.ts: @Res() and @Next() are found by their metadata (%s)',
    (name, is) => {
      const executionContext = {
        getClass: () => AnsweringController,
        getHandler: () => AnsweringController.prototype[name],
      } as unknown as ExecutionContext;
      expect(answersByItself(executionContext)).toBe(is);
    },
  );

  it('begun-appearance.ts: a held response looks to Node as one whose head was sent', () => {
    const response = new ServerResponse({ method: 'GET' } as never);
    const hold = new ResponseHold(nodeResponseOf(response)!, HOLDING);
    response.statusCode = 201;
    expect(response.end('body')).toBe(response);
    expect(response).toMatchObject({
      headersSent: true,
      writableEnded: true,
      _header: 'held back',
    });
    expect(() => response.setHeader('x-late', 'yes')).toThrow(
      expect.objectContaining({ code: 'ERR_HTTP_HEADERS_SENT' }),
    );
    hold.drop(new Error('not saved'));
    expect(response).toMatchObject({ headersSent: false, writableEnded: false, statusCode: 500 });
    response.setHeader('x-late', 'yes');
    response.end('another');
    expect(response).toMatchObject({ headersSent: true, writableEnded: true });
  });

  it('after-commit-interceptors.ts, route-interceptors.ts, handler-calls.ts: so are theirs', () => {
    expect(nestInternals.SCOPE_OPTIONS_METADATA).toBe(SCOPE_METADATA);
    expect(nestInternals.INTERCEPTORS_METADATA).toBe(INTERCEPTORS_METADATA);
    @WebSocketGateway()
    class Gateway {}
    expect(Reflect.getMetadata(GATEWAY_METADATA, Gateway)).toBe(true);
  });

  it('http-exchange.ts: BaseExceptionFilter says which errors keep their status', () => {
    const filter = new BaseExceptionFilter();
    const gone = Object.assign(new Error('gone'), { statusCode: 410, status: 410, expose: true });
    expect(filter.isHttpError(gone)).toBe(true);
    expect(filter.isHttpError(Object.assign(new Error('no'), { statusCode: 200 }))).toBe(false);
    expect(filter.isHttpError(undefined)).toBe(false);
  });

  it('http-exchange.ts: a response knows that its client has left', () => {
    const response = new ServerResponse({ method: 'GET' } as never);
    expect(response).toBeInstanceOf(EventEmitter);
    expect(response).toMatchObject({ closed: false, headersSent: false, writableFinished: false });
  });

  it.each(['before', 'after'] as const)(
    'H3: db-context-core.module.ts: the pools close after a global module that is imported %s it has ended',
    async (order) => {
      const context = DbContextModule.forRoot({
        // Nothing connects.
        connections: [noteConnection('postgres://postgres@127.0.0.1:1/nothing')],
      });
      const app = await Test.createTestingModule({
        imports: order === 'before' ? [GlobalModule, context] : [context, GlobalModule],
      }).compile();
      const last = app.get(LastToEnd);
      const connection = app.get<DbConnection>(getConnectionToken());
      await app.init();
      await app.close();
      expect([last.wasOpen, connection.isClosed]).toEqual([true, true]);
    },
  );

  describe.each<AdapterName>(['express', 'fastify'])('global-interceptor.ts over %s', (adapter) => {
    let app: TestApp;
    const useGlobal = new OtherInterceptor();

    beforeAll(async () => {
      app = await startApp({
        adapter,
        // The tests look at Nest only; nothing connects.
        connections: [noteConnection('postgres://postgres@127.0.0.1:1/nothing')],
        providers: [{ provide: APP_INTERCEPTOR, useClass: OtherInterceptor }],
        configure: (nest) => nest.useGlobalInterceptors(useGlobal),
      });
    });

    afterAll(() => app?.close());

    const list = (): InterceptorList => {
      const creator = app.app.get<{ interceptorsContextCreator: { config: InterceptorList } }>(
        ExternalContextCreator,
      );
      return creator.interceptorsContextCreator.config;
    };

    it('ExternalContextCreator leads to the global interceptors', () => {
      expect(list()).toBeInstanceOf(ApplicationConfig);
      expect(list().getGlobalInterceptors()).toHaveLength(3);
    });

    it('the list is the one that Nest reads, not a copy', () => {
      expect(list().getGlobalInterceptors()).toBe(list().getGlobalInterceptors());
    });

    it('interceptor-chain.ts: a request of HTTP is served without the chain, and others by it', async () => {
      const { interceptor, consumer } = chainOf(app);
      const served = await consumer.intercept([interceptor], [{}, {}], {}, handler, run, 'http');
      const chained = await consumer.intercept([interceptor], [{}], {}, handler, run, 'rpc');
      expect(served).toBe('value');
      expect(isObservable(chained)).toBe(true);
      expect(await lastValueFrom(chained as Observable<unknown>)).toBe('value');
    });

    it('interceptor-chain.ts: interceptors of others are run by Nest', async () => {
      const { consumer } = chainOf(app);
      const answer = await consumer.intercept([useGlobal], [{}, {}], {}, handler, run, 'http');
      expect(isObservable(answer)).toBe(true);
      expect(await lastValueFrom(answer as Observable<unknown>)).toBe('value');
    });

    it('S1: DbContextInterceptor comes first', () => {
      expect(
        list()
          .getGlobalInterceptors()
          .map((each) => each.constructor),
      ).toEqual([DbContextInterceptor, OtherInterceptor, OtherInterceptor]);
      expect(list().getGlobalInterceptors()[2]).toBe(useGlobal);
    });
  });
});
