import type { EntityManager } from '@mikro-orm/postgresql';
import { Controller } from '@nestjs/common';
import {
  Ctx,
  EventPattern,
  Payload,
  RmqContext,
  Server,
  type CustomTransportStrategy,
  type MicroserviceOptions,
} from '@nestjs/microservices';
import { DbContext, InjectSession } from 'nestjs-db-context';

import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { deferred } from '../support/deferred.js';
import { Note, NOTE_SCHEMA } from '../support/note.entity.js';
import { noteConnection, startApp, type TestApp } from '../support/test-app.js';

interface Message {
  readonly text: string;
  readonly fields: { redelivered: boolean };
}

/**
 * Stands in for RabbitMQ, which needs a broker: it delivers messages as `ServerRMQ` of Nest does, with
 * the same context, and again when one is given back.
 */
class FakeBroker extends Server implements CustomTransportStrategy {
  /** What became of each delivery, in order. */
  readonly settled: string[] = [];
  /** Called as a message is acknowledged. */
  onAck: (message: Message) => void = () => undefined;
  onEnd: (message: Message) => void = () => undefined;

  override listen(callback: () => void): void {
    callback();
  }

  override close(): void {}

  override on(): void {}

  // oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- as Nest declares it
  override unwrap<T>(): T {
    return undefined as T;
  }

  /** Waits until a message is acknowledged, or given up. */
  async deliver(text: string): Promise<void> {
    const end = deferred();
    this.onEnd = () => end.resolve();
    await this.#send({ text, fields: { redelivered: false } });
    await end.promise;
  }

  async #send(message: Message): Promise<void> {
    const channel = {
      ack: () => {
        this.settled.push('ack');
        this.onAck(message);
        this.onEnd(message);
      },
      nack: (_message: Message, _allUpTo: boolean, requeue: boolean) => {
        this.settled.push(requeue ? 'requeued' : 'given up');
        if (requeue) {
          void this.#send({ ...message, fields: { redelivered: true } });
        } else {
          this.onEnd(message);
        }
      },
    };
    const pattern = JSON.stringify({ event: 'noted' });
    const context = new RmqContext([message, channel, pattern]);
    await this.handleEvent(pattern, { pattern, data: message.text }, context);
  }
}

let attempts = 0;

@Controller()
class NoteConsumer {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    private readonly dbContext: DbContext,
  ) {}

  @EventPattern({ event: 'noted' })
  async noted(@Payload() text: string, @Ctx() context: RmqContext): Promise<void> {
    const channel = context.getChannelRef() as {
      ack(message: object): void;
      nack(message: object, allUpTo: boolean, requeue: boolean): void;
    };
    const message = context.getMessage() as Message;
    this.dbContext.onCommit(() => channel.ack(message));
    this.dbContext.onRollback(() => channel.nack(message, false, !message.fields.redelivered));
    attempts++;
    await this.session.execute('set constraints all deferred');
    await this.session.insert(Note, { text });
    if (text === 'thrown' && attempts === 1) {
      throw new Error('the first time');
    }
  }
}

describe('a message that its handler acknowledges itself', () => {
  let database: TestDatabase;
  let app: TestApp;
  const broker = new FakeBroker();

  beforeAll(async () => {
    database = await createTestDatabase();
    await database.query(NOTE_SCHEMA);
    app = await startApp({
      connections: [noteConnection(database.url)],
      controllers: [NoteConsumer],
      configure: (nest) =>
        nest.connectMicroservice<MicroserviceOptions>(
          { strategy: broker },
          { inheritAppConfig: true },
        ),
    });
    await app.app.startAllMicroservices();
  });

  afterAll(async () => {
    await app?.close();
    await database?.drop();
  });

  beforeEach(async () => {
    attempts = 0;
    broker.settled.length = 0;
    await database.query('truncate note restart identity');
  });

  const saved = async (): Promise<unknown[]> =>
    (await database.query('select text from note order by id')).map((row) => row['text']);

  it('W1: is acknowledged in onCommit, when its work can be seen', async () => {
    const atAck = deferred<unknown[]>();
    broker.onAck = () => atAck.resolve(saved());
    await broker.deliver('new');
    expect(await atAck.promise).toEqual(['new']);
    expect(broker.settled).toEqual(['ack']);
    broker.onAck = () => undefined;
  });

  it('W1: is given back after a COMMIT that fails, and is not lost', async () => {
    await database.query(`insert into note (text) values ('taken')`);
    await broker.deliver('taken');
    expect(broker.settled).toEqual(['requeued', 'given up']);
    expect(await saved()).toEqual(['taken']);
  });

  it('W1: is given back when its handler throws, and is done the second time', async () => {
    await broker.deliver('thrown');
    expect(broker.settled).toEqual(['requeued', 'ack']);
    expect(await saved()).toEqual(['thrown']);
  });
});
