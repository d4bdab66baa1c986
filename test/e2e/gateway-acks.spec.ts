import { TransactionPropagation } from '@mikro-orm/core';
import type { EntityManager } from '@mikro-orm/postgresql';
import { WsAdapter } from '@nestjs/platform-ws';
import { Ack, MessageBody, SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { DbContext, InjectSession, UseAfterCommit } from 'nestjs-db-context';
import { tap } from 'rxjs';
import { io, type Socket } from 'socket.io-client';
import { WebSocket } from 'ws';

import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { deferred, type Deferred } from '../support/deferred.js';
import { Note, NOTE_SCHEMA } from '../support/note.entity.js';
import { noteConnection, startApp, type AdapterName, type TestApp } from '../support/test-app.js';
import { waitFor } from '../support/wait-for.js';

type AckCallback = (value: unknown) => void;

let gate: Deferred<void>;
let committed: unknown[] = [];

@WebSocketGateway()
class NoteGateway {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    private readonly dbContext: DbContext,
  ) {}

  @UseAfterCommit({
    intercept: (_context, next) => next.handle().pipe(tap((v) => committed.push(v))),
  })
  @SubscribeMessage('returned')
  async returned(@MessageBody() text: string): Promise<string> {
    return this.#write(text);
  }

  @SubscribeMessage('persisted')
  persisted(@MessageBody() text: string): Note {
    const note = new Note(text);
    this.session.persist(note);
    return note;
  }

  @SubscribeMessage('event')
  async event(@MessageBody() text: string): Promise<object> {
    return { event: 'answer', data: await this.#write(text) };
  }

  @SubscribeMessage('acked')
  async acked(@MessageBody() text: string, @Ack() ack: AckCallback): Promise<void> {
    ack(await this.#write(text));
  }

  @SubscribeMessage('acked and thrown')
  async ackedAndThrown(@MessageBody() text: string, @Ack() ack: AckCallback): Promise<void> {
    await this.acked(text, ack);
    throw new Error('after the ack');
  }

  @SubscribeMessage('acked in a savepoint')
  async ackedInSavepoint(@MessageBody() text: string, @Ack() ack: AckCallback): Promise<void> {
    await this.session
      .transactional(async () => {
        await this.acked(text, ack);
        throw new Error('undo the savepoint');
      })
      .catch(() => undefined);
    ack('the savepoint was undone');
  }

  @SubscribeMessage('acked first')
  async ackedFirst(@MessageBody() text: string, @Ack() ack: AckCallback): Promise<void> {
    ack('received');
    await gate.promise;
    await this.#write(text);
  }

  @SubscribeMessage('acked between')
  async ackedBetween(@MessageBody() text: string, @Ack() ack: AckCallback): Promise<void> {
    const answer = await this.#write(text);
    await this.dbContext.commit();
    ack(answer);
    await gate.promise;
  }

  @SubscribeMessage('acked before a commit')
  async ackedBeforeCommit(@MessageBody() text: string, @Ack() ack: AckCallback): Promise<void> {
    await this.acked(text, ack);
    await this.dbContext.commit();
    throw new Error('after the commit');
  }

  @SubscribeMessage('acked beside')
  async ackedBeside(@MessageBody() text: string, @Ack() ack: AckCallback): Promise<void> {
    await this.session.transactional(() => this.acked(text, ack), {
      propagation: TransactionPropagation.REQUIRES_NEW,
    });
  }

  @SubscribeMessage('acked in a fork')
  async ackedInFork(@MessageBody() text: string, @Ack() ack: AckCallback): Promise<void> {
    await this.session.fork().transactional(() => this.acked(text, ack));
  }

  @SubscribeMessage('acked late')
  async ackedLate(@MessageBody() text: string, @Ack() ack: AckCallback): Promise<void> {
    const answer = await this.#write(text);
    void gate.promise.then(() => ack(answer));
  }

  /** The duplicate is found by the COMMIT. */
  async #write(text: string): Promise<string> {
    await this.session.execute('set constraints all deferred');
    await this.session.insert(Note, { text });
    return `wrote ${text}`;
  }
}

describe.each<AdapterName>(['express', 'fastify'])('a gateway of socket.io, over %s', (adapter) => {
  let database: TestDatabase;
  let app: TestApp;
  let socket: Socket;
  let acks: unknown[];
  let exceptions: unknown[];

  beforeAll(async () => {
    database = await createTestDatabase();
    await database.query(NOTE_SCHEMA);
    app = await startApp({
      adapter,
      connections: [noteConnection(database.url)],
      providers: [NoteGateway],
    });
    socket = io(app.url, { transports: ['websocket'] });
    socket.on('exception', (value: unknown) => exceptions.push(value));
    await waitFor(() => socket.connected, { what: 'the socket to connect' });
  });

  afterAll(async () => {
    socket?.disconnect();
    await app?.close();
    await database?.drop();
  });

  beforeEach(async () => {
    gate = deferred();
    acks = [];
    committed = [];
    exceptions = [];
    await database.query('truncate note restart identity');
    await database.query(`insert into note (text) values ('taken')`);
  });

  const send = (message: string, text: string): void => {
    socket.emit(message, text, (value: unknown) => acks.push(value));
  };
  const acknowledged = async (count = 1): Promise<void> =>
    waitFor(() => acks.length >= count, { what: 'the ack' });
  const failed = async (): Promise<void> =>
    waitFor(() => exceptions.length > 0, { what: 'the exception' });
  const saved = async (): Promise<unknown[]> =>
    (await database.query('select text from note order by id')).map((row) => row['text']);
  /** All that the server has sent so far has arrived after this. */
  const roundTrip = async (): Promise<void> => {
    const before = acks.length;
    socket.emit('returned', `round trip ${before}`, () => acks.push('round trip'));
    await acknowledged(before + 1);
    expect(acks.at(-1)).toBe('round trip');
  };

  it('W1, C5: @Ack() is sent with the early commit that saves the work, whatever fails after it', async () => {
    send('acked before a commit', 'early');
    await Promise.all([acknowledged(), failed()]);
    expect([acks, await saved()]).toEqual([['wrote early'], ['taken', 'early']]);
  });

  it('W1: @Ack() waits for a COMMIT of "requires_new", and is refused in the transaction of another session', async () => {
    send('acked beside', 'taken');
    await failed();
    exceptions = [];
    send('acked in a fork', 'fork');
    await failed();
    expect([acks, await saved()]).toEqual([[], ['taken']]);
  });

  it('W1: what a handler returns is acknowledged after the commit, and never without it', async () => {
    send('returned', 'new');
    await acknowledged();
    expect([acks, committed]).toEqual([['wrote new'], ['wrote new']]);
    expect(await saved()).toEqual(['taken', 'new']);
    send('returned', 'taken');
    await failed();
    await roundTrip();
    expect(acks).toEqual(['wrote new', 'round trip']);
  });

  it('S3: what a handler only persisted is acknowledged with its id', async () => {
    send('persisted', 'new');
    await acknowledged();
    expect(acks).toEqual([{ id: 2, text: 'new' }]);
  });

  it.each(['acked', 'acked late'])(
    'W1: @Ack(), %s: the client hears of it after the commit, and never without it',
    async (message) => {
      gate.resolve();
      send(message, 'new');
      await acknowledged();
      expect(acks).toEqual(['wrote new']);
      expect(await saved()).toEqual(['taken', 'new']);
      send(message, 'taken');
      await failed();
      await roundTrip();
      expect(acks).toEqual(['wrote new', 'round trip']);
    },
  );

  it('W1: @Ack() after a COMMIT that has failed is not sent', async () => {
    send('acked late', 'taken');
    await failed();
    gate.resolve();
    await roundTrip();
    expect(acks).toEqual(['round trip']);
  });

  it('W1: @Ack() of a handler that throws afterwards is not sent', async () => {
    send('acked and thrown', 'new');
    await failed();
    await roundTrip();
    expect(acks).toEqual(['round trip']);
    expect(await saved()).toEqual(['taken', 'round trip 0']);
  });

  it('W1: @Ack() in a savepoint that is undone is not sent', async () => {
    send('acked in a savepoint', 'new');
    await acknowledged();
    expect(acks).toEqual(['the savepoint was undone']);
    expect(await saved()).toEqual(['taken']);
  });

  it('W1: @Ack() is sent at once before any work, and after an early commit', async () => {
    send('acked first', 'first');
    await acknowledged();
    expect(acks).toEqual(['received']);
    gate.resolve();
    await waitFor(async () => (await saved()).includes('first'), { what: 'the commit' });

    gate = deferred();
    send('acked between', 'between');
    await acknowledged(2);
    expect(acks).toEqual(['received', 'wrote between']);
    expect(await saved()).toContain('between');
    gate.resolve();
    await roundTrip();
  });
});

describe('a gateway of ws', () => {
  it('W1: an event is answered after the commit, and a failed one by an exception', async () => {
    const database = await createTestDatabase();
    await database.query(NOTE_SCHEMA);
    const app = await startApp({
      connections: [noteConnection(database.url)],
      providers: [NoteGateway],
      configure: (nest) => nest.useWebSocketAdapter(new WsAdapter(nest)),
    });
    const socket = new WebSocket(app.url.replace('http', 'ws'));
    const got: unknown[] = [];
    socket.on('message', (data: Buffer) => got.push(JSON.parse(data.toString())));
    const ask = async (text: string): Promise<unknown> => {
      socket.send(JSON.stringify({ event: 'event', data: text }));
      await waitFor(() => got.length > 0, { what: 'the answer' });
      return got.pop();
    };
    try {
      await waitFor(() => socket.readyState === WebSocket.OPEN, { what: 'the socket to open' });
      expect(await ask('new')).toEqual({ event: 'answer', data: 'wrote new' });
      expect(await database.query('select text from note')).toEqual([{ text: 'new' }]);
      expect(await ask('new')).toMatchObject({ event: 'exception', data: { status: 'error' } });
    } finally {
      socket.terminate();
      await app.close();
      await database.drop();
    }
  });
});
