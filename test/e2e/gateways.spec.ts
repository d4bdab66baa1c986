import { once } from 'node:events';

import type { EntityManager } from '@mikro-orm/postgresql';
import { IoAdapter } from '@nestjs/platform-socket.io';
import { WsAdapter } from '@nestjs/platform-ws';
import {
  SubscribeMessage,
  WebSocketGateway,
  type OnGatewayConnection,
  type OnGatewayDisconnect,
  type OnGatewayInit,
} from '@nestjs/websockets';
import { DbContext, InjectSession, WithDbContext } from 'nestjs-db-context';
import { io } from 'socket.io-client';
import { WebSocket } from 'ws';

import { LogRecorder } from '../support/log-recorder.js';
import { Note } from '../support/note.entity.js';
import { startWorld, type TestWorld } from '../support/test-world.js';
import { UnhandledRejections } from '../support/unhandled-rejections.js';
import { waitFor } from '../support/wait-for.js';

let isToFail = false;

/** Its hooks are called by no interceptor; its handler is, without `@UseInterceptors()`. */
@WebSocketGateway()
class PresenceGateway implements OnGatewayInit, OnGatewayConnection, OnGatewayDisconnect {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    private readonly dbContext: DbContext,
  ) {}

  @WithDbContext()
  async afterInit(): Promise<void> {
    await this.#note('init');
  }

  @WithDbContext()
  async handleConnection(): Promise<void> {
    await this.#note('connected');
    if (isToFail) {
      await this.#note('connected');
    }
  }

  @WithDbContext()
  async handleDisconnect(): Promise<void> {
    await this.#note('disconnected');
  }

  @SubscribeMessage('note')
  async note(_client: unknown, text: string): Promise<unknown> {
    await this.#note(text);
    return { event: 'saved', data: this.dbContext.isActive() };
  }

  async #note(text: string): Promise<void> {
    this.session.persist(new Note(text));
  }
}

/** A client of either kind. */
interface GatewayClient {
  /** Resolves with the data of the answer. */
  ask(text: string): Promise<unknown>;
  close(): void;
}

async function connectWs(url: string): Promise<GatewayClient> {
  const socket = new WebSocket(url.replace('http', 'ws'));
  await once(socket, 'open');
  return {
    ask: async (text) => {
      socket.send(JSON.stringify({ event: 'note', data: text }));
      const [answer] = (await once(socket, 'message')) as [Buffer];
      return (JSON.parse(answer.toString()) as { data: unknown }).data;
    },
    close: () => socket.close(),
  };
}

async function connectIo(url: string): Promise<GatewayClient> {
  const socket = io(url, { transports: ['websocket'] });
  await new Promise<void>((resolve) => {
    socket.on('connect', resolve);
  });
  return {
    ask: (text) =>
      new Promise((resolve) => {
        socket.once('saved', resolve);
        socket.emit('note', text);
      }),
    close: () => socket.close(),
  };
}

describe.each([
  ['ws', WsAdapter, connectWs],
  ['socket.io', IoAdapter, connectIo],
] as const)('a gateway over %s', (_, Adapter, connect) => {
  const logger = new LogRecorder();
  let world: TestWorld;

  beforeAll(async () => {
    world = await startWorld(
      {},
      {
        providers: [PresenceGateway],
        configure: (app) => {
          app.useLogger(logger);
          app.useWebSocketAdapter(new Adapter(app));
        },
      },
    );
  });
  afterAll(() => world.close());

  it('W1: each of its hooks is a unit of work, and a message is committed before its answer', async () => {
    const isSaved = (text: string): Promise<void> =>
      waitFor(async () => (await world.savedTexts()).includes(text), { what: `the note ${text}` });
    await isSaved('init');
    const client = await connect(world.url);
    await isSaved('connected');
    expect(await client.ask('a message')).toBe(true);
    expect(await world.savedTexts()).toContain('a message');
    client.close();
    await isSaved('disconnected');
    expect(await world.database.query('select distinct xid from note')).toHaveLength(4);
    await waitFor(() => world.pool().checkedOut === 0, { what: 'the connections to come back' });
  });

  it("F4: a COMMIT of its hook that fails is in the log, and is nobody else's", async () => {
    const unhandled = new UnhandledRejections();
    unhandled.start();
    isToFail = true;
    const client = await connect(world.url);
    await waitFor(() => logger.ofLibrary('error').length > 0, { what: 'the error' });
    expect(await client.ask('a message after it')).toBe(true);
    isToFail = false;
    client.close();
    unhandled.stop();
    expect(unhandled.reasons).toEqual([]);
    expect(logger.ofLibrary('error')).toEqual([
      expect.stringContaining('PresenceGateway.handleConnection failed'),
    ]);
    await waitFor(() => world.pool().checkedOut === 0, { what: 'the connections to come back' });
  });
});
