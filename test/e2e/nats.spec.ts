import type { EntityManager } from '@mikro-orm/postgresql';
import { Controller } from '@nestjs/common';
import {
  ClientProxyFactory,
  EventPattern,
  MessagePattern,
  Payload,
  RpcException,
  Transport,
  type ClientProxy,
  type NatsOptions,
} from '@nestjs/microservices';
import { DbContext, InjectSession, SkipDbContext } from 'nestjs-db-context';
import { firstValueFrom } from 'rxjs';

import { ContextRegistry } from '../../lib/context/context-registry.js';
import { deferred, type Deferred } from '../support/deferred.js';
import { LogRecorder } from '../support/log-recorder.js';
import { describeWithNats, startNats, type TestNats } from '../support/nats.js';
import { Note } from '../support/note.entity.js';
import { startWorld, type TestWorld } from '../support/test-world.js';
import { waitFor } from '../support/wait-for.js';

let mayGoOn: Deferred<void>;
let reached = 0;

@Controller()
class NoteController {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    private readonly dbContext: DbContext,
  ) {}

  @MessagePattern('write')
  async write(@Payload() text: string): Promise<string> {
    await this.session.insert(Note, { text });
    return `saved ${text}`;
  }

  /** The duplicate is found by the COMMIT. */
  @MessagePattern('twice')
  async twice(@Payload() text: string): Promise<string> {
    await this.session.execute('set constraints all deferred');
    await this.session.insert(Note, { text });
    await this.session.insert(Note, { text });
    return 'looks fine';
  }

  @MessagePattern('refused')
  async refused(@Payload() text: string): Promise<string> {
    await this.session.insert(Note, { text });
    throw new RpcException({ code: 'REFUSED', text });
  }

  @MessagePattern('slow')
  async slow(@Payload() text: string): Promise<string> {
    const answer = await this.write(text);
    reached++;
    await mayGoOn.promise;
    return answer;
  }

  @SkipDbContext()
  @MessagePattern('ping')
  ping(): string {
    return 'pong';
  }

  @EventPattern('written')
  async written(@Payload() text: string): Promise<void> {
    await this.write(text);
    this.dbContext.onCommit(() => {
      throw new Error('no mail');
    });
  }

  @EventPattern('written.twice')
  async writtenTwice(@Payload() text: string): Promise<void> {
    await this.twice(text);
  }

  @EventPattern('written.slow')
  async writtenSlow(@Payload() text: string): Promise<void> {
    await this.slow(text);
  }
}

describeWithNats('messages over NATS', () => {
  let nats: TestNats;
  let world: TestWorld;
  let client: ClientProxy;
  let log: LogRecorder;

  beforeAll(async () => {
    nats = await startNats();
  });
  afterAll(() => nats?.stop());
  beforeEach(async () => {
    mayGoOn = deferred();
    reached = 0;
    log = new LogRecorder();
    const options: NatsOptions = {
      transport: Transport.NATS,
      options: { servers: [nats.url] },
    };
    world = await startWorld(
      {},
      {
        controllers: [NoteController],
        configure: (app) => {
          app.useLogger(log);
          app.connectMicroservice(options, { inheritAppConfig: true });
        },
      },
    );
    await world.app.startAllMicroservices();
    client = ClientProxyFactory.create(options);
  });
  afterEach(async () => {
    mayGoOn.resolve();
    await client.close();
    await world.close();
  });

  /** What the client gets: the value, or the error as an object of its own. */
  const ask = (pattern: string, text: string): Promise<unknown> =>
    firstValueFrom(client.send<unknown>(pattern, text)).catch((error: unknown) => ({ error }));
  const errorsOfNest = (): string[] =>
    log.lines
      .filter(({ level, context }) => level === 'error' && context === 'RpcExceptionsHandler')
      .map(({ message }) => message);

  it('S1, W1: a request is answered after the COMMIT', async () => {
    const commit = deferred();
    let isAtCommit = false;
    world.proxy.onStatement = async (sql) => {
      if (sql === 'commit') {
        isAtCommit = true;
        await commit.promise;
      }
    };
    let answer: unknown;
    const asked = ask('write', 'held').then((value) => (answer = value));
    await waitFor(() => isAtCommit, { what: 'the COMMIT' });
    // An answer would have come over the same connection before this one.
    expect(await ask('ping', '')).toBe('pong');
    expect([answer, await world.savedTexts()]).toEqual([undefined, []]);
    commit.resolve();
    expect(await asked).toBe('saved held');
    expect(await world.savedTexts()).toEqual(['held']);
  });

  it('S1, W1: a COMMIT that fails is the answer, and in the log; so is an RpcException', async () => {
    expect(await ask('twice', 'twice')).toEqual({
      error: { status: 'error', message: 'Internal server error' },
    });
    expect(errorsOfNest()).toEqual([expect.stringContaining('note_text_unique')]);
    expect(await ask('refused', 'refused')).toEqual({
      error: { code: 'REFUSED', text: 'refused' },
    });
    expect(await world.savedTexts()).toEqual([]);
  });

  it('W1: an event whose COMMIT fails is in the log, and hooks of one name it by its handler', async () => {
    client.emit('written.twice', 'twice').subscribe();
    await waitFor(() => errorsOfNest().length > 0, { what: 'the error' });
    expect(errorsOfNest()).toEqual([expect.stringContaining('note_text_unique')]);
    client.emit('written', 'event').subscribe();
    await waitFor(() => log.ofLibrary('error').length > 0, { what: 'the hook' });
    expect(log.ofLibrary('error')).toEqual([
      'an onCommit hook of NoteController.written failed: no mail',
    ]);
    expect(await world.savedTexts()).toEqual(['event']);
  });

  it('H3: requests and events that run as the application closes are saved, and answered', async () => {
    const answers = Promise.all(['a', 'b'].map((text) => ask('slow', text)));
    client.emit('written.slow', 'c').subscribe();
    await waitFor(() => reached === 3, { what: 'the handlers' });
    const closing = world.app.close();
    const { shutdown } = world.app.get(ContextRegistry);
    await waitFor(() => shutdown.hasBegun, { what: 'the drain to begin' });
    // Until NATS is left, what comes is served.
    expect(await ask('write', 'd')).toBe('saved d');
    mayGoOn.resolve();
    expect(await answers).toEqual(['saved a', 'saved b']);
    await closing;
    expect((await world.savedTexts()).toSorted()).toEqual(['a', 'b', 'c', 'd']);
  });
});
