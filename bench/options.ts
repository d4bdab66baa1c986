import { parseArgs } from 'node:util';

import {
  ADAPTERS,
  ALL_CANDIDATES,
  CANDIDATES,
  SUMMARY,
  type Adapter,
  type Candidate,
} from './candidates.js';
import type { BatchPlan } from './http/batches.js';
import type { BlockPlan } from './machinery/machinery.js';
import type { PackagePlan } from './machinery/package-times.js';
import { WORKLOADS, type Workload } from './workloads.js';

/** What can be measured, each by itself. */
export const PARTS = [
  'trips',
  'promises',
  'machinery',
  'packages',
  'calls',
  'memory',
  'throughput',
  'observed',
  'latency',
] as const;

/** Of the parts, those that make the summary, and the workloads and the link that it shows. */
const SUMMARY_PARTS: readonly Part[] = ['trips', 'promises', 'throughput', 'latency'];
const SUMMARY_WORKLOADS = ['one-read', 'read-modify-write', 'nothing'];
const SUMMARY_LINKS_MS = [1];

/** Of each server, with all workloads: until the compiler of V8 is done. */
const WARM_UP_SECONDS = 8;
/** Fleets that the rounds are split over: V8 never compiles the same code twice in the same way. */
const BATCHES = 3;
/** Many short rounds: a machine with other work is slow for seconds at a time, which then are seconds of all. */
const ROUNDS = { summary: 18, parts: 9 };
const SECONDS = { summary: 0.25, parts: 1 };
const CHECK_CLIENTS = 20;
/** Of one candidate without a network, before another has its turn; about 15 ms. */
const BLOCK_REQUESTS = 50;
const BLOCKS_PER_ROUND = 40;
const WARM_UP_REQUESTS = 20_000;
/** Of a profile: a sample is taken every few hundred microseconds. */
const RECORDED_REQUESTS = 10_000;
/** Each of them is a process of its own. */
const RECORDED_ROUNDS = 5;

export type Part = (typeof PARTS)[number];

/**
 * What a run is for: one table; each part by itself; that everything runs; that the counts are the expected
 * ones; or the options.
 */
type Form = 'summary' | 'parts' | 'check' | 'counts' | 'help';

/** What is to be measured. */
export interface BenchOptions {
  readonly form: Form;
  readonly parts: readonly Part[];
  readonly adapters: readonly Adapter[];
  readonly candidates: readonly Candidate[];
  /** Whether it is only to be seen that everything runs. */
  readonly isCheck: boolean;
  readonly workloads: readonly Workload[];
  readonly rounds: BatchPlan;
  /** How long the candidates run without a network. */
  readonly blockPlan: BlockPlan;
  /** How long each candidate runs where its time is told by package. */
  readonly packagePlan: PackagePlan;
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
      help: { type: 'boolean', short: 'h', default: false },
      long: { type: 'boolean', default: false },
      check: { type: 'boolean', default: false },
      counts: { type: 'boolean', default: false },
      parts: { type: 'string' },
      adapters: { type: 'string' },
      candidates: { type: 'string' },
      workloads: { type: 'string' },
      rounds: { type: 'string' },
      batches: { type: 'string' },
      apart: { type: 'boolean', default: false },
      inject: { type: 'boolean', default: false },
      seconds: { type: 'string' },
      json: { type: 'string' },
      profile: { type: 'string' },
      'profile-file': { type: 'string' },
    },
  });
  const form = formOf(values);
  const isSummary = form === 'summary';
  const isCheck = form === 'check';
  const length = isSummary ? 'summary' : 'parts';
  const rounds = Number(values.rounds ?? ROUNDS[length]);
  const seconds = Number(values.seconds ?? SECONDS[length]);
  const batches = Number(values.batches ?? BATCHES);
  const names = WORKLOADS.map(({ name }) => name);
  const chosen =
    isSummary && values.workloads === undefined ? SUMMARY_WORKLOADS : pick(values.workloads, names);
  const [profiled] = values.profile === undefined ? [] : pick(values.profile, names);
  return {
    form,
    parts: isSummary ? SUMMARY_PARTS : pick(values.parts, PARTS),
    adapters: pick(values.adapters, ADAPTERS),
    candidates:
      values.candidates === undefined
        ? [...(isSummary ? SUMMARY : CANDIDATES)]
        : pick(values.candidates, ALL_CANDIDATES),
    isCheck,
    workloads: chosen.map(byName).map((workload) => ({
      ...workload,
      clients: isCheck ? Math.min(workload.clients, CHECK_CLIENTS) : workload.clients,
    })),
    rounds: isCheck
      ? { rounds: 1, batches: 1, length: { answersEach: 2 }, warmUp: { answersEach: 2 } }
      : {
          rounds,
          batches,
          length: { seconds },
          warmUp: { seconds: WARM_UP_SECONDS },
        },
    blockPlan: {
      blocks: isCheck ? 1 : rounds * BLOCKS_PER_ROUND,
      batches,
      requests: isCheck ? CHECK_CLIENTS : BLOCK_REQUESTS,
      warmUpRequests: isCheck ? 0 : WARM_UP_REQUESTS,
      way: values.inject ? 'inject' : 'direct',
      isApart: values.apart,
    },
    packagePlan: {
      rounds: isCheck ? 1 : RECORDED_ROUNDS,
      requests: isCheck ? CHECK_CLIENTS : RECORDED_REQUESTS,
      warmUpRequests: isCheck ? 0 : WARM_UP_REQUESTS,
      way: values.inject ? 'inject' : 'direct',
    },
    callRounds: isCheck ? 1 : rounds,
    contexts: isCheck ? 100 : 10_000,
    linksMs: isCheck || isSummary ? SUMMARY_LINKS_MS : [0, 1, 10],
    json: values.json,
    profile: profiled === undefined ? undefined : byName(profiled),
    profileFile: values['profile-file'],
  };
}

interface FormWords {
  readonly help: boolean;
  readonly check: boolean;
  readonly counts: boolean;
  readonly long: boolean;
  readonly parts?: string;
  readonly profile?: string;
}

function formOf({ help, check, counts, long, parts, profile }: FormWords): Form {
  if (help) {
    return 'help';
  }
  if (check) {
    return 'check';
  }
  if (counts) {
    return 'counts';
  }
  return long || parts !== undefined || profile !== undefined ? 'parts' : 'summary';
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
