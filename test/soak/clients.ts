import { Http2Client } from '../support/http2-client.js';

const HTTP1_CLIENTS = 16;
const HTTP2_SESSIONS = 4;
const STREAMS_OF_A_SESSION = 4;

interface Answer {
  readonly status: number;
  readonly body: string;
}

/**
 * Sends one GET request, and takes it back when there is no answer within the limit.
 *
 * @returns `undefined` for one that was taken back
 */
export type Ask = (path: string, limitMs: number) => Promise<Answer | undefined>;

export interface Clients {
  /** One for each request that is to be under way at the same time. */
  readonly asks: readonly Ask[];
  /** The share of their requests that they take back early. */
  readonly leavingShare: number;
  /** Closes their connections. */
  leave(): Promise<void>;
}

export function http1Clients(url: string): Clients {
  const ask: Ask = async (path, limitMs) => {
    const signal = AbortSignal.timeout(limitMs);
    try {
      const response = await fetch(`${url}${path}`, { signal });
      return { status: response.status, body: await response.text() };
    } catch (error) {
      if (signal.aborted) {
        return undefined;
      }
      throw error;
    }
  };
  return {
    asks: Array.from({ length: HTTP1_CLIENTS }, () => ask),
    leavingShare: 0.03,
    leave: async () => undefined,
  };
}

/** A few sessions with several streams at once; a request is taken back with RST_STREAM. */
export function http2Clients(url: string, { ca }: { readonly ca: string }): Clients {
  const sessions = Array.from({ length: HTTP2_SESSIONS }, () => new Http2Client(url, { ca }));
  return {
    asks: sessions.flatMap((session) =>
      Array.from({ length: STREAMS_OF_A_SESSION }, () => askOver(session)),
    ),
    leavingShare: 0.05,
    leave: async () => {
      await Promise.all(sessions.map((session) => session.leave()));
    },
  };
}

function askOver(session: Http2Client): Ask {
  return async (path, limitMs) => {
    const request = session.get(path);
    let timer: NodeJS.Timeout | undefined;
    const takenBack = new Promise<undefined>((resolve) => {
      timer = setTimeout(() => {
        request.reset();
        resolve(undefined);
      }, limitMs);
    });
    try {
      return await Promise.race([request.response(), takenBack]);
    } finally {
      clearTimeout(timer);
    }
  };
}
