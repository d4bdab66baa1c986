import { setTimeout as sleep } from 'node:timers/promises';

import type { StandaloneClient } from '../postgresql/pg-client.js';
import type { ReplicaHealth } from './connection-health.js';
import { rowOf } from './standalone-client.js';

/** Pause between two questions to a standby that is behind, in milliseconds. */
const LOOK_AGAIN_MS = 5;

// The answer is JSON in one column, since an application may have set parsers of its own for the types of
// the server. CASE is there because each of these functions is an error on the other kind of server.
const WRITTEN = `select json_build_object('bytes', pg_wal_lsn_diff(case when pg_is_in_recovery()
  then pg_last_wal_replay_lsn() else pg_current_wal_lsn() end, '0/0')::bigint)::text as found`;

const REPLAYED = `select case when pg_is_in_recovery() then json_build_object(
  'replayed', pg_wal_lsn_diff(pg_last_wal_replay_lsn(), '0/0')::bigint,
  'received', pg_wal_lsn_diff(pg_last_wal_receive_lsn(), '0/0')::bigint,
  'ageMs', round(extract(epoch from clock_timestamp() - pg_last_xact_replay_timestamp()) * 1000),
  'isPaused', pg_is_wal_replay_paused()
)::text end as found`;

/** The LSN of a primary in bytes, and when it answered. */
export interface WrittenLsn {
  readonly bytes: number;
  readonly seenAt: number;
}

interface ReplayState {
  readonly replayed: number | null;
  readonly received: number | null;
  readonly ageMs: number | null;
  readonly isPaused: boolean;
}

/** How far a standby is behind the primary, as far as that is known. */
export type Lag = Pick<ReplicaHealth, 'lagMs' | 'lagBytes' | 'isReplayPaused'>;

/** Asks a primary for the LSN at the end of its log. */
export async function writtenLsnOf(client: StandaloneClient): Promise<WrittenLsn> {
  const { bytes } = (await ask(client, WRITTEN)) as { readonly bytes: number };
  return { bytes, seenAt: performance.now() };
}

/**
 * Asks a standby how far behind it is. A standby that is behind at first gets a moment to catch up: after
 * an hour without writes, the age of its last transaction would be an hour, although it is behind by
 * milliseconds.
 *
 * @param written the LSN of the primary, `undefined` if it is not known
 * @param patienceMs how long to wait for that LSN, and for the standby to reach it, in milliseconds
 * @returns an empty object where the server is no standby
 */
export async function lagOf(
  client: StandaloneClient,
  written: Promise<WrittenLsn | undefined>,
  patienceMs: number,
): Promise<Lag> {
  const until = performance.now() + patienceMs;
  const target = await Promise.race([written, sleep(patienceMs, undefined, { ref: false })]);
  for (;;) {
    const state = (await ask(client, REPLAYED)) as ReplayState | undefined;
    if (state === undefined) {
      return {};
    }
    const lag = lagAt(state, target);
    if (lag.lagBytes === 0 || state.isPaused || performance.now() >= until) {
      return lag;
    }
    await sleep(LOOK_AGAIN_MS);
  }
}

function lagAt(
  { replayed, received, ageMs, isPaused }: ReplayState,
  target: WrittenLsn | undefined,
): Lag {
  const goal = target?.bytes ?? received;
  if (replayed === null || goal === null) {
    return { isReplayPaused: isPaused };
  }
  const lagBytes = Math.max(0, goal - replayed);
  const sinceMs = target === undefined ? 0 : Math.round(performance.now() - target.seenAt);
  const lagMs = lagBytes === 0 ? sinceMs : ageMs;
  return {
    lagBytes,
    ...(lagMs !== null && { lagMs: Math.max(0, lagMs) }),
    isReplayPaused: isPaused,
  };
}

async function ask(client: StandaloneClient, sql: string): Promise<unknown> {
  const { found } = rowOf(await client.query(sql));
  return typeof found === 'string' ? (JSON.parse(found) as unknown) : undefined;
}
