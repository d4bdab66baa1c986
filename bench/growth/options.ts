import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';

import { CURVES } from './curves.js';
import { SIDES, type Curve, type Side } from './curve.js';

const BLOCK_MS = 250;
/** Of each process, before its first measurement: until the compiler of V8 is done. */
const WARM_UP_MS = 6_000;
const DOCUMENTED = new URL('../../../../docs/figures/growth/', import.meta.url);

/** What is profiled, in place of being measured. */
export interface Profiled {
  readonly curve: Curve;
  readonly side: Side;
  readonly x: number;
  readonly file: string | undefined;
}

/** What is to be measured. */
export interface GrowthOptions {
  readonly curves: readonly Curve[];
  /** Whether it is only to be seen that everything runs. */
  readonly isQuick: boolean;
  readonly rounds: number;
  /** How many processes of each side share the rounds, one after another. */
  readonly batches: number;
  readonly blockMs: number;
  readonly warmUpMs: number;
  /** The points of each chosen curve, where they are not its own ones. */
  readonly points: readonly number[] | undefined;
  /** The folder of the pictures and their figures; with `--quick` by default one that is thrown away. */
  readonly out: URL | undefined;
  readonly profiled: Profiled | undefined;
}

/** @throws Error for a word that it does not know */
export function readOptions(): GrowthOptions {
  const { values } = parseArgs({
    options: {
      curves: { type: 'string' },
      quick: { type: 'boolean', default: false },
      rounds: { type: 'string', default: '7' },
      batches: { type: 'string', default: '3' },
      points: { type: 'string' },
      out: { type: 'string' },
      profile: { type: 'string' },
      side: { type: 'string', default: SIDES[0] },
      at: { type: 'string' },
      'profile-file': { type: 'string' },
    },
  });
  const { quick } = values;
  const out = values.out === undefined ? undefined : pathToFileURL(`${resolve(values.out)}/`);
  return {
    curves: values.curves?.split(',').map(curveOf) ?? CURVES,
    isQuick: quick,
    rounds: quick ? 1 : Number(values.rounds),
    batches: Number(values.batches),
    blockMs: quick ? 1 : BLOCK_MS,
    warmUpMs: quick ? 0 : WARM_UP_MS,
    points: values.points?.split(',').map(Number),
    out: out ?? (quick ? undefined : DOCUMENTED),
    profiled: values.profile === undefined ? undefined : profiledOf(values.profile, values),
  };
}

function profiledOf(
  name: string,
  values: {
    readonly side: string;
    readonly at?: string | undefined;
    readonly 'profile-file'?: string | undefined;
  },
): Profiled {
  const curve = curveOf(name);
  const side = SIDES.find((each) => each === values.side);
  if (side === undefined) {
    throw new Error(`"${values.side}" is none of ${SIDES.join(', ')}`);
  }
  if (curve.wire === 'http') {
    throw new Error(`${name} runs in a server: npm run bench -- --profile one-read`);
  }
  return {
    curve,
    side,
    x: values.at === undefined ? curve.points.at(-1)! : Number(values.at),
    file: values['profile-file'],
  };
}

function curveOf(name: string): Curve {
  const curve = CURVES.find((each) => each.name === name);
  if (curve === undefined) {
    throw new Error(`"${name}" is none of ${CURVES.map((each) => each.name).join(', ')}`);
  }
  return curve;
}
