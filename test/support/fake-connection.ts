import type { Socket } from 'node:net';

import {
  authentication,
  backendKeyData,
  commandComplete,
  dataRow,
  errorResponse,
  parameterStatus,
  readyForQuery,
  rowDescription,
  type Column,
  type Status,
} from './backend-messages.js';
import { FrontendMessages, sqlOf, type WireMessage } from './wire-messages.js';

/** A point in the life of a connection, at which it can misbehave. */
export type FakePoint =
  /** It was accepted. */
  | { readonly at: 'connect' }
  /** The client has said who it is, or has sent a password. */
  | { readonly at: 'login' }
  /** A message with SQL has come. */
  | { readonly at: 'sql'; readonly sql: string };

/**
 * Answers in place of the honest answer, whose messages it is given. The connection has done what the
 * honest answer says.
 */
export type Misbehaviour = (connection: FakeConnection, honest: readonly Buffer[]) => unknown;

/** The part of the server that its connections use. */
export interface FakeConnectionHost {
  /** How a connection is to misbehave here, if it is. */
  misbehaviourAt(point: FakePoint): Misbehaviour | undefined;
  /** Keeps the texts of a transaction that was committed. */
  save(texts: readonly string[]): void;
}

interface Result {
  readonly columns?: readonly Column[];
  readonly row?: readonly string[];
  readonly tag: string;
}

const INSERTED = /^insert into "?note"? \("text"\) values \('([^']*)'\)/;

/**
 * One connection of a fake server. It knows the few statements that the tests send, by their texts, and
 * keeps what they insert until they commit.
 */
export class FakeConnection {
  /** Messages with SQL, in the order in which they came. */
  readonly log: string[] = [];
  /** How many of those had come when it misbehaved for the first time. */
  misbehavedAt: number | undefined;
  isClosed = false;
  readonly socket: Socket;
  readonly #number: number;
  readonly #host: FakeConnectionHost;
  readonly #messages = new FrontendMessages();
  #status: Status = 'I';
  #inserted: string[] = [];

  constructor(socket: Socket, number: number, host: FakeConnectionHost) {
    this.socket = socket;
    this.#number = number;
    this.#host = host;
    socket.setNoDelay(true);
    socket.on('error', () => undefined);
    socket.on('close', () => {
      this.isClosed = true;
    });
    socket.on('data', (chunk: Buffer) => {
      this.#messages.push(chunk).forEach((each) => this.#receive(each));
    });
    this.#answer({ at: 'connect' }, []);
  }

  /** Sends messages in one piece, as far as the socket is open. */
  send(...messages: readonly Buffer[]): void {
    if (this.socket.writable) {
      this.socket.write(Buffer.concat(messages));
    }
  }

  /** Does something wrong, and remembers when that began. */
  misbehave(how: () => unknown): void {
    this.misbehavedAt ??= this.log.length;
    void how();
  }

  #receive(message: WireMessage): void {
    const sql = sqlOf(message);
    if (sql !== undefined) {
      this.log.push(sql);
      this.#answer({ at: 'sql', sql }, this.#run(sql));
    } else if (message.type === 'startup' || message.type === 'p') {
      this.#answer({ at: 'login' }, [
        authentication(0),
        parameterStatus('server_version', '18.0'),
        parameterStatus('client_encoding', 'UTF8'),
        backendKeyData(this.#number, 1),
        readyForQuery('I'),
      ]);
    } else if (message.type === 'f') {
      this.#status = this.#status === 'I' ? 'I' : 'E';
      this.send(errorResponse('ERROR', '57014', 'COPY failed'), readyForQuery(this.#status));
    } else if (message.type === 'X' || message.type === 'cancel') {
      this.socket.end();
    } else if (message.type !== 'S' && message.type !== 'E') {
      throw new Error(`the fake server knows no message of the type ${message.type}`);
    }
  }

  #answer(point: FakePoint, honest: readonly Buffer[]): void {
    const misbehave = this.#host.misbehaviourAt(point);
    if (misbehave === undefined) {
      this.send(...honest);
    } else {
      this.misbehave(() => misbehave(this, honest));
    }
  }

  /** Runs the statements of a message. None of the texts has a semicolon of its own. */
  #run(sql: string): Buffer[] {
    const messages = sql.split(';').flatMap((each) => {
      const { columns, row, tag } = this.#execute(each);
      return [
        ...(columns === undefined ? [] : [rowDescription(columns)]),
        ...(row === undefined ? [] : [dataRow(row)]),
        commandComplete(tag),
      ];
    });
    return [...messages, readyForQuery(this.#status)];
  }

  #execute(sql: string): Result {
    const [, text] = INSERTED.exec(sql) ?? [];
    if (text !== undefined) {
      this.#inserted.push(text);
      return { columns: [{ name: 'id', type: 'integer' }], row: ['1'], tag: 'INSERT 0 1' };
    }
    if (sql.startsWith('begin')) {
      this.#status = 'T';
      return { tag: 'BEGIN' };
    }
    if (sql === 'commit' || sql === 'rollback') {
      const isCommitted = sql === 'commit' && this.#status === 'T';
      this.#host.save(isCommitted ? this.#inserted : []);
      this.#inserted = [];
      this.#status = 'I';
      return { tag: isCommitted ? 'COMMIT' : 'ROLLBACK' };
    }
    if (sql.startsWith('select pg_backend_pid()')) {
      return {
        columns: [
          { name: 'pid', type: 'integer' },
          { name: 'xid', type: 'text' },
        ],
        row: [String(this.#number), String(this.log.length)],
        tag: 'SELECT 1',
      };
    }
    if (sql === 'discard all') {
      // What it has said at odd places may look as if a request had left something behind (F7).
      return { tag: 'DISCARD ALL' };
    }
    throw new Error(`the fake server knows no statement "${sql}"`);
  }
}
