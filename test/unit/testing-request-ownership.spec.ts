import { AsyncLocalStorage } from 'node:async_hooks';
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';

import { bindRequests, type RunAs } from '../../lib/testing/request-ownership.js';

const owners = new AsyncLocalStorage<string>();
const runAs: RunAs = (token = 'no test', work) => owners.run(token, work);

describe('the test that a request belongs to', () => {
  let server: Server;
  let seen: (string | undefined)[];

  beforeEach(() => {
    seen = [];
    const see = (): void => void seen.push(owners.getStore());
    server = createServer((request, response) => {
      see();
      request.on('data', see).on('end', () => response.on('finish', see).end());
    });
  });
  afterEach(async () => {
    server.closeAllConnections();
    server.close();
    await once(server, 'close');
  });

  const send = async (headers: Readonly<Record<string, string>> = {}): Promise<void> => {
    const { port } = server.address() as AddressInfo;
    const answer = await fetch(`http://127.0.0.1:${port}`, {
      method: 'POST',
      headers,
      body: 'text',
    });
    await answer.text();
  };

  it('is that of its header, in all its events, and none without, whoever made the server listen', async () => {
    const undo = bindRequests(server, runAs);
    await owners.run('the test that was first', async () => {
      server.listen(0, '127.0.0.1');
      await once(server, 'listening');
      await send({ 'x-db-context-test': 'a' });
      await send();
    });
    expect(seen).toEqual([...Array(3).fill('a'), ...Array(3).fill('no test')]);
    undo();
    expect(Object.hasOwn(server, 'emit')).toBe(false);
  });

  it('leaves an emit() alone that another one has put in its place since', async () => {
    const undo = bindRequests(server, runAs);
    const events: unknown[] = [];
    const emitter: { emit: (event: string, ...args: unknown[]) => boolean } = server;
    const before = emitter.emit.bind(server);
    emitter.emit = (event, ...args) => {
      events.push(event);
      return before(event, ...args);
    };
    undo();
    expect(Object.hasOwn(server, 'emit')).toBe(true);
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    expect(events).toContain('listening');
  });
});
