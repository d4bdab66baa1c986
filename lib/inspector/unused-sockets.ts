/** The members of Node's sockets that this file uses. */
interface Socket {
  readonly bytesRead: number;
  readonly remoteAddress?: string | undefined;
  once(event: 'close', listener: () => void): unknown;
  destroy(): unknown;
}

/** The members of Node's servers that this file uses. */
export interface ConnectedServer {
  on(event: 'connection', listener: (socket: Socket) => void): unknown;
  off(event: 'connection', listener: (socket: Socket) => void): unknown;
}

const LOOK_AGAIN_MS = 50;

/**
 * Connections that a browser has opened in advance, and has sent nothing on. A server of Node that closes waits
 * for them for as long as the browser keeps them.
 */
export class UnusedSockets {
  readonly #server: ConnectedServer;
  readonly #sockets = new Set<Socket>();
  #looking: NodeJS.Timeout | undefined;

  constructor(server: ConnectedServer) {
    this.#server = server;
    server.on('connection', this.#connected);
  }

  /** Closes those of some clients, and those that they still open, until {@link UnusedSockets.forget} is called. */
  closeThoseOf(addresses: ReadonlySet<string>): void {
    const look = (): void => {
      for (const socket of this.#sockets) {
        if (socket.bytesRead === 0 && addresses.has(socket.remoteAddress ?? '')) {
          socket.destroy();
        }
      }
    };
    look();
    this.#looking = setInterval(look, LOOK_AGAIN_MS).unref();
  }

  /** Looks at no connection any more. */
  forget(): void {
    clearInterval(this.#looking);
    this.#server.off('connection', this.#connected);
    this.#sockets.clear();
  }

  readonly #connected = (socket: Socket): void => {
    this.#sockets.add(socket);
    socket.once('close', () => this.#sockets.delete(socket));
  };
}
