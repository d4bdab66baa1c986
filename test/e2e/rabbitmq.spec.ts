import type { Socket } from 'node:net';

import type { EntityManager } from '@mikro-orm/postgresql';
import { Controller, Injectable, type BeforeApplicationShutdown, type Type } from '@nestjs/common';
import {
  ClientProxyFactory,
  Ctx,
  EventPattern,
  MessagePattern,
  Payload,
  RmqContext,
  Transport,
  type ClientProxy,
  type RmqOptions,
} from '@nestjs/microservices';
import { connect, type Channel, type ChannelModel, type ConsumeMessage } from 'amqplib';
import { DbContext, InjectSession, SkipDbContext } from 'nestjs-db-context';
import { firstValueFrom } from 'rxjs';

import { ContextRegistry } from '../../lib/context/context-registry.js';
import { deferred, type Deferred } from '../support/deferred.js';
import { LogRecorder } from '../support/log-recorder.js';
import { Note } from '../support/note.entity.js';
import { describeWithRabbitMq, startRabbitMq, type TestRabbitMq } from '../support/rabbitmq.js';
import { startWorld, type TestWorld } from '../support/test-world.js';
import { waitFor } from '../support/wait-for.js';

const QUEUE = 'notes';
const DEAD = 'dead-notes';

/** Each delivery: its text, and whether it is a second one. */
let deliveries: [text: string, redelivered: boolean][] = [];
/** What could be seen of the work as each message was acknowledged. */
let savedAtAck: string[][] = [];
let savedTexts: () => Promise<string[]>;
let mayGoOn: Deferred<void> | undefined;

@Controller()
class NoteConsumer {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    private readonly dbContext: DbContext,
  ) {}

  @EventPattern({ event: 'noted' })
  async noted(@Payload() text: string, @Ctx() context: RmqContext): Promise<void> {
    this.#acknowledge(text, context);
    await this.#write(text);
    await mayGoOn?.promise;
  }

  @EventPattern({ event: 'hung' })
  async hung(@Payload() text: string, @Ctx() context: RmqContext): Promise<void> {
    this.#acknowledge(text, context);
    await this.#write(text);
    await deferred().promise;
  }

  @EventPattern({ event: 'idempotent' })
  async idempotent(@Payload() text: string, @Ctx() context: RmqContext): Promise<void> {
    this.#acknowledge(text, context);
    if ((await this.session.count(Note, { text })) === 0) {
      await this.session.insert(Note, { text });
    }
  }

  @MessagePattern('write')
  async write(@Payload() text: string, @Ctx() context: RmqContext): Promise<string> {
    // Its sender learns of the failure, so that the broker need not.
    const { channel, message } = deliveryOf(context);
    this.dbContext.onCommit(() => channel.ack(message));
    this.dbContext.onRollback(() => channel.ack(message));
    await this.#write(text);
    return `saved ${text}`;
  }

  @SkipDbContext()
  @MessagePattern('ping')
  ping(@Ctx() context: RmqContext): string {
    const { channel, message } = deliveryOf(context);
    channel.ack(message);
    return 'pong';
  }

  /** As docs/messages.md has it. */
  #acknowledge(text: string, context: RmqContext): void {
    const { channel, message } = deliveryOf(context);
    const { consumerTag, redelivered } = message.fields;
    consumers.set(consumerTag, channel);
    deliveries.push([text, redelivered]);
    this.dbContext.onCommit(async () => {
      savedAtAck.push(await savedTexts());
      channel.ack(message);
    });
    this.dbContext.onRollback(() => channel.nack(message, false, !redelivered));
  }

  async #write(text: string): Promise<void> {
    await this.session.execute('set constraints all deferred');
    await this.session.insert(Note, { text });
    const isFirst = deliveries.filter(([other]) => other === text).length === 1;
    if (text === 'twice' && isFirst) {
      await this.session.insert(Note, { text });
    }
    if (text === 'thrown' && isFirst) {
      throw new Error('the first time');
    }
  }
}

/** The channels that messages have come by, by the tag of their consumer. */
const consumers = new Map<string, Channel>();

/** As docs/messages.md has it. */
@Injectable()
class CancelConsumers implements BeforeApplicationShutdown {
  async beforeApplicationShutdown(): Promise<void> {
    await Promise.all([...consumers].map(([tag, channel]) => channel.cancel(tag)));
  }
}

/** Cuts the connection of the consumer to its broker. */
const loseBroker = (world: TestWorld): void => {
  const [microservice] = world.app.getMicroservices();
  const { connection } = (
    microservice as unknown as { unwrap(): { connection: ChannelModel } }
  ).unwrap();
  (connection.connection as unknown as { stream: Socket }).stream.destroy(new Error('cut'));
};

const deliveryOf = (context: RmqContext): { channel: Channel; message: ConsumeMessage } => ({
  channel: context.getChannelRef() as Channel,
  message: context.getMessage() as ConsumeMessage,
});

describeWithRabbitMq('messages of RabbitMQ that their handler acknowledges', () => {
  let broker: TestRabbitMq;
  let observer: ChannelModel;
  let channel: Channel;
  let world: TestWorld;
  let client: ClientProxy;
  let log: LogRecorder;

  const options = (noAck: boolean): RmqOptions => ({
    transport: Transport.RMQ,
    options: {
      urls: [broker.url],
      queue: QUEUE,
      noAck,
      prefetchCount: 5,
      socketOptions: { reconnectTimeInSeconds: 0.1 },
      queueOptions: { durable: false, deadLetterExchange: '', deadLetterRoutingKey: DEAD },
    },
  });

  beforeAll(async () => {
    broker = await startRabbitMq();
    observer = await connect(broker.url);
    channel = await observer.createChannel();
    await channel.assertQueue(DEAD, { durable: false });
    client = ClientProxyFactory.create(options(true));
  }, 120_000);
  afterAll(async () => {
    await client?.close();
    await observer?.close();
    await broker?.stop();
  });

  const start = async (
    limits: { readonly shutdownTimeoutMs?: number } = {},
    providers: readonly Type[] = [],
  ): Promise<void> => {
    log = new LogRecorder();
    world = await startWorld(
      {},
      {
        ...limits,
        controllers: [NoteConsumer],
        providers,
        configure: (app) => {
          app.useLogger(log);
          app.connectMicroservice(options(false), { inheritAppConfig: true });
        },
      },
    );
    savedTexts = () => world.savedTexts();
    await world.app.startAllMicroservices();
  };

  beforeEach(async () => {
    deliveries = [];
    savedAtAck = [];
    mayGoOn = undefined;
    consumers.clear();
  });
  afterEach(async () => {
    mayGoOn?.resolve();
    await world.close();
    expect(await waiting(QUEUE)).toBe(0);
    await channel.purgeQueue(DEAD);
  });

  /** Messages of a queue that no consumer has. */
  const waiting = async (queue: string): Promise<number> =>
    (await channel.checkQueue(queue)).messageCount;
  /** Takes all messages out of a queue. */
  const take = async (queue: string): Promise<string[]> => {
    const texts: string[] = [];
    for (let left = await waiting(queue); left > 0; left--) {
      const message = await channel.get(queue, { noAck: true });
      const packet = JSON.parse(String(message && message.content)) as { data: string };
      texts.push(packet.data);
    }
    return texts;
  };
  const errors = (): string[] =>
    log.lines.filter(({ level }) => level === 'error').map(({ message }) => message);
  const emit = (event: string, text: string): Promise<unknown> =>
    firstValueFrom(client.emit({ event }, text), { defaultValue: undefined });
  const ask = (pattern: string, text: string): Promise<unknown> =>
    firstValueFrom(client.send<unknown>(pattern, text)).catch((error: unknown) => ({ error }));
  const atCommit = async (): Promise<Deferred<void>> => {
    const commit = deferred();
    const reached = deferred();
    world.proxy.onStatement = async (sql) => {
      if (sql === 'commit') {
        reached.resolve();
        await commit.promise;
      }
    };
    await reached.promise;
    world.proxy.onStatement = undefined;
    return commit;
  };

  it('W1: is acknowledged after the COMMIT, and not delivered again', async () => {
    await start();
    await emit('noted', 'new');
    await waitFor(() => savedAtAck.length > 0, { what: 'the acknowledgement' });
    expect(savedAtAck).toEqual([['new']]);
    // What is not acknowledged goes back into the queue as the consumer leaves.
    await world.app.close();
    expect(await waiting(QUEUE)).toBe(0);
    expect(deliveries).toEqual([['new', false]]);
  });

  it.each([
    ['whose COMMIT fails', 'twice', 'note_text_unique'],
    ['whose handler throws', 'thrown', 'the first time'],
  ])('W1: a message %s is delivered again, and then done', async (_, text, reason) => {
    await start();
    await emit('noted', text);
    await waitFor(() => savedAtAck.length > 0, { what: 'the acknowledgement' });
    expect(deliveries).toEqual([
      [text, false],
      [text, true],
    ]);
    expect(savedAtAck).toEqual([[text]]);
    expect(errors()).toEqual([expect.stringContaining(reason)]);
  });

  it('W1: a message whose COMMIT fails each time is with the dead letters, not lost', async () => {
    await start();
    await world.database.query(`insert into note (text) values ('taken')`);
    await emit('noted', 'taken');
    await waitFor(async () => (await waiting(DEAD)) === 1, { what: 'the dead letter' });
    expect(deliveries).toHaveLength(2);
    expect(savedAtAck).toEqual([]);
    expect(await take(DEAD)).toEqual(['taken']);
  });

  it('S1, W1: a request is answered after the COMMIT, and with the error of one that fails', async () => {
    await start();
    const held = atCommit();
    let answer: unknown;
    const asked = ask('write', 'request').then((value) => (answer = value));
    const commit = await held;
    expect(await ask('ping', '')).toBe('pong');
    expect([answer, await world.savedTexts()]).toEqual([undefined, []]);
    commit.resolve();
    expect(await asked).toBe('saved request');
    expect(await ask('write', 'request')).toEqual({
      error: { status: 'error', message: 'Internal server error' },
    });
    expect(await world.savedTexts()).toEqual(['request']);
  });

  it('W1: a message is delivered again where the broker is lost before the acknowledgement', async () => {
    await start();
    const held = atCommit();
    await emit('idempotent', 'same');
    const commit = await held;
    loseBroker(world);
    commit.resolve();
    await waitFor(() => savedAtAck.length === 2, { what: 'the second acknowledgement' });
    expect(deliveries).toEqual([
      ['same', false],
      ['same', true],
    ]);
    expect(await world.savedTexts()).toEqual(['same']);
    expect(log.ofLibrary('error')).toEqual([
      expect.stringContaining('an onCommit hook of NoteConsumer.idempotent failed: Channel closed'),
    ]);
  });

  describe('as the application closes, of messages that wait', () => {
    const texts = Array.from({ length: 60 }, (_, index) => `note ${index}`);

    /** Closes the application while it holds five messages, and returns what is saved and what is left. */
    const closeAmid = async (patternOf: (text: string) => string) => {
      mayGoOn = deferred();
      for (const text of texts) {
        await emit(patternOf(text), text);
      }
      await waitFor(() => deliveries.length === 5, { what: 'the first messages' });
      const closing = world.app.close();
      const { shutdown } = world.app.get(ContextRegistry);
      await waitFor(() => shutdown.hasBegun, { what: 'the drain to begin' });
      mayGoOn.resolve();
      await closing;
      const left = [...(await take(QUEUE)), ...(await take(DEAD))];
      return { saved: await world.savedTexts(), left };
    };

    it('H3, W1: none is lost, and all that come in the drain are done', async () => {
      await start();
      const { saved, left } = await closeAmid(() => 'noted');
      expect([...saved, ...left].toSorted()).toEqual(texts.toSorted());
      expect(savedAtAck).toHaveLength(saved.length);
    });

    it('H3, W1: none is lost where a handler hangs; others may come twice', async () => {
      await start({ shutdownTimeoutMs: 300 });
      const { saved, left } = await closeAmid((text) => (text === 'note 0' ? 'hung' : 'noted'));
      expect(new Set([...saved, ...left])).toEqual(new Set(texts));
      expect([saved.includes('note 0'), left.includes('note 0')]).toEqual([false, true]);
    });

    it('H3, W1: a consumer that is cancelled first leaves them to other instances, each once', async () => {
      await start({}, [CancelConsumers]);
      const { saved, left } = await closeAmid(() => 'noted');
      expect(saved.toSorted()).toEqual(texts.slice(0, 5));
      expect(left.toSorted()).toEqual(texts.slice(5).toSorted());
    });
  });
});
