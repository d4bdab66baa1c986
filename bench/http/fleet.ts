import type { Adapter, Candidate } from '../candidates.js';
import { attempt, isFailure } from '../report/failure.js';
import { startChild, type Child } from './child.js';

/** The servers of all candidates, each in a process of its own. Only one is asked at a time. */
export interface Fleet {
  readonly candidates: readonly Candidate[];
  /** @throws Error when the candidate has not started */
  urlOf(candidate: Candidate): string;
  /** @throws Error when the candidate has not started */
  server(candidate: Candidate): Child;
  stop(): Promise<void>;
}

/** Starts all servers. One that does not start fails where it is used, and the others go on. */
export async function startFleet(
  candidates: readonly Candidate[],
  adapter: Adapter,
  databaseUrl: string,
): Promise<Fleet> {
  const file = new URL('../app/server.js', import.meta.url);
  const started = candidates.map(
    async (candidate) =>
      [
        candidate,
        await attempt(() => startChild(file, [candidate, adapter, databaseUrl])),
      ] as const,
  );
  const servers = new Map(await Promise.all(started));
  const server = (candidate: Candidate): Child => {
    const child = servers.get(candidate)!;
    if (isFailure(child)) {
      throw new Error(child.failure);
    }
    return child;
  };
  return {
    candidates,
    server,
    urlOf: (candidate) => (server(candidate).hello as { readonly url: string }).url,
    stop: async () => {
      await Promise.all(
        [...servers.values()].flatMap((child) => (isFailure(child) ? [] : [child.stop()])),
      );
    },
  };
}
