import { setTimeout as sleep } from 'node:timers/promises';

import type { Misbehaviour } from '../../support/fake-connection.js';

/** Sends the honest answer one byte at a time, with a pause after each, in milliseconds. */
export function byteByByte(pauseMs: number): Misbehaviour {
  return async (connection, honest) => {
    for (const byte of Buffer.concat(honest)) {
      connection.send(Buffer.from([byte]));
      await sleep(pauseMs);
    }
  };
}

/** Sends the same messages again and again, for as long as the client takes them. */
export function floodOf(...messages: readonly Buffer[]): Misbehaviour {
  const flood = Buffer.concat(Array.from({ length: 100 }, () => messages).flat());
  return ({ socket }) => {
    const next = (): void => {
      if (socket.writable) {
        socket.write(flood, () => setImmediate(next));
      }
    };
    next();
  };
}
