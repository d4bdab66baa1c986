import { createHash } from 'node:crypto';

import { InvalidOptionsError } from '../../errors.js';

/** Longest identifier of PostgreSQL, which cuts off the rest without an error. */
const LONGEST_NAME_BYTES = 63;
/** Longest beginning of a name, which leaves room for the suffixes of the databases of one template. */
const LONGEST_BASE_BYTES = 40;

/** Another one where templates are marked in another way, so that none of an older release is used. */
const MARK_FORMAT = 4;

/** Names of all databases that belong to one template. */
export interface DatabaseNames {
  /** The template of this version. */
  readonly template: string;
  /** The prefix of the names of all versions of the template. */
  readonly templatePrefix: string;
  /** The prefix of the names of templates that are not ready yet. */
  readonly makingPrefix: string;
  /** The prefix of the names of copies that are not ready yet. */
  readonly copyPrefix: string;
  /** The prefix of the names of the databases of all workers. */
  readonly workerPrefix: string;
  /** The name that a worker asks for at its first, second, ... attempt, counted from 1. */
  worker(attempt: number): string;
}

/**
 * @throws {@link InvalidOptionsError} a name is empty
 */
export function databaseNames(name: string, version: string, workerId: string): DatabaseNames {
  for (const [option, value] of Object.entries({ 'template.name': name, workerId })) {
    if (value === '') {
      throw new InvalidOptionsError(
        `createWorkerDatabase() was given an empty ${option}. It becomes part of the name of a ` +
          'database; give at least one character.',
      );
    }
  }
  const base = fitted(name, LONGEST_BASE_BYTES);
  const templatePrefix = `${base}_template_`;
  return {
    template: `${templatePrefix}${digest(`${MARK_FORMAT}:${version}`)}`,
    templatePrefix,
    makingPrefix: `${base}_making_`,
    copyPrefix: `${base}_copy_`,
    workerPrefix: `${base}_worker_`,
    worker: (attempt) => {
      const suffix = attempt === 1 ? '' : `_${attempt}`;
      return fitted(`${base}_worker_${workerId}${suffix}`, LONGEST_NAME_BYTES);
    },
  };
}

export function quoteIdentifier(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

/** Key of the advisory lock of a name, a bigint of PostgreSQL. */
export function lockKeyOf(name: string): string {
  return createHash('sha256')
    .update(`nestjs-db-context:${name}`)
    .digest()
    .readBigInt64BE()
    .toString();
}

/**
 * The URL of another database on the same server, with the same user, password and parameters.
 *
 * @throws {@link InvalidOptionsError} `serverUrl` is no URL of PostgreSQL
 */
export function urlOf(serverUrl: string, databaseName: string): string {
  const url = parse(serverUrl);
  url.pathname = `/${encodeURIComponent(databaseName)}`;
  return url.href;
}

/** The name of the database of a URL. */
export function databaseNameOf(url: string): string {
  return decodeURIComponent(parse(url).pathname.slice(1));
}

/** The URL itself, or where it names no database, that of `postgres`, which every server has. */
export function adminUrlOf(serverUrl: string): string {
  const hasDatabase = parse(serverUrl).pathname.length > 1;
  return hasDatabase ? serverUrl : urlOf(serverUrl, 'postgres');
}

function parse(serverUrl: string): URL {
  // The error does not quote the URL, which may hold a password.
  const url = URL.parse(serverUrl);
  if (url === null || !['postgres:', 'postgresql:'].includes(url.protocol)) {
    throw new InvalidOptionsError(
      'createWorkerDatabase() was given a serverUrl that is no URL of PostgreSQL. Give one such as ' +
        'postgres://user:password@localhost:5432/postgres.',
    );
  }
  return url;
}

/**
 * Shortens a name to `bytes` bytes, and replaces characters that have a meaning in a URL, which pg and
 * MikroORM decode differently. A digest keeps names apart that would become the same.
 */
function fitted(name: string, bytes: number): string {
  const plain = name.replaceAll(/[^\p{L}\p{N}_.-]/gu, '_');
  if (plain === name && Buffer.byteLength(plain) <= bytes) {
    return plain;
  }
  const suffix = `_${digest(name)}`;
  let kept = '';
  for (const character of plain) {
    if (Buffer.byteLength(kept + character) > bytes - suffix.length) {
      break;
    }
    kept += character;
  }
  return kept + suffix;
}

function digest(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 10);
}
