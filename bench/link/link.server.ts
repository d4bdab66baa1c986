/**
 * A TCP proxy to the server of a URL, as a process: `link.server.js <url>`. It delays all bytes,
 * and counts the messages that ask the server for an answer, and the statements that the server completes.
 *
 * To a message `{ delayMs }` or `{ count: true }` it answers with the counts since the last one.
 */
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';

import { BackendMessages, FrontendMessages } from '../../test/support/wire-messages.js';

/** Query, Sync and Flush: https://www.postgresql.org/docs/current/protocol-message-formats.html */
const ASKS_FOR_ANSWER: readonly string[] = ['Q', 'S', 'H'];
/** CommandComplete, one for each statement. */
const COMPLETED = 'C';
/** Timers of Node have a resolution of 1 ms, and are late by as much; the rest is polled for. */
const POLLED_MS = 2;

interface Parcel {
  readonly due: number;
  readonly deliver: () => void;
}

const serverUrl = new URL(process.argv[2]!);
let delayMs = 0;
let roundTrips = 0;
let statements = 0;
// All parcels wait for the same time, so the order of their arrival is that of their delivery.
const underWay: Parcel[] = [];
let isWaiting = false;

function deliverDue(): void {
  isWaiting = false;
  while (underWay[0] !== undefined && underWay[0].due <= performance.now()) {
    underWay.shift()!.deliver();
  }
  waitForNext();
}

function waitForNext(): void {
  const next = underWay[0];
  if (isWaiting || next === undefined) {
    return;
  }
  isWaiting = true;
  const waitMs = next.due - performance.now();
  if (waitMs > POLLED_MS) {
    setTimeout(deliverDue, waitMs - POLLED_MS);
  } else {
    setImmediate(deliverDue);
  }
}

function send(deliver: () => void): void {
  if (delayMs === 0) {
    deliver();
    return;
  }
  underWay.push({ due: performance.now() + delayMs, deliver });
  waitForNext();
}

function relay(source: Socket, target: Socket, look: (chunk: Buffer) => void): void {
  source.setNoDelay(true);
  source.on('data', (chunk: Buffer) => {
    look(chunk);
    send(() => target.write(chunk));
  });
  source.on('end', () => send(() => target.end()));
  source.on('error', () => target.destroy());
}

const listener = createServer({ allowHalfOpen: true }, (client) => {
  const server = connect({
    host: serverUrl.hostname,
    port: Number(serverUrl.port),
    allowHalfOpen: true,
  });
  const messages = new FrontendMessages();
  relay(client, server, (chunk) => {
    const asking = messages.push(chunk).filter(({ type }) => ASKS_FOR_ANSWER.includes(type));
    roundTrips += asking.length;
  });
  const answers = new BackendMessages();
  relay(server, client, (chunk) => {
    statements += answers.push(chunk).filter(({ type }) => type === COMPLETED).length;
  });
});
listener.listen(0, '127.0.0.1');
await once(listener, 'listening');

process.on('message', (message: { readonly delayMs?: number }) => {
  delayMs = message.delayMs ?? delayMs;
  process.send!({ roundTrips, statements });
  roundTrips = 0;
  statements = 0;
});
process.on('disconnect', () => process.exit(0));

const url = new URL(serverUrl);
url.port = String((listener.address() as AddressInfo).port);
process.send!({ url: url.href });
