import { CreateRequestContext } from '@mikro-orm/decorators/legacy';
import { RequestContext } from '@mikro-orm/core';
import { defineConfig, MikroORM } from '@mikro-orm/postgresql';
import { InjectSession } from 'nestjs-db-context';
import type { EntityManager } from '@mikro-orm/postgresql';
import {
  ConflictException,
  Controller,
  Post,
  UseInterceptors,
  type CallHandler,
  type ExecutionContext,
  type NestInterceptor,
} from '@nestjs/common';
import { Observable } from 'rxjs';

import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { LogRecorder } from '../support/log-recorder.js';
import { Note, NOTE_SCHEMA } from '../support/note.entity.js';
import { startApp, type AdapterName, type TestApp } from '../support/test-app.js';
import { waitFor } from '../support/wait-for.js';

let orm: MikroORM;

/** As applications have it that do not use the middleware of @mikro-orm/nestjs. */
class RequestContextInterceptor implements NestInterceptor {
  intercept(_: ExecutionContext, next: CallHandler): Observable<unknown> {
    return new Observable((subscriber) =>
      RequestContext.create(orm.em, () => next.handle().subscribe(subscriber)),
    );
  }
}

@Controller('intercepted')
@UseInterceptors(RequestContextInterceptor)
class InterceptedController {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  @Post('flushed')
  async flushed(): Promise<void> {
    await this.session.persist(new Note('flushed')).flush();
    throw new ConflictException();
  }

  @Post('inserted')
  async inserted(): Promise<void> {
    await orm.em.insert(Note, { text: 'inserted' });
  }

  @Post('unflushed')
  async unflushed(): Promise<void> {
    this.session.persist(new Note('lost'));
    await Promise.resolve();
  }
}

@Controller('decorated')
class DecoratedController {
  readonly orm = orm;

  constructor(@InjectSession() private readonly session: EntityManager) {}

  @Post('unflushed')
  @CreateRequestContext()
  async unflushed(): Promise<void> {
    this.orm.em.persist(new Note('lost'));
    await Promise.resolve();
  }

  @Post('flushed')
  async flushed(): Promise<void> {
    await this.session.insert(Note, { text: 'of the request' });
    await this.flush();
  }

  @CreateRequestContext()
  async flush(): Promise<void> {
    await this.orm.em.persist(new Note('of the method')).flush();
  }
}

describe.each<AdapterName>(['express', 'fastify'])(
  'a RequestContext that is opened inside of a context, over %s',
  (adapter) => {
    const log = new LogRecorder();
    let database: TestDatabase;
    let app: TestApp;

    beforeAll(async () => {
      database = await createTestDatabase();
      await database.query(NOTE_SCHEMA);
      orm = await MikroORM.init(defineConfig({ clientUrl: database.url, entities: [Note] }));
      app = await startApp({
        adapter,
        connections: [{ orm }],
        watch: { contextOpenMs: 60_000, idleInTransactionMs: 60_000 },
        controllers: [InterceptedController, DecoratedController],
      });
      app.app.useLogger(log);
    });
    afterAll(async () => {
      await app.close();
      await orm.close();
      await database.drop();
    });

    it.each([
      ['intercepted/flushed', 409, /flushed sent .*insert into "note".*RequestContext.*opened/s],
      ['intercepted/inserted', 201, /inserted sent .*insert into "note".*RequestContext.*opened/s],
      ['intercepted/unflushed', 201, /unflushed .*RequestContext.*never flushed.*\(Note\)/s],
      ['decorated/unflushed', 201, /DecoratedController.*RequestContext.*never flushed.*\(Note\)/s],
    ])('W2: names what %s loses, or saves at once', async (path, status, warning) => {
      log.lines.length = 0;
      expect((await app.fetch(`/${path}`, { method: 'POST' })).status).toBe(status);
      await waitFor(() => log.ofLibrary('warn').length > 0, { what: 'a warning' });
      expect(log.ofLibrary('warn')).toEqual([expect.stringMatching(warning)]);
    });

    it('says nothing of a method under @CreateRequestContext() that flushes', async () => {
      log.lines.length = 0;
      expect((await app.fetch('/decorated/flushed', { method: 'POST' })).status).toBe(201);
      expect(log.ofLibrary('warn')).toEqual([]);
    });
  },
);
