import { once } from 'node:events';
import { createServer, type AddressInfo, type Server } from 'node:net';

import { FakeConnection, type FakePoint, type Misbehaviour } from './fake-connection.js';

interface Rule {
  readonly at: FakePoint['at'];
  readonly pattern: RegExp;
  readonly misbehave: Misbehaviour;
  left: number;
}

/**
 * A PostgreSQL server that can be made to speak the protocol wrongly. It listens on a free port of
 * 127.0.0.1, stores nothing but the texts of notes, and is honest where no rule says otherwise.
 *
 * @example
 * ```ts
 * const server = await FakeServer.start();
 * server.on('sql', /^commit$/, (connection) => connection.send(readyForQuery('I')));
 * // ... connect to server.url
 * expect(server.saved).toEqual([]);
 * await server.stop();
 * ```
 */
export class FakeServer {
  /** All connections that there were, those of cancel requests included. */
  readonly connections: FakeConnection[] = [];
  /** The texts of the notes that were committed. */
  readonly saved: string[] = [];
  readonly #listener: Server;
  readonly #rules: Rule[] = [];

  private constructor() {
    this.#listener = createServer((socket) => {
      const connection = new FakeConnection(socket, this.connections.length + 1, {
        misbehaviourAt: (point) => this.#misbehaviourAt(point),
        save: (texts) => void this.saved.push(...texts),
      });
      this.connections.push(connection);
    });
  }

  static async start(): Promise<FakeServer> {
    const server = new FakeServer();
    server.#listener.listen(0, '127.0.0.1');
    await once(server.#listener, 'listening');
    return server;
  }

  async stop(): Promise<void> {
    const closed = once(this.#listener, 'close');
    this.#listener.close();
    this.connections.forEach(({ socket }) => socket.destroy());
    await closed;
  }

  get url(): string {
    const { port } = this.#listener.address() as AddressInfo;
    return `postgres://fake:fake@127.0.0.1:${port}/fake`;
  }

  /** Has connections misbehave at a point, as often as is said; those with SQL where it matches. */
  on(at: FakePoint['at'], pattern: RegExp, misbehave: Misbehaviour, times = Infinity): void {
    this.#rules.push({ at, pattern, misbehave, left: times });
  }

  /** Forgets the rules: from now on it is honest, also on the connections that misbehaved. */
  heal(): void {
    this.#rules.length = 0;
  }

  #misbehaviourAt(point: FakePoint): Misbehaviour | undefined {
    const sql = point.at === 'sql' ? point.sql : '';
    const rule = this.#rules.find(
      ({ at, pattern, left }) => at === point.at && left > 0 && pattern.test(sql),
    );
    if (rule !== undefined) {
      rule.left--;
    }
    return rule?.misbehave;
  }
}
