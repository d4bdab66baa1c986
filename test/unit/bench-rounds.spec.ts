import { once } from 'node:events';
import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';

import type { Candidate } from '../../bench/candidates.js';
import type { Fleet } from '../../bench/http/fleet.js';
import { runRounds } from '../../bench/http/rounds.js';
import { isFailure } from '../../bench/report/failure.js';
import { compare } from '../../bench/report/results.js';
import { throughputTable } from '../../bench/report/tables.js';
import type { Workload } from '../../bench/workloads.js';

const WORKLOAD: Workload = {
  name: 'one-read',
  title: 'one read',
  method: 'GET',
  clients: 2,
  isOverLinks: true,
  usesDatabase: true,
};
const ROUNDS = { rounds: 3, length: { answersEach: 2 }, warmUp: { answersEach: 1 } };
const ACCOUNT = JSON.stringify({ id: 1, balance: 100 });
const answers: RequestListener = (_request, response) => response.end(ACCOUNT);

describe('the rounds of the bench', () => {
  const servers: Server[] = [];

  /** Servers in this process, in place of one process each. `undefined` is one that did not start. */
  async function fleetOf(
    listeners: Readonly<Partial<Record<Candidate, RequestListener | undefined>>>,
  ): Promise<Fleet> {
    const urls = new Map<Candidate, string>();
    for (const [candidate, listener] of Object.entries(listeners)) {
      if (listener !== undefined) {
        const server = createServer(listener).listen(0, '127.0.0.1');
        servers.push(server);
        await once(server, 'listening');
        const { port } = server.address() as AddressInfo;
        urls.set(candidate as Candidate, `http://127.0.0.1:${port}`);
      }
    }
    return {
      candidates: Object.keys(listeners) as Candidate[],
      urlOf: (candidate) => {
        const url = urls.get(candidate);
        if (url === undefined) {
          throw new Error(`${candidate} did not start`);
        }
        return url;
      },
      server: () => ({
        hello: undefined,
        ask: () => Promise.resolve({ cpuTimeUs: 0 }),
        stop: () => Promise.resolve(),
      }),
      stop: () => Promise.resolve(),
    };
  }

  afterEach(async () => {
    await Promise.all(
      servers.splice(0).map((server) => {
        const closed = once(server, 'close');
        server.close();
        return closed;
      }),
    );
  });

  it('go on without a candidate that fails, and a row says why', async () => {
    let asked = 0;
    const fleet = await fleetOf({
      library: answers,
      'hand-written': ({ url }, response) => {
        asked += url === '/one-read' ? 1 : 0;
        // The warm-up is two answers, and each round four: it fails in the second round.
        response.writeHead(asked > 6 ? 503 : 200).end(ACCOUNT);
      },
      'request-scope': undefined,
    });
    const series = await runRounds(fleet, WORKLOAD, ROUNDS);
    const library = series.get('library');
    expect(isFailure(library) ? library : library?.length).toBe(3);
    expect(series.get('hand-written')).toEqual({
      failure: `4 of 4 answers failed, the first with status 503: ${ACCOUNT}`,
    });
    expect(series.get('request-scope')).toEqual({ failure: 'request-scope did not start' });

    const where = { adapter: 'fastify', roundTripMs: 0, clients: 2 } as const;
    const rows = throughputTable([compare(series, WORKLOAD, where)]).split('\n');
    expect(rows.filter((row) => row.includes('failed'))).toEqual([
      expect.stringMatching(/^\| one read \| hand-written +\| failed: 4 of 4 answers failed, /),
      expect.stringMatching(
        /^\| one read \| request-scope \| failed: request-scope did not start /,
      ),
    ]);
    expect(rows[2]).toMatch(/^\| one read \| library +\| \d+ /);
  });

  it('have no ratios where the library itself fails', async () => {
    const fleet = await fleetOf({ library: undefined, 'hand-written': answers });
    const where = { adapter: 'fastify', roundTripMs: 0, clients: 2 } as const;
    const { candidates } = compare(await runRounds(fleet, WORKLOAD, ROUNDS), WORKLOAD, where);
    expect(candidates[0]).toEqual({ candidate: 'library', failure: 'library did not start' });
    expect(candidates[1]).not.toHaveProperty('throughputRatio');
    expect(candidates[1]).toHaveProperty('perSecond');
  });
});
