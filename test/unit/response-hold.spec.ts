import { once } from 'node:events';
import { createServer, ServerResponse, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';

import { setCookie, setHeader } from '../../lib/transport/response-headers.js';
import { nodeResponseOf } from '../../lib/transport/node-response.js';
import { ResponseHold } from '../../lib/transport/response-hold.js';
import { HOLDING } from '../support/holding-listener.js';

const ownEnd = Reflect.get(ServerResponse.prototype, 'end') as (...chunk: unknown[]) => unknown;

describe('ResponseHold', () => {
  let server: Server;
  let answer: (hold: ResponseHold, response: ServerResponse) => void;

  beforeAll(async () => {
    server = createServer((_request, response) => {
      answer(new ResponseHold(nodeResponseOf(response)!, HOLDING), response);
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
  });
  afterAll(() => server.close());

  const fetched = async (give: typeof answer): Promise<Response> => {
    answer = give;
    return fetch(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  };

  it('W1: what the library adds to a held head comes with it, beside the cookies of the application', async () => {
    const response = await fetched((hold, raw) => {
      raw.setHeader('x-kept', 'kept');
      raw.writeHead(201, { 'Set-Cookie': ['own=1', 'lsn=old'], 'x-given': 'given' });
      raw.end('body');
      setCookie(raw, 'lsn', 'lsn=new');
      setHeader(raw, 'x-lsn', '7');
      expect(() => raw.setHeader('x-late', 'late')).toThrow(/^Cannot setHeader/);
      hold.release();
    });
    expect(response.headers.getSetCookie()).toEqual(['own=1', 'lsn=new']);
    expect(Object.fromEntries(response.headers)).toMatchObject({
      'x-kept': 'kept',
      'x-given': 'given',
      'x-lsn': '7',
    });
    expect([response.status, await response.text()]).toEqual([201, 'body']);
  });

  it('W1: the headers of a dropped body do not come with another answer, all others do', async () => {
    const response = await fetched((hold, raw) => {
      raw.setHeader('etag', 'W/"1"');
      raw.setHeader('content-length', '100');
      raw.setHeader('x-request-id', '7');
      raw.write('of the dropped answer');
      hold.drop(new Error('not saved'));
      raw.end('another');
      raw.end('late');
    });
    expect([response.status, await response.text()]).toEqual([500, 'another']);
    expect(response.headers.get('etag')).toBeNull();
    expect(response.headers.get('x-request-id')).toBe('7');
  });

  it('W1: a status that changes while the head is held is not the one that is sent', async () => {
    const response = await fetched((hold, raw) => {
      raw.statusCode = 202;
      raw.write('a');
      raw.statusCode = 500;
      hold.release();
      raw.end('b');
    });
    expect([response.status, await response.text()]).toEqual([202, 'ab']);
  });

  it('W1: what Node would refuse is refused at once, and begins nothing', async () => {
    const codes: unknown[] = [];
    const response = await fetched((hold, raw) => {
      for (const send of [
        () => raw.writeHead(99),
        () => raw.writeHead(200, { 'x-bad': 'a\nb' }),
        () => raw.writeHead(200, { 'bad name': 'a' }),
        () => raw.write({}),
        () => raw.end(1 as never),
      ]) {
        try {
          send();
        } catch (error) {
          codes.push((error as { code: unknown }).code, raw.headersSent);
        }
      }
      raw.end('sent');
      hold.release();
    });
    expect(await response.text()).toBe('sent');
    expect(codes).toEqual([
      'ERR_HTTP_INVALID_STATUS_CODE',
      false,
      'ERR_INVALID_CHAR',
      false,
      'ERR_INVALID_HTTP_TOKEN',
      false,
      'ERR_INVALID_ARG_TYPE',
      false,
      'ERR_INVALID_ARG_TYPE',
      false,
    ]);
  });

  it.each<[string, string, (raw: ServerResponse) => void]>([
    ['a status', 'ERR_HTTP_INVALID_STATUS_CODE', (raw) => (raw.statusCode = 1000)],
    ['a message', 'ERR_INVALID_CHAR', (raw) => (raw.statusMessage = 'a\nb')],
    ['an odd list of headers', 'ERR_INVALID_ARG_VALUE', (raw) => raw.writeHead(200, ['a'])],
    [
      'a list of pairs beside a header',
      'ERR_INVALID_ARG_VALUE',
      (raw) => {
        raw.setHeader('x-kept', 'kept');
        raw.writeHead(200, [['x-a', '1']] as never);
      },
    ],
    [
      'a trailer beside a length',
      'ERR_HTTP_TRAILER_INVALID',
      (raw) => raw.setHeader('trailer', 'x-t').setHeader('content-length', '1'),
    ],
    ['an encoding', 'ERR_UNKNOWN_ENCODING', (raw) => raw.end('abc', 'nope' as never)],
    ['a body that is sent', 'ERR_INVALID_ARG_TYPE', (raw) => raw.end(1 as never)],
  ])('W1: %s that Node refuses is refused at once, and begins nothing', async (_, code, send) => {
    const seen: unknown[] = [];
    const response = await fetched((hold, raw) => {
      try {
        send(raw);
        raw.end('x');
      } catch (error) {
        seen.push((error as { code: unknown }).code, raw.headersSent);
      }
      raw.getHeaderNames().forEach((name) => raw.removeHeader(name));
      raw.statusCode = 500;
      raw.statusMessage = 'Refused';
      raw.end('refused');
      hold.release();
    });
    expect(seen).toEqual([code, false]);
    expect([response.status, await response.text()]).toEqual([500, 'refused']);
  });

  it('W1: trailers, and a destroy() after the end, wait for their turn', async () => {
    const response = await fetched((hold, raw) => {
      raw.setHeader('trailer', 'x-t');
      raw.write('a');
      raw.addTrailers({ 'x-t': '1' });
      raw.end('b');
      raw.destroy();
      hold.release();
    });
    expect([response.status, await response.text()]).toEqual([200, 'ab']);
  });

  it('W1: nothing of the head, the trailers or the end of a dropped answer comes with another', async () => {
    const response = await fetched((hold, raw) => {
      for (const name of [
        'trailer',
        'cdn-cache-control',
        'surrogate-control',
        'age',
        'pragma',
        'digest',
        'link',
        'refresh',
        'accept-ranges',
        'clear-site-data',
        'x-accel-redirect',
      ]) {
        raw.setHeader(name, 'of-dropped');
      }
      raw.setHeader('access-control-allow-origin', '*');
      raw.setHeader('content-security-policy', 'default-src');
      raw.statusMessage = 'Groovy';
      raw.write('a');
      raw.addTrailers({ 'x-t': '1' });
      raw.end();
      raw.destroy();
      hold.drop(new Error('not saved'));
      raw.setHeader('content-length', '7');
      raw.end('another');
    });
    expect([response.status, response.statusText]).toEqual([500, 'Internal Server Error']);
    expect(await response.text()).toBe('another');
    expect([...response.headers.keys()].toSorted()).toEqual([
      'access-control-allow-origin',
      'connection',
      'content-length',
      'content-security-policy',
      'date',
      'keep-alive',
    ]);
  });

  it('W1: what is sent around the methods of a held response is refused, and not on the wire', async () => {
    const response = await fetched((hold, raw) => {
      raw.write('a');
      expect(() => Reflect.apply(ownEnd, raw, ['b'])).toThrow(
        expect.objectContaining({ code: 'ERR_HTTP_HEADERS_SENT' }),
      );
      raw.end('c');
      hold.release();
    });
    expect(await response.text()).toBe('ac');
  });

  it('L2: a response that is let go has its own methods', () => {
    const raw = { writeHead() {}, flushHeaders() {}, write() {}, end() {} };
    const own = { ...raw };
    new ResponseHold(nodeResponseOf(raw as never)!, HOLDING).release();
    expect(raw).toEqual(own);
  });
});
