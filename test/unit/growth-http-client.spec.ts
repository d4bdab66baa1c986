/** The client of `npm run bench:growth`, which is connected before the clock starts. */
import { once } from 'node:events';
import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';

import { HttpClient } from '../../bench/growth/run/http-client.js';

let server: Server | undefined;

async function serve(answer: RequestListener): Promise<URL> {
  server = createServer(answer).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}/one-read`);
}

afterEach(async () => {
  server!.closeAllConnections();
  await once(server!.close(), 'close');
});

it('asks often on one connection that was open before', async () => {
  const paths: (string | undefined)[] = [];
  let connections = 0;
  const url = await serve(({ url: path }, response) => {
    paths.push(path);
    response.writeHead(paths.length === 2 ? 503 : 200, { 'content-length': 5 });
    // The head, and the body in two parts, each in a packet of its own.
    response.write('he');
    setImmediate(() => response.end('llo'));
  });
  server!.on('connection', () => {
    connections += 1;
  });
  const connected = once(server!, 'connection');
  const client = await HttpClient.open(url);
  await connected;
  expect(paths).toEqual([]);
  const statuses = [(await client.ask()).status, (await client.ask()).status];
  client.close();
  expect(statuses).toEqual([200, 503]);
  expect(paths).toEqual(['/one-read', '/one-read']);
  expect(connections).toBe(1);
});

it('fails when the server leaves without an answer', async () => {
  const url = await serve((request) => request.socket.end());
  const client = await HttpClient.open(url);
  await expect(client.ask()).rejects.toThrow(new Error('the server has closed the connection'));
});
