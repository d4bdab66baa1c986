import type { Adapter, Candidate } from '../candidates.js';
import { startChild, type Child } from './child.js';

/** The servers of all candidates, each in a process of its own. Only one is asked at a time. */
export interface Fleet {
  readonly candidates: readonly Candidate[];
  urlOf(candidate: Candidate): string;
  server(candidate: Candidate): Child;
  stop(): Promise<void>;
}

export async function startFleet(
  candidates: readonly Candidate[],
  adapter: Adapter,
  databaseUrl: string,
): Promise<Fleet> {
  const file = new URL('../app/server.js', import.meta.url);
  const started = candidates.map(
    async (candidate) =>
      [candidate, await startChild(file, [candidate, adapter, databaseUrl])] as const,
  );
  const servers = new Map(await Promise.all(started));
  const server = (candidate: Candidate): Child => servers.get(candidate)!;
  return {
    candidates,
    server,
    urlOf: (candidate) => (server(candidate).hello as { readonly url: string }).url,
    stop: async () => {
      await Promise.all([...servers.values()].map((each) => each.stop()));
    },
  };
}
