import { once } from 'node:events';
import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';

import { load } from '../../bench/http/load.js';
import type { Workload } from '../../bench/workloads.js';

const WORKLOAD: Workload = {
  name: 'one-read',
  title: 'one read',
  method: 'GET',
  clients: 10,
  isOverLinks: true,
  usesDatabase: true,
};
const ACCOUNT = JSON.stringify({ id: 1, balance: 100 });

describe('the load of the bench', () => {
  let server: Server;
  let url: string;
  let connections: number;

  async function serve(listener: RequestListener): Promise<void> {
    connections = 0;
    server = createServer(listener);
    server.on('connection', () => {
      connections += 1;
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  afterEach(async () => {
    const closed = once(server, 'close');
    server.close();
    await closed;
  });

  it('connects all clients before the first of them asks', async () => {
    const connectedAtRequest: number[] = [];
    await serve(({ url: path }, response) => {
      if (path === '/one-read') {
        connectedAtRequest.push(connections);
      }
      response.end(ACCOUNT);
    });
    const { answers } = await load(url, WORKLOAD, { answersEach: 2 }, { clients: 250 });
    expect(answers).toBe(500);
    expect(new Set(connectedAtRequest)).toEqual(new Set([250]));
  });

  it('counts an answer with another status as failed, and goes on', async () => {
    let turn = 0;
    await serve(({ url: path }, response) => {
      turn += path === '/one-read' ? 1 : 0;
      const isRefused = path === '/one-read' && turn % 4 === 0;
      response.writeHead(isRefused ? 500 : 200).end(isRefused ? 'no' : ACCOUNT);
    });
    await expect(load(url, WORKLOAD, { answersEach: 4 })).rejects.toThrow(
      new Error('10 of 40 answers failed, the first with status 500: no'),
    );
  });

  it('takes another body for a failure, and another success', async () => {
    await serve(({ method }, response) => response.end(method === 'POST' ? ACCOUNT : '{}'));
    const length = [{ answersEach: 1 }, { clients: 1 }] as const;
    await expect(load(url, WORKLOAD, ...length)).rejects.toThrow(
      new Error('1 of 1 answers failed, the first with status 200: {}'),
    );
    // What is created is answered with 201.
    await expect(load(url, { ...WORKLOAD, method: 'POST' }, ...length)).rejects.toThrow(
      new Error(`1 of 1 answers failed, the first with status 200: ${ACCOUNT}`),
    );
  });

  it('names a connection that the server has closed', async () => {
    await serve(({ url: path, socket }, response) => {
      if (path === '/one-read') {
        socket.destroy();
      } else {
        response.end(ACCOUNT);
      }
    });
    await expect(load(url, WORKLOAD, { answersEach: 3 }, { clients: 2 })).rejects.toThrow(
      new Error('2 of 2 answers failed, the first with SocketError: other side closed'),
    );
  });
});
