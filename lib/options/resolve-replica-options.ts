import { inspect } from 'node:util';

import type { ReadSettings, ReadYourWritesSettings } from '../connection/replica-set.js';
import { isTimeLimit, LONGEST_LIMIT_MS } from '../connection/time-limit.js';
import { InvalidOptionsError } from '../errors.js';
import { DEFAULTS } from './defaults.js';
import { checkKeys } from './option-keys.js';
import type { ConnectionReadOptions, ReadYourWritesOptions } from './replica-options.js';

/** Longest life of a cookie that browsers keep, in seconds. */
const LONGEST_AGE_SECONDS = 400 * 24 * 60 * 60;

/** The characters of names of headers and cookies, see https://www.rfc-editor.org/rfc/rfc9110#name-tokens */
const TOKEN = /^[\w!#$%&'*+.^`|~-]+$/;

/**
 * Checks the options about replicas, and fills in the defaults.
 *
 * @param connectionName for messages, and for the name of the cookie or header
 * @throws {@link InvalidOptionsError}
 */
export function resolveReplicaOptions(
  { readFrom = {}, readYourWrites }: ConnectionReadOptions,
  connectionName: string,
): ReadSettings {
  const where = `The connection "${connectionName}"`;
  const from = {
    ...DEFAULTS.readFrom,
    ...given(readFrom, 'readFrom', where),
  };
  check(from.choose === 'round-robin' || typeof from.choose === 'function', `${where}: readFrom`, {
    name: 'choose',
    value: from.choose,
    advice: "'round-robin', or a function of the hosts that returns one of them",
  });
  check(['primary', 'error'].includes(from.fallback), `${where}: readFrom`, {
    name: 'fallback',
    value: from.fallback,
    advice: "'primary' or 'error'",
  });
  check(isTimeLimit(from.retryAfterMs), `${where}: readFrom`, {
    name: 'retryAfterMs',
    value: from.retryAfterMs,
    advice: `a number of milliseconds between 1 and ${LONGEST_LIMIT_MS}`,
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
  readYourWrites: ReadYourWritesOptions,
  connectionName: string,
  where: string,
): ReadYourWritesSettings {
  const options = {
    ...DEFAULTS.readYourWrites,
    ...given(readYourWrites, 'readYourWrites', `The connection "${connectionName}"`),
    name: readYourWrites.name ?? `db-position-${connectionName}`,
  };
  const { via, name, waitMs, maxAgeSeconds, secure } = options;
  check(['cookie', 'header'].includes(via), where, {
    name: 'via',
    value: via,
    advice: "'cookie' or 'header'",
  });
  check(typeof name === 'string' && TOKEN.test(name), where, {
    name: 'name',
    value: name,
    advice: 'a name of letters, digits and hyphens',
  });
  check(waitMs === 0 || isTimeLimit(waitMs), where, {
    name: 'waitMs',
    value: waitMs,
    advice: `a number of milliseconds between 0 and ${LONGEST_LIMIT_MS}`,
  });
  const isAge =
    Number.isInteger(maxAgeSeconds) && maxAgeSeconds > 0 && maxAgeSeconds <= LONGEST_AGE_SECONDS;
  check(isAge, where, {
    name: 'maxAgeSeconds',
    value: maxAgeSeconds,
    advice: `a whole number of seconds between 1 and ${LONGEST_AGE_SECONDS}`,
  });
  check(typeof secure === 'boolean', where, {
    name: 'secure',
    value: secure,
    advice: 'true or false',
  });
  return options;
}

/** Checks the names of options, and leaves out those that are `undefined`. */
function given<T extends object>(
  options: T,
  place: 'readFrom' | 'readYourWrites',
  connection: string,
): { [K in keyof T]: Exclude<T[K], undefined> } {
  const where = `${connection}: ${place}`;
  if (typeof options !== 'object' || options === null) {
    throw new InvalidOptionsError(`${where} is ${inspect(options)}. Give an object.`);
  }
  checkKeys(options, place, where);
  const entries = Object.entries(options).filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries) as { [K in keyof T]: Exclude<T[K], undefined> };
}

function check(
  isValid: boolean,
  where: string,
  {
    name,
    value,
    advice,
  }: { readonly name: string; readonly value: unknown; readonly advice: string },
): void {
  if (!isValid) {
    throw new InvalidOptionsError(`${where} has ${name}: ${inspect(value)}. Give ${advice}.`);
  }
}
