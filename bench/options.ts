import { parseArgs } from 'node:util';

import {
  ADAPTERS,
  ALL_CANDIDATES,
  CANDIDATES,
  type Adapter,
  type Candidate,
} from './candidates.js';
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
  'observed',
  'latency',
] as const;

/** Until the compiler of V8 has seen enough. */
const WARM_UP_SECONDS = 3;
const CHECK_CLIENTS = 20;
/** Of one candidate without a network, before another has its turn; about 15 ms. */
const BLOCK_REQUESTS = 50;
const BLOCKS_PER_ROUND = 40;
const WARM_UP_REQUESTS = 4_000;

type Part = (typeof PARTS)[number];

/** What is to be measured. */
export interface BenchOptions {
  readonly parts: readonly Part[];
  readonly adapters: readonly Adapter[];
  readonly candidates: readonly Candidate[];
  /** Whether it is only to be seen that everything runs. */
  readonly isCheck: boolean;
  readonly workloads: readonly Workload[];
  readonly rounds: Rounds;
  /** How long the candidates run without a network. */
  readonly blockPlan: BlockPlan;
  /** Rounds of the single calls. */
  readonly callRounds: number;
  readonly contexts: number;
  readonly linksMs: readonly number[];
  /** Where the figures are saved. */
  readonly json: string | undefined;
  /** The workload to be profiled, instead of all else. */
  readonly profile: Workload | undefined;
  readonly profileFile: string | undefined;
}

/** @throws Error for a word that it does not know */
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
    candidates:
      values.candidates === undefined ? [...CANDIDATES] : pick(values.candidates, ALL_CANDIDATES),
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

/** The words of a list with commas; all of them if there is none. */
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
