import { setTimeout as sleep } from 'node:timers/promises';

import type { ErrorBody } from '../faults/support/error-body.filter.js';
import { noAnswer, type Answer, type AskOptions, type World } from '../faults/support/world.js';
import { Http2Client } from '../support/http2-client.js';
import { ANSWER_LIMIT_MS } from './compared-fault.js';

/** The same application, asked over HTTP/2. */
export function overHttp2(world: World): World {
  return { ...world, ask: (key, options) => ask(world.url, key, options) };
}

async function ask(
  url: string,
  key: string,
  { kind = 'promise', limitMs = ANSWER_LIMIT_MS }: AskOptions = {},
): Promise<Answer> {
  const client = new Http2Client(url);
  const late = sleep(limitMs).then(() => Promise.reject(new Error('no answer in time')));
  late.catch(() => undefined);
  try {
    const response = client.get(`/${kind}/${key}`).response();
    const { status, body } = await Promise.race([response, late]);
    const parsed = JSON.parse(body) as ErrorBody & { value?: unknown };
    return status < 400
      ? { key, status, value: parsed.value, errorBody: undefined }
      : { key, status, value: undefined, errorBody: parsed };
  } catch (error) {
    return noAnswer(key, error as Error);
  } finally {
    await client.leave();
  }
}
