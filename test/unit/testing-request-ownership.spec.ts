import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';

import { bindRequests, type RequestBlock } from '../../lib/testing/request-ownership.js';
import { ownerIn, runOwned, TestOwner } from '../../lib/testing/test-owner.js';

/** The tests of one block. */
class Block implements RequestBlock {
  readonly tests = ['first', 'second'].map((name) => new TestOwner(this, name));

  ownerOf(token: string): TestOwner | undefined {
    return this.tests.find((test) => test.token === token);
  }
}

describe('the test that a request belongs to', () => {
  let server: Server;
  let block: Block;
  let other: Block;
  /** The names of the tests of both blocks, with `none` for those without, at each event. */
  let seen: string[];

  beforeEach(() => {
    seen = [];
    block = new Block();
    other = new Block();
    const nameIn = (each: Block): string => {
      const owner = ownerIn(each);
      return owner?.name ?? 'none';
    };
    const see = (): void => void seen.push(`${nameIn(block)}, ${nameIn(other)}`);
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
    const undo = bindRequests(server, block);
    const undoOther = bindRequests(server, other);
    const [first, second] = block.tests;
    await runOwned(block, first, async () => {
      server.listen(0, '127.0.0.1');
      await once(server, 'listening');
      await send({ 'x-db-context-test': second!.token });
      await send();
      await send({ 'x-db-context-test': other.tests[0]!.token });
      await send({ 'x-db-context-test': 'invented' });
    });
    const expected = ['second, none', 'none, none', 'none, first', 'unknown, unknown'];
    expect(seen).toEqual(expected.flatMap((each) => Array<string>(3).fill(each)));
    undo();
    expect(Object.hasOwn(server, 'emit')).toBe(true);
    undoOther();
    expect(Object.hasOwn(server, 'emit')).toBe(false);
  });

  it('leaves an emit() alone that another one has put in its place since', async () => {
    const undo = bindRequests(server, block);
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
