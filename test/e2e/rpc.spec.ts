import type { AddressInfo, Server } from 'node:net';

import type { EntityManager } from '@mikro-orm/postgresql';
import { Controller, Injectable, type CallHandler, type NestInterceptor } from '@nestjs/common';
import { APP_INTERCEPTOR } from '@nestjs/core';
import { ExecutionContextHost } from '@nestjs/core/internal';
import {
  ClientProxyFactory,
  EventPattern,
  MessagePattern,
  Payload,
  Transport,
  type ClientProxy,
  type MicroserviceOptions,
} from '@nestjs/microservices';
import { Test } from '@nestjs/testing';
import {
  DbContext,
  DbContextInterceptor,
  DbContextModule,
  DbTransaction,
  getConnectionToken,
  InjectSession,
  RetryOnSerializationFailure,
  SkipDbContext,
  type DbConnection,
} from 'nestjs-db-context';
import { concatMap, defer, Observable, type Subscriber } from 'rxjs';

import { ContextRegistry } from '../../lib/context/context-registry.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { deferred, type Deferred } from '../support/deferred.js';
import { Note, NOTE_SCHEMA } from '../support/note.entity.js';
import { noteConnection, startApp } from '../support/test-app.js';
import { waitFor } from '../support/wait-for.js';

let source: Subscriber<string> | undefined;
let eventDone: Deferred<void>;
let attempts: string[] = [];

@Controller()
class NoteController {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  @MessagePattern('write')
  async write(@Payload() text: string): Promise<string> {
    await this.#write(text);
    return 'saved';
  }

  @MessagePattern('throw')
  async throw(@Payload() text: string): Promise<string> {
    await this.#write(text);
    throw new Error('after the insert');
  }

  @MessagePattern('twice')
  async twice(@Payload() text: string): Promise<string> {
    await this.#writeTwice(text);
    return 'looks fine';
  }

  @MessagePattern('stream')
  stream(@Payload() text: string): Observable<string> {
    return this.#stream(() => this.#write(text));
  }

  @MessagePattern('stream-twice')
  streamTwice(@Payload() text: string): Observable<string> {
    return this.#stream(() => this.#writeTwice(text));
  }

  @SkipDbContext()
  @MessagePattern('live')
  live(): Observable<string> {
    return new Observable((subscriber) => {
      source = subscriber;
    });
  }

  @MessagePattern('held')
  held(): Observable<string> {
    return this.live();
  }

  @EventPattern('noted')
  async noted(@Payload() text: string): Promise<void> {
    await this.#write(text);
    eventDone.resolve();
  }

  @RetryOnSerializationFailure({ attempts: 3, backoffMs: 1 })
  @DbTransaction({ isolationLevel: 'repeatable read' })
  @MessagePattern('retried')
  async retried(@Payload() text: string): Promise<string> {
    await this.#write(text);
    if (attempts.push('attempt') < 3) {
      await this.session.execute(
        `do $$ begin raise exception 'met' using errcode = '40001'; end $$`,
      );
    }
    return `attempt ${attempts.length}`;
  }

  async #write(text: string): Promise<void> {
    await this.session.persist(new Note(text)).flush();
  }

  /** The duplicate is found by the COMMIT. */
  async #writeTwice(text: string): Promise<void> {
    await this.session.execute('set constraints all deferred');
    this.session.persist([new Note(text), new Note(text)]);
    await this.session.flush();
  }

  #stream(work: () => Promise<void>): Observable<string> {
    return new Observable((subscriber) => {
      subscriber.next('first');
      void work().then(() => {
        subscriber.next('second');
        subscriber.next('last');
        subscriber.complete();
      });
    });
  }
}

/** An interceptor of the application, which works in the transaction of the message. */
@Injectable()
class LastWord implements NestInterceptor {
  constructor(private readonly dbContext: DbContext) {}

  intercept(_context: unknown, next: CallHandler): Observable<unknown> {
    return next.handle().pipe(
      concatMap(async (value: unknown) => {
        if (value === 'saved') {
          await this.dbContext.session().insert(Note, { text: 'last word' });
        }
        return value;
      }),
    );
  }
}

interface Service {
  readonly client: ClientProxy;
  readonly registry: ContextRegistry;
  readonly interceptor: DbContextInterceptor;
  readonly handler: NoteController;
  checkedOut(): number;
  close(): Promise<void>;
}

const OPTIONS = {
  transport: Transport.TCP,
  options: { host: '127.0.0.1', port: 0 },
} satisfies MicroserviceOptions;
const PROVIDERS = [{ provide: APP_INTERCEPTOR, useClass: LastWord }];

function connect(server: Server): ClientProxy {
  const { port } = server.address() as AddressInfo;
  return ClientProxyFactory.create({ ...OPTIONS, options: { ...OPTIONS.options, port } });
}

/** A microservice next to an HTTP server. */
async function startHybrid(url: string): Promise<Service> {
  const app = await startApp({
    connections: [noteConnection(url)],
    controllers: [NoteController],
    providers: PROVIDERS,
    configure: (nest) =>
      nest.connectMicroservice<MicroserviceOptions>(OPTIONS, { inheritAppConfig: true }),
  });
  await app.app.startAllMicroservices();
  const [microservice] = app.app.getMicroservices();
  const client = connect((microservice as unknown as { unwrap(): Server }).unwrap());
  return {
    client,
    registry: app.app.get(ContextRegistry),
    interceptor: app.app.get(DbContextInterceptor),
    handler: app.app.get(NoteController),
    checkedOut: () => app.pool().checkedOut,
    close: async () => {
      await client.close();
      await app.close();
    },
  };
}

/** A microservice alone. */
async function startStandalone(url: string): Promise<Service> {
  const connection = noteConnection(url);
  const testingModule = await Test.createTestingModule({
    imports: [DbContextModule.forRoot({ connections: [connection] })],
    controllers: [NoteController],
    providers: PROVIDERS,
  }).compile();
  const app = testingModule.createNestMicroservice<MicroserviceOptions>({
    ...OPTIONS,
    logger: false,
  });
  await app.listen();
  const client = connect(app.unwrap<Server>());
  const pool = app.get<DbConnection>(getConnectionToken());
  return {
    client,
    registry: app.get(ContextRegistry),
    interceptor: app.get(DbContextInterceptor),
    handler: app.get(NoteController),
    checkedOut: () => pool.poolState()?.checkedOut ?? 0,
    close: async () => {
      await client.close();
      await app.close();
    },
  };
}

/** All that a client got for a message. */
async function ask(client: ClientProxy, pattern: string, text = pattern): Promise<unknown[]> {
  return new Promise((resolve) => {
    const got: unknown[] = [];
    client.send<unknown>(pattern, text).subscribe({
      next: (value) => got.push(value),
      error: (error: { message?: string }) => resolve([...got, `error: ${error.message}`]),
      complete: () => resolve(got),
    });
  });
}

describe.each([
  ['a hybrid application', startHybrid],
  ['a microservice alone', startStandalone],
])('messages of %s', (_, start) => {
  let database: TestDatabase;
  let service: Service;

  beforeAll(async () => {
    database = await createTestDatabase();
    await database.query(NOTE_SCHEMA);
    service = await start(database.url);
  });

  afterAll(async () => {
    await service?.close();
    await database.drop();
  });

  beforeEach(async () => {
    source = undefined;
    attempts = [];
    eventDone = deferred();
    await database.query('truncate note restart identity');
  });

  afterEach(async () => {
    await waitFor(() => service.registry.runningCount === 0, { what: 'the contexts to end' });
    expect(service.checkedOut()).toBe(0);
  });

  const savedTexts = async (): Promise<string[]> =>
    (await database.query<{ text: string }>('select text from note order by id')).map(
      ({ text }) => text,
    );

  it('S1: commits before the answer, with what interceptors of the application do', async () => {
    expect(await ask(service.client, 'write')).toEqual(['saved']);
    expect(await savedTexts()).toEqual(['write', 'last word']);
    expect(await database.query('select distinct xid from note')).toHaveLength(1);
  });

  it('S3: rolls back what a handler that throws has written', async () => {
    expect(await ask(service.client, 'throw')).toEqual(['error: Internal server error']);
    expect(await savedTexts()).toEqual([]);
  });

  it('S1: a commit that fails is the answer, and the value never is', async () => {
    expect(await ask(service.client, 'twice')).toEqual(['error: Internal server error']);
    expect(await savedTexts()).toEqual([]);
  });

  it('S1: of several values the last one comes after the commit', async () => {
    expect(await ask(service.client, 'stream')).toEqual(['first', 'second', 'last']);
    expect(await savedTexts()).toEqual(['stream']);
    await database.query('truncate note');
    expect(await ask(service.client, 'stream-twice')).toEqual([
      'first',
      'second',
      'error: Internal server error',
    ]);
    expect(await savedTexts()).toEqual([]);
  });

  it('S1: an event is a unit of work of its own', async () => {
    service.client.emit('noted', 'event').subscribe();
    await eventDone.promise;
    await waitFor(async () => (await savedTexts()).length > 0, { what: 'the commit' });
    expect(await savedTexts()).toEqual(['event']);
  });

  it('S1: a stream that does not end holds its latest value, unless it has no context', async () => {
    const seen: string[] = [];
    const subscription = service.client.send<string>('live', '').subscribe((v) => seen.push(v));
    await waitFor(() => source !== undefined, { what: 'the handler' });
    source!.next('at once');
    await waitFor(() => seen.length === 1, { what: 'the value' });
    source!.complete();
    subscription.unsubscribe();

    source = undefined;
    const held = ask(service.client, 'held');
    await waitFor(() => source !== undefined, { what: 'the handler' });
    expect(service.registry.runningCount).toBe(1);
    source!.next('a');
    source!.next('b');
    source!.complete();
    expect(await held).toEqual(['a', 'b']);
  });

  it('C7: @RetryOnSerializationFailure() runs a message again', async () => {
    expect(await ask(service.client, 'retried')).toEqual(['attempt 3']);
    expect(await savedTexts()).toEqual(['retried']);
  });

  it('S1: what a gateway answers comes after the commit, too', async () => {
    const context = new ExecutionContextHost([{}, 'text'], NoteController, () => undefined);
    context.setType('ws');
    const handler: CallHandler = { handle: () => defer(() => service.handler.twice('gateway')) };
    const got: unknown[] = [];
    await new Promise<void>((resolve) => {
      service.interceptor.intercept(context, handler).subscribe({
        next: (value) => got.push(value),
        error: (error: Error) => {
          got.push(error.message);
          resolve();
        },
        complete: resolve,
      });
    });
    expect(got).toEqual([expect.stringContaining('note_text_unique')]);
    expect(await savedTexts()).toEqual([]);
  });
});
