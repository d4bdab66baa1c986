import { startChild } from '../http/child.js';

/** What has gone over a link. */
export interface WireCounts {
  readonly roundTrips: number;
  /** The statements that the server has completed; several of them may be in one message. */
  readonly statements: number;
}

/** A link to a database server, of which the length can be chosen. */
export interface Link {
  /** The URL of the database over the link. */
  readonly url: string;
  /** @param roundTripMs the time that the link adds to each round trip, in milliseconds */
  setLength(roundTripMs: number): Promise<void>;
  /** What has gone over it since the last call. */
  count(): Promise<WireCounts>;
  stop(): Promise<void>;
}

/** Starts a link to the server of `databaseUrl`. */
export async function startLink(databaseUrl: string): Promise<Link> {
  const child = await startChild(new URL('link.server.js', import.meta.url), [databaseUrl]);
  return {
    url: (child.hello as { readonly url: string }).url,
    setLength: async (roundTripMs) => {
      await child.ask({ delayMs: roundTripMs / 2 });
    },
    count: async () => (await child.ask({ count: true })) as WireCounts,
    stop: () => child.stop(),
  };
}
