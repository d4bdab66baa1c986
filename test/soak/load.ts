import type { Ask } from './clients.js';
import type { Random } from './random.js';
import type { Protocol, SoakApp } from './soak-app.js';
import { KINDS, WITH_OWN_UNIT, WITHOUT_ROWS } from './soak.controller.js';

/** Far beyond every limit of the application: nobody may ever wait for so long. */
const WATCHDOG_MS = 15_000;

/** The answers that the clients of one application got in one round. */
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
  /** Keys of units of work whose clients left before the answer; they may be saved or not. */
  readonly left = new Set<string>();
  readonly protocol: Protocol;

  constructor(protocol: Protocol) {
    this.protocol = protocol;
  }
}

/** Clients that ask for one thing after another, each. */
export async function runLoad(
  app: SoakApp,
  random: Random,
  round: number,
  isOver: () => boolean,
): Promise<Log> {
  const log = new Log(app.protocol);
  const clients = app.connect();
  let number = 0;
  const goOn = async (ask: Ask): Promise<void> => {
    while (!isOver()) {
      const kind = random.pick(KINDS);
      const key = `${app.protocol}-r${round}-${kind}-${number++}`.replace('/', '');
      const isLeaving = random.next() < clients.leavingShare;
      await askOne(ask, { kind, key, isLeaving }, random, log);
    }
  };
  await Promise.all(clients.asks.map(goOn));
  await clients.leave();
  return log;
}

interface Question {
  readonly kind: string;
  readonly key: string;
  readonly isLeaving: boolean;
}

async function askOne(
  ask: Ask,
  { kind, key, isLeaving }: Question,
  random: Random,
  log: Log,
): Promise<void> {
  log.requests++;
  const limitMs = isLeaving ? Math.ceil(random.between(1, 40)) : WATCHDOG_MS;
  const answer = await ask(`/${kind}/${key}`, limitMs);
  if (answer === undefined) {
    // It knows nothing of what became of its request.
    log[isLeaving ? 'disconnected' : 'hanging']++;
    if (!WITHOUT_ROWS.includes(kind)) {
      log.left.add(key);
    }
  } else if (answer.status < 300) {
    acknowledge(kind, key, log);
  } else {
    const { error } = JSON.parse(answer.body) as { error: string };
    log.errors.set(error, (log.errors.get(error) ?? 0) + 1);
    // One of the two databases may have been committed; PartialCommitError says which.
    if (error !== 'CommitOutcomeUnknownError' && error !== 'PartialCommitError') {
      log.failed.set(key, error);
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
