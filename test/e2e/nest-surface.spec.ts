import { EventEmitter } from 'node:events';
import { ServerResponse } from 'node:http';

import {
  Global,
  Injectable,
  Module,
  type CallHandler,
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
import {
  DbContextInterceptor,
  DbContextModule,
  getConnectionToken,
  InjectConnection,
  DbConnection,
} from 'nestjs-db-context';
import type { Observable } from 'rxjs';

import { REDIRECT_METADATA, SSE_METADATA } from '../../lib/transport/http-exchange.js';
import { noteConnection, startApp, type AdapterName, type TestApp } from '../support/test-app.js';

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

// The internals of Nest that lib/transport uses. When one of these fails after
// an upgrade, look at lib/transport/global-interceptor.ts and lib/transport/http-exchange.ts.
describe('the parts of Nest that are not its public API', () => {
  it("http-exchange.ts: the metadata keys are Nest's", () => {
    expect(nestInternals.REDIRECT_METADATA).toBe(REDIRECT_METADATA);
    expect(nestInternals.SSE_METADATA).toBe(SSE_METADATA);
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
