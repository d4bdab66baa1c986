import { inspect } from 'node:util';

import { InvalidOptionsError } from '../errors.js';
import { LONGEST_LIMIT_MS } from './time-limit.js';

/** What `pg` has where nothing is given. */
const DEFAULTS = { min: 0, max: 10, idleTimeoutMillis: 10_000 };

type PoolOption = keyof typeof DEFAULTS;

const LEAST: Readonly<Record<PoolOption, number>> = { min: 0, max: 1, idleTimeoutMillis: 0 };

/**
 * Refuses a pool that could serve nobody, or whose size is not the one that its options say: `pg` takes a
 * `max` of 0 or `NaN` for 10, and waits for ever with a negative one.
 *
 * @param options of a connection; those of `pg` win over those of the pool
 * @throws {@link InvalidOptionsError}
 */
export function assertPoolSize(
  name: string,
  { pool, driverOptions }: { readonly pool?: unknown; readonly driverOptions?: unknown },
): void {
  const value = (key: PoolOption): number => {
    const given = [driverOptions, pool].find((each) => optionOf(each, key) !== undefined);
    const place = given === pool ? 'pool' : 'driverOptions';
    const chosen = given === undefined ? DEFAULTS[key] : optionOf(given, key);
    if (!Number.isInteger(chosen) || !isWithin(chosen as number, LEAST[key])) {
      throw new InvalidOptionsError(
        `The connection "${name}" has ${place}: { ${key}: ${inspect(chosen)} }. Give a whole number of at ` +
          `least ${LEAST[key]}, or leave it out: it is ${DEFAULTS[key]} then.`,
      );
    }
    return chosen as number;
  };
  const [min, max] = [value('min'), value('max')];
  value('idleTimeoutMillis');
  if (min > max) {
    throw new InvalidOptionsError(
      `The connection "${name}" has a pool of at least ${min} and at most ${max} connections. Raise max, ` +
        `which is ${DEFAULTS.max} where it is left out, or lower min.`,
    );
  }
}

function optionOf(options: unknown, key: PoolOption): unknown {
  return (options as Readonly<Record<string, unknown>> | null | undefined)?.[key];
}

function isWithin(value: number, least: number): boolean {
  return value >= least && value <= LONGEST_LIMIT_MS;
}
