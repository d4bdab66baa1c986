import { parseArgs } from 'node:util';

import { ADAPTERS, CANDIDATES, type Adapter, type Candidate } from './candidates.js';
import type { Rounds } from './http/rounds.js';
import type { BlockPlan } from './machinery/machinery.js';
import { WORKLOADS, type Workload } from './workloads.js';

const PARTS = [
  'trips',
  'promises',
  'machinery',
  'calls',
  'memory',
  'throughput',
  'latency',
] as const;

/** How long the compiler of V8 needs until it has optimized the code. */
const WARM_UP_SECONDS = 3;
const CHECK_CLIENTS = 20;
/** Requests of one candidate without a network before the next one has its turn; about 50 ms. */
const BLOCK_REQUESTS = 200;
const BLOCKS_PER_ROUND = 10;
const WARM_UP_REQUESTS = 4_000;

type Part = (typeof PARTS)[number];

/** The options of a run. */
export interface BenchOptions {
  readonly parts: readonly Part[];
  readonly adapters: readonly Adapter[];
  readonly candidates: readonly Candidate[];
  /** Whether the run only checks that everything works, with a few requests each. */
  readonly isCheck: boolean;
  readonly workloads: readonly Workload[];
  readonly rounds: Rounds;
  /** How long the candidates run without a network. */
  readonly blockPlan: BlockPlan;
  /** Rounds of the single calls. */
  readonly callRounds: number;
  readonly contexts: number;
  readonly linksMs: readonly number[];
  /** The file that the figures are saved in. */
  readonly json: string | undefined;
  /** The workload to be profiled; nothing else is measured then. */
  readonly profile: Workload | undefined;
  readonly profileFile: string | undefined;
}

/** @throws Error an option has an unknown value */
export function readOptions(): BenchOptions {
  const { values } = parseArgs({
    options: {
      check: { type: 'boolean', default: false },
      parts: { type: 'string' },
      adapters: { type: 'string' },
      candidates: { type: 'string' },
      workloads: { type: 'string' },
      rounds: { type: 'string', default: '9' },
      apart: { type: 'boolean', default: false },
      inject: { type: 'boolean', default: false },
      seconds: { type: 'string', default: '1' },
      json: { type: 'string' },
      profile: { type: 'string' },
      'profile-file': { type: 'string' },
    },
  });
  const names = WORKLOADS.map(({ name }) => name);
  const chosen = pick(values.workloads, names);
  const [profiled] = values.profile === undefined ? [] : pick(values.profile, names);
  return {
    parts: pick(values.parts, PARTS),
    adapters: pick(values.adapters, ADAPTERS),
    candidates: pick(values.candidates, CANDIDATES),
    isCheck: values.check,
    workloads: chosen.map(byName).map((workload) => ({
      ...workload,
      clients: values.check ? Math.min(workload.clients, CHECK_CLIENTS) : workload.clients,
    })),
    rounds: values.check
      ? { rounds: 1, length: { answersEach: 2 }, warmUp: { answersEach: 2 } }
      : {
          rounds: Number(values.rounds),
          length: { seconds: Number(values.seconds) },
          warmUp: { seconds: WARM_UP_SECONDS },
        },
    blockPlan: {
      blocks: values.check ? 1 : Number(values.rounds) * BLOCKS_PER_ROUND,
      requests: values.check ? CHECK_CLIENTS : BLOCK_REQUESTS,
      warmUpRequests: values.check ? 0 : WARM_UP_REQUESTS,
      way: values.inject ? 'inject' : 'direct',
      isApart: values.apart,
    },
    callRounds: values.check ? 1 : Number(values.rounds),
    contexts: values.check ? 100 : 10_000,
    linksMs: values.check ? [1] : [0, 1, 10],
    json: values.json,
    profile: profiled === undefined ? undefined : byName(profiled),
    profileFile: values['profile-file'],
  };
}

function byName(wanted: string): Workload {
  return WORKLOADS.find(({ name }) => name === wanted)!;
}

/** The words of a list with commas; all words if there is no list. */
function pick<Word extends string>(text: string | undefined, words: readonly Word[]): Word[] {
  if (text === undefined) {
    return [...words];
  }
  return text.split(',').map((each) => {
    const word = words.find((known) => known === each);
    if (word === undefined) {
      throw new Error(`"${each}" is none of ${words.join(', ')}`);
    }
    return word;
  });
}
