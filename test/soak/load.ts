import { Random } from './random.js';
import { KINDS, WITH_OWN_UNIT, WITHOUT_ROWS } from './soak.controller.js';

const CLIENTS = 16;
const DISCONNECT_SHARE = 0.03;
/** Far beyond every limit of the application: nobody may ever wait for so long. */
const WATCHDOG_MS = 15_000;

/** The answers that clients got in one round. */
export class Log {
  requests = 0;
  acknowledged = 0;
  disconnected = 0;
  /** Requests that got no answer within the limit. */
  hanging = 0;
  readonly errors = new Map<string, number>();
  /** Keys of units of work that were acknowledged, in one database or in both. */
  readonly saved = new Map<string, 'default' | 'both'>();
  /** Keys of requests that were answered with a failure whose outcome is known. */
  readonly failed = new Map<string, string>();
}

/** Clients that ask for one thing after another, each. */
export async function runLoad(
  url: string,
  random: Random,
  round: number,
  isOver: () => boolean,
): Promise<Log> {
  const log = new Log();
  let number = 0;
  const goOn = async (): Promise<void> => {
    while (!isOver()) {
      const kind = random.pick(KINDS);
      await askOne(url, kind, `r${round}-${kind}-${number++}`, random, log);
    }
  };
  await Promise.all(Array.from({ length: CLIENTS }, goOn));
  return log;
}

async function askOne(
  url: string,
  kind: string,
  key: string,
  random: Random,
  log: Log,
): Promise<void> {
  log.requests++;
  const isLeaving = random.next() < DISCONNECT_SHARE;
  const signal = AbortSignal.timeout(isLeaving ? Math.ceil(random.between(1, 40)) : WATCHDOG_MS);
  try {
    const response = await fetch(`${url}/${kind}/${key}`, { signal });
    const text = await response.text();
    if (response.ok) {
      acknowledge(kind, key, log);
    } else {
      const { error } = JSON.parse(text) as { error: string };
      log.errors.set(error, (log.errors.get(error) ?? 0) + 1);
      // One of the two databases may have been committed; PartialCommitError says which.
      if (error !== 'CommitOutcomeUnknownError' && error !== 'PartialCommitError') {
        log.failed.set(key, error);
      }
    }
  } catch (error) {
    if (isLeaving) {
      log.disconnected++;
    } else if (signal.aborted) {
      log.hanging++;
    } else {
      throw error;
    }
  }
}

function acknowledge(kind: string, key: string, log: Log): void {
  log.acknowledged++;
  if (!WITHOUT_ROWS.includes(kind)) {
    log.saved.set(key, kind === 'both' ? 'both' : 'default');
  }
  if (WITH_OWN_UNIT.includes(kind)) {
    log.saved.set(`${key}+`, 'default');
  }
}
