import { once } from 'node:events';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { createInterface } from 'node:readline';

import {
  Injectable,
  type BeforeApplicationShutdown,
  type OnApplicationBootstrap,
} from '@nestjs/common';
import { CommitOutcomeUnknownError, DbContext } from 'nestjs-db-context';

import { ReadingsService } from '../readings/readings.service.js';
import { Conversation } from './conversation.js';

/** Takes lines such as `kitchen 21.5` over TCP. Each is a unit of work, and is answered after its end. */
@Injectable()
export class LineServer implements OnApplicationBootstrap, BeforeApplicationShutdown {
  readonly #server = createServer((socket) => void this.#serve(socket));
  readonly #sockets = new Set<Socket>();
  readonly #running = new Set<Promise<string>>();
  #isClosing = false;

  constructor(
    private readonly dbContext: DbContext,
    private readonly readings: ReadingsService,
  ) {}

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  async onApplicationBootstrap(): Promise<void> {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
  }

  /** Takes no more lines, and waits for those that run; the pools close after that. */
  async beforeApplicationShutdown(): Promise<void> {
    this.#isClosing = true;
    this.#server.close();
    await Promise.all(this.#running);
    this.#sockets.forEach((socket) => socket.destroySoon());
  }

  async #serve(socket: Socket): Promise<void> {
    const conversation = new Conversation(this.dbContext);
    this.#sockets.add(socket);
    // Also where an answer meets a socket that is closed already.
    socket.on('error', () => {});
    try {
      for await (const line of createInterface({ input: socket })) {
        if (!this.#isClosing) {
          const answer = this.#answer(line, conversation);
          this.#running.add(answer);
          socket.write(`${await answer}\n`);
          this.#running.delete(answer);
        }
      }
    } catch {
      // A connection that is reset is an error of the loop, and no more than a client that leaves.
    } finally {
      this.#sockets.delete(socket);
      await conversation.abandon();
    }
  }

  /** The answer exists only once the outcome does: run() settles before it returns. */
  async #answer(line: string, conversation: Conversation): Promise<string> {
    try {
      if (line === 'begin' || line === 'commit') {
        await conversation[line]();
        return 'ok';
      }
      const [sensor = '', value] = line.split(' ');
      const reading = await this.dbContext.run(
        () => conversation.join(() => this.readings.add(sensor, Number(value))),
        { name: `the line ${sensor}` },
      );
      return conversation.isOpen ? `pending ${reading.id}` : `saved ${reading.id}`;
    } catch (error) {
      if (error instanceof CommitOutcomeUnknownError) {
        // Nobody knows whether it is saved: the client has to look before it sends the line again.
        return 'unknown';
      }
      // A message may have further lines, and each line is an answer.
      return `failed: ${String(error).split('\n', 1).join()}`;
    }
  }
}
