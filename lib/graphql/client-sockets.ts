/** The members of Node's socket under a WebSocket that this library uses. */
export interface ClientSocket {
  readonly destroyed?: boolean;
  once(event: 'close', listener: () => void): unknown;
}

/** Notices when clients of WebSockets leave; one listener on each socket, however much runs over it. */
export class ClientSockets {
  readonly #listeners = new WeakMap<ClientSocket, Set<() => void>>();

  /**
   * Calls `listener` when the client leaves.
   *
   * @returns a function that stops listening
   */
  onLeave(socket: ClientSocket, listener: () => void): () => void {
    const listeners = this.#listeners.get(socket) ?? this.#listen(socket);
    listeners.add(listener);
    return () => listeners.delete(listener);
  }

  #listen(socket: ClientSocket): Set<() => void> {
    const listeners = new Set<() => void>();
    this.#listeners.set(socket, listeners);
    socket.once('close', () => listeners.forEach((listener) => listener()));
    return listeners;
  }
}
