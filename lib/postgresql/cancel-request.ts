import type { Socket } from 'node:net';

import type { PgClient } from './pg-client.js';
import { next, openBeside } from './server-socket.js';

const CANCEL_REQUEST_CODE = 80_877_102;

/** Longest time of each step of a request: connecting, those of TLS, and the end of the connection. */
const STEP_LIMIT_MS = 1_000;

/**
 * Asks the server to stop what a backend is running, so that its locks go with the connection. A
 * backend does not notice a closed socket while it executes.
 *
 * The request goes over a connection of its own, which is encrypted where that of the client is, and is
 * never answered; the server closes that connection once it has signalled the backend. See
 * https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-CANCELING-REQUESTS
 *
 * @returns whether the request has been dealt with; if not, it may still reach a later statement
 */
export async function cancelBackend(client: PgClient): Promise<boolean> {
  const { processID, secretKey } = client;
  if (processID === null || secretKey === null) {
    return true;
  }
  const request = requestOf(processID, secretKey);
  const sockets: Socket[] = [];
  try {
    const socket = await openBeside(client, STEP_LIMIT_MS, (each) => sockets.push(each));
    const closed = next(socket, 'close', STEP_LIMIT_MS);
    socket.write(request);
    socket.resume();
    await closed;
    return true;
  } catch {
    // The request is a courtesy: where it cannot be delivered, closing the socket has to suffice.
    return false;
  } finally {
    sockets.forEach((each) => each.destroy());
  }
}

function requestOf(processID: number, secretKey: number | Uint8Array): Buffer {
  const request = Buffer.concat([Buffer.alloc(12), bytesOf(secretKey)]);
  request.writeInt32BE(request.length, 0);
  request.writeInt32BE(CANCEL_REQUEST_CODE, 4);
  request.writeInt32BE(processID, 8);
  return request;
}

/** The key has four bytes; since protocol 3.2 it has as many as the server says. */
function bytesOf(secretKey: number | Uint8Array): Uint8Array {
  if (typeof secretKey !== 'number') {
    return secretKey;
  }
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(secretKey);
  return bytes;
}
