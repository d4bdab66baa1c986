import type { AddressInfo, Server } from 'node:net';

import type { EntityManager } from '@mikro-orm/postgresql';
import { Controller } from '@nestjs/common';
import {
  ClientProxyFactory,
  MessagePattern,
  Payload,
  ServerTCP,
  Transport,
  type MicroserviceOptions,
} from '@nestjs/microservices';
import { InjectSession } from 'nestjs-db-context';
import { DbContextInstrumentation } from 'nestjs-db-context/opentelemetry';
import { lastValueFrom } from 'rxjs';

import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { SERVERS, startGraphQLWorld, type GraphQLWorld } from '../support/graphql-world.js';
import { Note, NOTE_SCHEMA } from '../support/note.entity.js';
import {
  instrumentPg,
  manageContexts,
  recordSpans,
  spanOfEachRequest,
  within,
  type SpanRecorder,
} from '../support/span-recorder.js';
import { noteConnection, startApp, type TestApp } from '../support/test-app.js';
import { waitFor } from '../support/wait-for.js';

@Controller()
class NoteMessages {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  @MessagePattern('write')
  async write(@Payload() text: string): Promise<string> {
    await this.session.insert(Note, { text });
    return 'saved';
  }
}

describe('O1: the spans', () => {
  let recorder: SpanRecorder;
  let undo: (() => void)[];

  beforeEach(() => {
    recorder = recordSpans();
    const instrumentation = new DbContextInstrumentation();
    instrumentation.setTracerProvider(recorder.provider);
    undo = [manageContexts(), instrumentPg(recorder.provider), () => instrumentation.disable()];
  });
  afterEach(() => {
    recorder.stop();
    undo.forEach((each) => each());
  });

  /** A consumer with a span for each message, as instrumentations of brokers make it. */
  class TracedServer extends ServerTCP {
    override handleMessage(socket: never, message: never): Promise<void> {
      return within(recorder.tracer, 'a message', () => super.handleMessage(socket, message));
    }
  }

  describe.each(SERVERS)('of an operation of $server over $adapter', (server) => {
    let world: GraphQLWorld;

    beforeEach(async () => {
      world = await startGraphQLWorld({
        server,
        configure: spanOfEachRequest(() => recorder.tracer),
      });
      recorder.reset();
    });
    afterEach(() => world?.close());

    it('are one transaction for all its fields', async () => {
      const query = 'mutation { a: addNote(text: "a") { text } b: addNote(text: "b") { text } }';
      await expect(world.ask(query)).resolves.toMatchObject({ data: { b: { text: 'b' } } });
      await waitFor(() => recorder.spans().some(({ name }) => name.startsWith('POST')), {
        what: 'the span of the request',
      });
      expect(recorder.tree()).toEqual([
        'POST /graphql (200)',
        '  TRANSACTION (committed, statements 2)',
        '    pg.query:BEGIN;INSERT',
        '    pg.query:INSERT',
        '    pg.query:COMMIT',
      ]);
      const [transaction] = recorder.spans().filter(({ name }) => name.startsWith('TRANSACTION'));
      expect(transaction!.attributes['db_context.origin']).toBe('mutation (addNote, addNote)');
    });
  });

  describe('of a message', () => {
    let database: TestDatabase;
    let app: TestApp;

    beforeEach(async () => {
      database = await createTestDatabase();
      await database.query(NOTE_SCHEMA);
      app = await startApp({
        connections: [noteConnection(database.url)],
        controllers: [NoteMessages],
        configure: (nest) =>
          nest.connectMicroservice<MicroserviceOptions>(
            { strategy: new TracedServer({ host: '127.0.0.1', port: 0 }) },
            { inheritAppConfig: true },
          ),
      });
      await app.app.startAllMicroservices();
      recorder.reset();
    });
    afterEach(async () => {
      await app?.close();
      await database?.drop();
    });

    it('are children of the span of its consumer', async () => {
      const [microservice] = app.app.getMicroservices();
      const { port } = (microservice as unknown as { unwrap(): Server })
        .unwrap()
        .address() as AddressInfo;
      const options = { host: '127.0.0.1', port };
      const client = ClientProxyFactory.create({ transport: Transport.TCP, options });
      await expect(lastValueFrom(client.send('write', 'a note'))).resolves.toBe('saved');
      await client.close();
      expect(recorder.tree()).toEqual([
        'a message',
        '  TRANSACTION (committed, statements 1)',
        '    pg.query:BEGIN;INSERT',
        '    pg.query:COMMIT',
      ]);
    });
  });
});
