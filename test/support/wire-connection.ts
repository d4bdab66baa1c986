import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  BackendMessages,
  backendPidOf,
  FrontendMessages,
  sqlOf,
  type WireMessage,
} from './wire-messages.js';
import { reset } from './wire-sides.js';

/**
 * What is to happen to a statement that has left the client. `lose-request` and `lose-answer` make
 * the link half-open, from this statement on and in one direction: nothing passes that way any
 * more, not even the end of the connection. `cut-in-row` closes in the middle of the first row.
 */
export type StatementFate =
  | 'forward'
  | 'cut'
  | 'drop-answer'
  | 'cut-in-row'
  | 'lose-request'
  | 'lose-answer';

/** The part of the proxy that its connections use. */
export interface WireConnectionHost {
  /** Delay of each direction, in milliseconds. */
  delayMs(): number;
  /** Resolves at once, or, while the proxy is frozen, when it thaws. */
  flowing(): Promise<void>;
  /** A statement left the client; it goes no further before this resolves. */
  statement(sql: string): Promise<StatementFate>;
  /** The server's error has been passed on; what follows it goes no further before this resolves. */
  errorPassed(): Promise<void> | undefined;
  /** A message that asks the server for an answer is about to be forwarded. */
  roundTrip(): void;
}

function closing(socket: Socket): Promise<void> {
  // Not events.once(), which would reject for the errors that a proxy is here to pass on.
  return new Promise((resolve) => void socket.once('close', () => resolve()));
}

/** One client connection and its counterpart to the server. */
export class WireConnection {
  /** Resolves when both sides are closed. */
  readonly closed: Promise<unknown>;
  readonly #client: Socket;
  readonly #server: Socket;
  readonly #host: WireConnectionHost;
  readonly #frontend = new FrontendMessages();
  readonly #backend = new BackendMessages();
  #clientQueue = Promise.resolve();
  #serverQueue = Promise.resolve();
  /** ReadyForQuery messages that the server owes for what was forwarded, from the start on. */
  #answersOwed = 0;
  #answersSeen = 0;
  /** Number of the first answer that must not reach the client. */
  #dropFrom = Infinity;
  /** Number of the answer whose first row is torn. */
  #tearFrom = Infinity;
  /** Whose bytes vanish. */
  readonly #lost = new Set<Socket>();
  #backendPid: number | undefined;

  constructor(client: Socket, server: Socket, host: WireConnectionHost) {
    this.#client = client;
    this.#server = server;
    this.#host = host;
    client.setNoDelay(true);
    this.closed = Promise.all([closing(client), closing(this.#server)]);

    this.#relay(client, this.#server, (work) => {
      this.#clientQueue = this.#clientQueue.then(work);
    });
    this.#relay(this.#server, client, (work) => {
      this.#serverQueue = this.#serverQueue.then(work);
    });
  }

  /** Process id of the backend, as soon as the server has sent it to the client. */
  get backendPid(): number | undefined {
    return this.#backendPid;
  }

  /** Whether one direction of it is lost. */
  get isHalfOpen(): boolean {
    return this.#lost.size > 0;
  }

  /** Ends both sides with RST, at once. */
  destroy(): void {
    reset(this.#client);
    reset(this.#server);
  }

  /** Everything of one direction, its end too, goes through one queue, so nothing overtakes. */
  #relay(source: Socket, target: Socket, enqueue: (work: () => Promise<void>) => void): void {
    const later = (action: () => void | Promise<void>): void => {
      const arrivedAt = Date.now();
      enqueue(async () => {
        const waitMs = arrivedAt + this.#host.delayMs() - Date.now();
        if (waitMs > 0) await sleep(waitMs);
        await this.#host.flowing();
        if (!this.#lost.has(source)) await action();
      });
    };
    source.on('data', (chunk: Buffer) => {
      later(() => (source === this.#client ? this.#fromClient(chunk) : this.#fromServer(chunk)));
    });
    source.on('end', () => later(() => void target.end()));
    // 'close' follows and says whether there was one; without a listener it would be thrown.
    source.on('error', () => undefined);
    source.on('close', (hadError) => {
      if (hadError) later(() => reset(target));
    });
  }

  async #fromClient(chunk: Buffer): Promise<void> {
    for (const message of this.#frontend.push(chunk)) {
      const sql = sqlOf(message);
      const fate = sql === undefined ? 'forward' : await this.#host.statement(sql);
      if (fate === 'cut') this.destroy();
      if (fate === 'lose-request') this.#lost.add(this.#client);
      if (fate === 'lose-answer') this.#lost.add(this.#server);
      if (this.#server.destroyed || this.#lost.has(this.#client)) return;
      if (fate === 'cut-in-row') this.#tearFrom = Math.min(this.#tearFrom, this.#answersOwed);
      if (fate === 'drop-answer') this.#dropFrom = Math.min(this.#dropFrom, this.#answersOwed);
      this.#forward(message);
    }
  }

  #forward({ type, bytes }: WireMessage): void {
    if (type === 'encryption') this.#backend.expectEncryptionAnswer();
    // The server reports ReadyForQuery once after the start and after each Query and Sync.
    if (type === 'startup' || type === 'Q' || type === 'S') this.#answersOwed += 1;
    if (type === 'Q' || type === 'S' || type === 'H') this.#host.roundTrip();
    this.#server.write(bytes);
  }

  async #fromServer(chunk: Buffer): Promise<void> {
    for (const { type, bytes } of this.#backend.push(chunk)) {
      if (type === 'K') this.#backendPid = backendPidOf(bytes);
      if (type === 'D' && this.#answersSeen >= this.#tearFrom) {
        this.#tear(bytes);
        return;
      }
      const dropped = this.#answersSeen >= this.#dropFrom;
      if (type === 'Z') this.#answersSeen += 1;
      if (!dropped && !this.#client.destroyed) this.#client.write(bytes);
      if (dropped && type === 'Z') this.destroy();
      if (type === 'E') await this.#host.errorPassed();
    }
  }

  #tear(row: Buffer): void {
    // FIN, not RST: the client has to see the half of the row before the end.
    this.#client.end(row.subarray(0, row.length / 2));
    reset(this.#server);
  }
}
