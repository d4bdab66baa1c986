import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

import { EventStreams } from '../../lib/inspector/event-streams.js';
import { RequestLog } from '../../lib/inspector/request-log.js';

const LIFE_MS = 50;

it('a stream of the inspector ends after a while, so that its page passes the guards again', async () => {
  const streams = new EventStreams(
    new RequestLog({ maxRequests: 1, maxBytes: 1_000 }),
    false,
    LIFE_MS,
  );
  const server = createServer((_request, response) => streams.add(response)).listen(0, '127.0.0.1');
  await once(server, 'listening');
  try {
    const answer = await fetch(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
    // Ends by itself, and the connection is not kept.
    const text = await answer.text();
    expect(text).toMatch(/^retry: 1000\nevent: list\ndata: \[\]\n\n.*event: renew\n/s);
    expect(answer.headers.get('connection')).toBe('close');
    expect(streams.size).toBe(0);
  } finally {
    server.close();
    await once(server, 'close');
  }
});
