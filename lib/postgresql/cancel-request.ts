import { connect } from 'node:net';

import type { PgClient } from './pg-client.js';

const CANCEL_REQUEST_CODE = 80_877_102;
const CANCEL_TIMEOUT_MS = 1_000;

/**
 * Asks the server to stop what a backend is running, so that its locks go with the connection. A
 * backend does not notice a closed socket while it executes.
 *
 * The request goes over a connection of its own and is never answered; the server closes that
 * connection once it has signalled the backend. See
 * https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-CANCELING-REQUESTS
 *
 * @returns whether the request has been dealt with; if not, it may still reach a later statement
 */
export function cancelBackend(client: PgClient): Promise<boolean> {
  const { processID, secretKey, host, port } = client;
  if (processID === null || secretKey === null) {
    return Promise.resolve(true);
  }
  const request = Buffer.alloc(16);
  request.writeInt32BE(16, 0);
  request.writeInt32BE(CANCEL_REQUEST_CODE, 4);
  request.writeInt32BE(processID, 8);
  request.writeInt32BE(secretKey, 12);
  const socket = host.startsWith('/')
    ? connect({ path: `${host}/.s.PGSQL.${port}` })
    : connect({ host, port });
  return new Promise((resolve) => {
    socket.unref();
    socket.setTimeout(CANCEL_TIMEOUT_MS, () => {
      resolve(false);
      socket.destroy();
    });
    // The request is a courtesy: where it cannot be delivered, closing the socket has to suffice.
    socket.on('error', () => resolve(false));
    socket.on('close', () => resolve(true));
    socket.on('data', () => undefined);
    socket.write(request);
  });
}
