import { inspect } from 'node:util';

import { InvalidOptionsError } from '../errors.js';
import {
  READ_DEFAULTS,
  type ConnectionReadOptions,
  type ReadFromOptions,
  type ReadYourWritesOptions,
} from '../replica.options.js';
import { isTimeLimit, LONGEST_LIMIT_MS } from './time-limit.js';

/** With every default filled in. */
export interface ResolvedReadOptions {
  readonly readFrom: Required<ReadFromOptions>;
  readonly readYourWrites: Required<ReadYourWritesOptions> | undefined;
}

const READ_FROM = ['choose', 'fallback', 'retryAfterMs'] as const;
const READ_YOUR_WRITES = ['via', 'name', 'waitMs', 'maxAgeSeconds', 'secure'] as const;

/** Longest life of a cookie that browsers keep, in seconds. */
const LONGEST_AGE_SECONDS = 400 * 24 * 60 * 60;

/** What names of headers and of cookies are made of, see https://www.rfc-editor.org/rfc/rfc9110#name-tokens */
const TOKEN = /^[\w!#$%&'*+.^`|~-]+$/;

/**
 * Looks at the options about replicas, and fills in what is left out.
 *
 * @param connectionName for messages, and for the name of the cookie or header
 * @throws {@link InvalidOptionsError}
 */
export function resolveReadOptions(
  { readFrom = {}, readYourWrites }: ConnectionReadOptions,
  connectionName: string,
): ResolvedReadOptions {
  const where = `The connection "${connectionName}"`;
  const from = withDefaults(readFrom, READ_FROM, `${where}: readFrom`);
  check(from.choose === 'round-robin' || typeof from.choose === 'function', `${where}: readFrom`, {
    name: 'choose',
    value: from.choose,
    mend: "'round-robin', or a function of the hosts that returns one of them",
  });
  check(['primary', 'error'].includes(from.fallback), `${where}: readFrom`, {
    name: 'fallback',
    value: from.fallback,
    mend: "'primary' or 'error'",
  });
  check(isTimeLimit(from.retryAfterMs), `${where}: readFrom`, {
    name: 'retryAfterMs',
    value: from.retryAfterMs,
    mend: `a number of milliseconds between 1 and ${LONGEST_LIMIT_MS}`,
  });
  return {
    readFrom: from,
    readYourWrites:
      readYourWrites === undefined
        ? undefined
        : resolveReadYourWrites(readYourWrites, connectionName, `${where}: readYourWrites`),
  };
}

function resolveReadYourWrites(
  given: ReadYourWritesOptions,
  connectionName: string,
  where: string,
): Required<ReadYourWritesOptions> {
  const options = {
    ...withDefaults(given, READ_YOUR_WRITES, where),
    name: given.name ?? `db-position-${connectionName}`,
  };
  const { via, name, waitMs, maxAgeSeconds, secure } = options;
  check(['cookie', 'header'].includes(via), where, {
    name: 'via',
    value: via,
    mend: "'cookie' or 'header'",
  });
  check(typeof name === 'string' && TOKEN.test(name), where, {
    name: 'name',
    value: name,
    mend: 'a name of letters, digits and hyphens',
  });
  check(waitMs === 0 || isTimeLimit(waitMs), where, {
    name: 'waitMs',
    value: waitMs,
    mend: `a number of milliseconds between 0 and ${LONGEST_LIMIT_MS}`,
  });
  const isAge =
    Number.isInteger(maxAgeSeconds) && maxAgeSeconds > 0 && maxAgeSeconds <= LONGEST_AGE_SECONDS;
  check(isAge, where, {
    name: 'maxAgeSeconds',
    value: maxAgeSeconds,
    mend: `a whole number of seconds between 1 and ${LONGEST_AGE_SECONDS}`,
  });
  check(typeof secure === 'boolean', where, {
    name: 'secure',
    value: secure,
    mend: 'true or false',
  });
  return options;
}

function withDefaults<T extends object>(
  given: T,
  names: readonly (keyof T & string)[],
  where: string,
): T & typeof READ_DEFAULTS {
  if (typeof given !== 'object' || given === null) {
    throw new InvalidOptionsError(`${where} is ${inspect(given)}. Give an object.`);
  }
  for (const [name, value] of Object.entries(given)) {
    check((names as readonly string[]).includes(name), where, {
      name,
      value,
      mend: `one of ${names.join(', ')}`,
    });
  }
  const said = Object.entries(given).filter(([, value]) => value !== undefined);
  return { ...READ_DEFAULTS, ...(Object.fromEntries(said) as T) };
}

function check(
  isFine: boolean,
  where: string,
  { name, value, mend }: { readonly name: string; readonly value: unknown; readonly mend: string },
): void {
  if (!isFine) {
    throw new InvalidOptionsError(`${where} has ${name}: ${inspect(value)}. Give ${mend}.`);
  }
}
