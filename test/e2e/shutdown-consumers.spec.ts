import type { AddressInfo, Server } from 'node:net';

import type { EntityManager } from '@mikro-orm/postgresql';
import { Controller, Get, Injectable, type DynamicModule, type Type } from '@nestjs/common';
import {
  ClientProxyFactory,
  EventPattern,
  MessagePattern,
  Payload,
  Transport,
  type ClientProxy,
  type MicroserviceOptions,
} from '@nestjs/microservices';
import { WsAdapter } from '@nestjs/platform-ws';
import { Cron, ScheduleModule } from '@nestjs/schedule';
import { SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { InjectSession, WithDbContext } from 'nestjs-db-context';
import { firstValueFrom } from 'rxjs';
import { WebSocket } from 'ws';

import { ContextRegistry } from '../../lib/context/context-registry.js';
import { deferred, type Deferred } from '../support/deferred.js';
import { LogRecorder } from '../support/log-recorder.js';
import { Note } from '../support/note.entity.js';
import { startWorld, type TestWorld } from '../support/test-world.js';
import { waitFor } from '../support/wait-for.js';

let world: TestWorld;
let slow: { reached: Deferred<void>; mayGoOn: Deferred<void> };
let work: { reached: Deferred<void>; mayGoOn: Deferred<void> };
let log: LogRecorder;
let client: ClientProxy | undefined;
let socket: WebSocket | undefined;

@Injectable()
class Notes {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  /** Writes, and holds its transaction open until it is let go. */
  async write(text: string): Promise<string> {
    await this.session.insert(Note, { text });
    work.reached.resolve();
    await work.mayGoOn.promise;
    return `saved ${text}`;
  }
}

@Controller()
class SlowController {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  @Get('slow')
  async slow(): Promise<string> {
    await this.session.insert(Note, { text: 'slow' });
    slow.reached.resolve();
    await slow.mayGoOn.promise;
    return 'done';
  }
}

@Controller()
class Messages {
  constructor(private readonly notes: Notes) {}

  @MessagePattern('write')
  write(@Payload() text: string): Promise<string> {
    return this.notes.write(text);
  }

  @EventPattern('noted')
  async noted(@Payload() text: string): Promise<void> {
    await this.notes.write(text);
  }
}

@WebSocketGateway()
class Gateway {
  constructor(private readonly notes: Notes) {}

  @SubscribeMessage('write')
  write(_client: unknown, text: string): Promise<string> {
    return this.notes.write(text);
  }
}

@Injectable()
class NoteJob {
  constructor(private readonly notes: Notes) {}

  @WithDbContext()
  @Cron('* * * * * *')
  async tick(): Promise<void> {
    if (!ticked) {
      ticked = true;
      await this.notes.write('cron');
    }
  }
}
let ticked: boolean;

const start = async (
  providers: readonly Type[],
  { imports = [], shutdownTimeoutMs = 5_000, contextTimeoutMs }: StartOptions = {},
): Promise<void> => {
  world = await startWorld(
    {},
    {
      shutdownTimeoutMs,
      ...(contextTimeoutMs !== undefined && { contextTimeoutMs }),
      imports,
      controllers: [SlowController, Messages],
      providers: [Notes, ...providers],
      configure: (app) => {
        app.useLogger(log);
        app.useWebSocketAdapter(new WsAdapter(app));
        app.connectMicroservice<MicroserviceOptions>(
          { transport: Transport.TCP, options: { host: '127.0.0.1', port: 0 } },
          { inheritAppConfig: true },
        );
      },
    },
  );
};
interface StartOptions {
  readonly imports?: readonly DynamicModule[];
  readonly shutdownTimeoutMs?: number;
  readonly contextTimeoutMs?: number;
}

const connectTcp = async (): Promise<ClientProxy> => {
  await world.app.startAllMicroservices();
  const [microservice] = world.app.getMicroservices();
  const { port } = (microservice as unknown as { unwrap(): Server })
    .unwrap()
    .address() as AddressInfo;
  client = ClientProxyFactory.create({
    transport: Transport.TCP,
    options: { host: '127.0.0.1', port },
  });
  await client.connect();
  return client;
};
const connectWs = async (): Promise<WebSocket> => {
  const opened = new WebSocket(world.url.replace('http', 'ws'));
  socket = opened;
  await new Promise((resolve) => opened.once('open', resolve));
  return opened;
};
const registry = (): ContextRegistry => world.app.get(ContextRegistry);
/** Begins to close the application while a slow request keeps it draining. */
const drain = async (): Promise<{ closing: Promise<void>; answer: Promise<Response> }> => {
  const answer = world.fetch('/slow');
  await slow.reached.promise;
  const closing = world.app.close();
  await waitFor(() => registry().shutdown.hasBegun, { what: 'the drain to begin' });
  return { closing, answer };
};
const end = async ({ closing, answer }: Awaited<ReturnType<typeof drain>>): Promise<void> => {
  slow.mayGoOn.resolve();
  expect((await answer).status).toBe(200);
  await closing;
  expect(world.pool()).toMatchObject({ checkedOut: 0, idle: 0, waiting: 0 });
  await waitFor(() => world.proxy.openConnections === 0, { what: 'the pool to be closed' });
};
const hold = () => ({ reached: deferred(), mayGoOn: deferred() });

beforeEach(() => {
  slow = hold();
  work = hold();
  log = new LogRecorder();
  ticked = false;
  client = undefined;
  socket = undefined;
});
afterEach(async () => {
  slow.mayGoOn.resolve();
  work.mayGoOn.resolve();
  await client?.close();
  socket?.terminate();
  await world.close();
});

describe('consumers during a shutdown', () => {
  it('H3, W1: a TCP message that comes in the drain is done, answered and saved', async () => {
    await start([]);
    const tcp = await connectTcp();
    const draining = await drain();
    const reply = firstValueFrom(tcp.send<string>('write', 'message'));
    await work.reached.promise;
    // The request is over before the message is; the server may not close in between.
    slow.mayGoOn.resolve();
    expect((await draining.answer).status).toBe(200);
    work.mayGoOn.resolve();
    expect(await reply).toBe('saved message');
    await draining.closing;
    expect((await world.savedTexts()).toSorted()).toEqual(['message', 'slow']);
  });

  it('H3, W1: a message of a gateway that comes in the drain is done, answered and saved', async () => {
    await start([Gateway]);
    const ws = await connectWs();
    const draining = await drain();
    const reply = new Promise((resolve) =>
      ws.once('message', (data: Buffer) => resolve(data.toString())),
    );
    ws.send(JSON.stringify({ event: 'write', data: 'ws' }));
    await work.reached.promise;
    slow.mayGoOn.resolve();
    expect((await draining.answer).status).toBe(200);
    work.mayGoOn.resolve();
    expect(await reply).toContain('saved ws');
    await draining.closing;
    expect((await world.savedTexts()).toSorted()).toEqual(['slow', 'ws']);
  });

  it('H3: a cron job that runs as the application closes is saved, and none begins after it', async () => {
    await start([NoteJob], { imports: [ScheduleModule.forRoot()] });
    await work.reached.promise;
    const draining = await drain();
    ticked = false;
    work.mayGoOn.resolve();
    await end(draining);
    expect(ticked).toBe(false);
    expect((await world.savedTexts()).toSorted()).toEqual(['cron', 'slow']);
  });

  it('H3, W1: an event that takes longer than shutdownTimeoutMs is rolled back, and in the log by name', async () => {
    await start([], { shutdownTimeoutMs: 200 });
    const tcp = await connectTcp();
    tcp.emit('noted', 'event').subscribe();
    await work.reached.promise;
    await world.app.close();
    expect(log.lines.map(({ message }) => message)).toContainEqual(
      expect.stringContaining('The context of Messages.noted took too long, and was rolled back.'),
    );
    expect(await world.savedTexts()).toEqual([]);
  });

  it('F6, W1: an event that takes longer than contextTimeoutMs is in the log by name', async () => {
    await start([], { contextTimeoutMs: 200 });
    const tcp = await connectTcp();
    tcp.emit('noted', 'event').subscribe();
    await work.reached.promise;
    const isLogged = () =>
      log.lines.some(({ message }) =>
        message.includes('The context of Messages.noted was open for more than 200 ms'),
      );
    await waitFor(isLogged, { what: 'the log' });
    expect(await world.savedTexts()).toEqual([]);
  });
});
