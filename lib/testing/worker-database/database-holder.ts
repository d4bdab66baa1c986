import { createHash, randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { threadId } from 'node:worker_threads';

/** Who has a database of the kit: one claim of one thread of one process. */
export interface DatabaseHolder {
  /** A digest of the name of the host. */
  readonly host: string;
  readonly processId: number;
  readonly threadId: number;
  /**
   * The load of this module. A test runner loads modules anew for each file, so that a claim of the same
   * thread with another load is one that an earlier file has forgotten.
   */
  readonly load: string;
  /** Differs between all claims. */
  readonly claim: string;
}

const HERE = {
  host: createHash('sha256').update(hostname()).digest('hex').slice(0, 8),
  processId: process.pid,
  threadId,
  load: randomUUID().slice(0, 8),
};

/** The holder that a new claim of this thread is. */
export function newHolder(): DatabaseHolder {
  return { ...HERE, claim: randomUUID().slice(0, 8) };
}

/** The name of the application that the server shows of the connection of a holder; at most 63 bytes. */
export function applicationNameOf(holder: DatabaseHolder): string {
  return `${threadNameOf(holder)} ${holder.load}.${holder.claim}`;
}

/** Whether the name of an application is that of a holder which an earlier file of this thread has forgotten. */
export function isForgotten(applicationName: string): boolean {
  const thread = threadNameOf(HERE);
  return (
    applicationName.startsWith(`${thread} `) &&
    !applicationName.startsWith(`${thread} ${HERE.load}.`)
  );
}

/**
 * Whether a holder that has not given its database back cannot come back for it: its process has ended, or
 * it is one that an earlier file of this thread has forgotten. Of processes on other hosts that is not known.
 */
export function isGone(holder: DatabaseHolder): boolean {
  const { host, processId } = holder;
  return isForgotten(applicationNameOf(holder)) || (host === HERE.host && !isRunning(processId));
}

function threadNameOf({ host, processId, threadId: thread }: typeof HERE | DatabaseHolder): string {
  return `nestjs-db-context ${host}.${processId}.${thread}`;
}

function isRunning(processId: number): boolean {
  try {
    // The signal 0 only asks.
    return process.kill(processId, 0);
  } catch (error) {
    return (error as { readonly code?: unknown }).code === 'EPERM';
  }
}
