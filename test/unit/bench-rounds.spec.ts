import { once } from 'node:events';
import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';

import type { Candidate } from '../../bench/candidates.js';
import type { Fleet } from '../../bench/http/fleet.js';
import { runBatches } from '../../bench/http/batches.js';
import { runRounds } from '../../bench/http/rounds.js';
import { shareOf } from '../../bench/http/warm-up.js';
import { isFailure } from '../../bench/report/failure.js';
import { compare } from '../../bench/report/results.js';
import { throughputTable } from '../../bench/report/tables.js';
import { splitRounds } from '../../bench/split-rounds.js';
import { isFor, type Workload } from '../../bench/workloads.js';

const WORKLOAD: Workload = {
  name: 'one-read',
  title: 'one read',
  method: 'GET',
  clients: 2,
  isOverLinks: true,
  usesDatabase: true,
};
const NOTHING: Workload = {
  ...WORKLOAD,
  name: 'nothing',
  title: 'no database',
  usesDatabase: false,
};
const ROUNDS = { rounds: 3, length: { answersEach: 2 } };
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
        // Each round is four answers: it fails in the second round.
        response.writeHead(asked > 4 ? 503 : 200).end(ACCOUNT);
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

  it('are split over fleets that are started one after another, and joined', async () => {
    const [started, stopped, warm]: [number[], number[], string[]] = [[], [], []];
    const start = async (): Promise<Fleet> => {
      const number = started.push(stopped.length);
      const fleet = await fleetOf({
        library: ({ url }, response) => {
          warm.push(`${number}: ${url}`);
          response.end(ACCOUNT);
        },
        // Only the second process of this candidate fails.
        'hand-written': (_, response) => response.writeHead(number === 2 ? 503 : 200).end(ACCOUNT),
        'request-scope': answers,
      });
      return {
        ...fleet,
        stop: () => {
          stopped.push(number);
          return Promise.resolve();
        },
      };
    };
    const plan = { ...ROUNDS, batches: 2, warmUp: { answersEach: 1 } };
    const batches: string[] = [];
    const all = await runBatches(
      {
        start,
        workloads: [NOTHING, WORKLOAD],
        isAsked: (candidate, workload) =>
          isFor(candidate, workload) && (workload === WORKLOAD || candidate !== 'request-scope'),
        onBatch: (batch, of) => batches.push(`${batch} of ${of}`),
      },
      plan,
    );
    expect({ started, stopped, batches }).toEqual({
      started: [0, 1],
      stopped: [1, 2],
      batches: ['1 of 2', '2 of 2'],
    });
    // Each of the two clients asks for "nothing" as well before its clock starts.
    const firstOf = (number: number): string[] =>
      warm.filter((each) => each.startsWith(`${number}`)).slice(0, 8);
    for (const number of [1, 2]) {
      expect(firstOf(number).map((each) => each.slice(3))).toEqual([
        ...Array.from({ length: 6 }, () => '/nothing'),
        '/one-read',
        '/one-read',
      ]);
    }
    const [nothing, read] = [all.get(NOTHING)!, all.get(WORKLOAD)!];
    expect([...nothing.keys()]).toEqual(['library', 'hand-written']);
    expect([...read.keys()]).toEqual(['library', 'hand-written', 'request-scope']);
    expect(read.get('library')).toHaveLength(3);
    expect(read.get('request-scope')).toHaveLength(3);
    expect(isFailure(read.get('hand-written'))).toBe(true);
  });

  it('are shared evenly by the batches, of which there are no more than rounds', () => {
    const split = (rounds: number, batches: number): readonly (readonly number[])[] =>
      splitRounds({ rounds, batches }).map((each) => [each.first, each.rounds]);
    expect(split(18, 3)).toEqual([
      [0, 6],
      [6, 6],
      [12, 6],
    ]);
    expect(split(5, 3)).toEqual([
      [0, 1],
      [1, 2],
      [3, 2],
    ]);
    expect(split(1, 3)).toEqual([[0, 1]]);
  });

  it('follow on a warm-up that the workloads share, with a second for what needs no database', () => {
    const write = { ...WORKLOAD, name: 'one-insert' };
    const shares = (workloads: readonly Workload[]): readonly unknown[] =>
      workloads.map((each) => shareOf(each, workloads, { seconds: 8 }));
    expect(shares([WORKLOAD, write, NOTHING])).toEqual([
      { seconds: 3.5 },
      { seconds: 3.5 },
      { seconds: 1 },
    ]);
    expect(shares([WORKLOAD])).toEqual([{ seconds: 8 }]);
    expect(shares([NOTHING])).toEqual([{ seconds: 8 }]);
    expect(shareOf(WORKLOAD, [WORKLOAD, write], { answersEach: 2 })).toEqual({ answersEach: 2 });
  });
});
