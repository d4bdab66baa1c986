import { DbContextError } from '../../errors.js';

/** The step that failed, see {@link WorkerDatabaseError}. */
export type WorkerDatabaseStep = 'connect' | 'claim' | 'prepare' | 'create' | 'reset' | 'drop';

/**
 * A database of the tests could not be made, put back or dropped; `cause` is the reason. After a
 * failed `prepare()` nothing of the template is used, and the next call makes it from the beginning.
 *
 * @publicApi
 */
export class WorkerDatabaseError extends DbContextError {
  constructor(
    readonly step: WorkerDatabaseStep,
    readonly databaseName: string,
    cause: unknown,
  ) {
    super(
      'WORKER_DATABASE',
      `${FAILED[step]} "${databaseName}": ${describe(cause)}. ${adviceOn(step, cause)}`,
      cause,
    );
  }
}

/**
 * A connection of the testing kit led to another database than the one of its URL, where nothing was
 * created, changed or deleted. Something between ignores the name, as the socket of PGlite does.
 *
 * @publicApi
 */
export class WrongDatabaseError extends DbContextError {
  constructor(
    /** The database that was asked for. */
    readonly databaseName: string,
    /** The database that `select current_database()` named. */
    readonly reachedName: string,
  ) {
    super(
      'WRONG_DATABASE',
      `A connection to the database "${databaseName}" reached "${reachedName}". Nothing was changed ` +
        'there. Something between ignores the name, as the socket of PGlite or a proxy with one database ' +
        'does: let serverUrl lead to the server itself. createWorkerDatabase() needs one that has several ' +
        'databases.',
    );
  }
}

const FAILED: Record<WorkerDatabaseStep, string> = {
  connect: 'Could not connect to the server, for the test database',
  claim: 'Could not claim the name of the test database',
  prepare: 'prepare() failed for the template of test databases',
  create: 'Could not create the test database',
  reset: 'Could not reset the test database',
  drop: 'Could not drop the test database',
};

const ADVICE: Record<WorkerDatabaseStep, string> = {
  connect: 'Start the server, install @mikro-orm/postgresql, or correct serverUrl.',
  claim: 'Call createWorkerDatabase() again: it takes the next free name.',
  prepare: 'Correct prepare(); what it did is dropped, and it runs again at the next call.',
  create: 'Look at the cause; calling createWorkerDatabase() again is safe.',
  reset:
    'Look at the cause; createWorkerDatabase() makes the database anew, also after this failure.',
  drop: 'The next createWorkerDatabase() for the same worker replaces it.',
};

const ADVICE_BY_CODE: Readonly<Record<string, string>> = {
  '42501': 'Let serverUrl name a role with CREATEDB that owns the databases of the tests.',
  '55006':
    'A client stays connected to the database that it is copied from; close that connection.',
};

function adviceOn(step: WorkerDatabaseStep, cause: unknown): string {
  const { code } = (cause ?? {}) as { readonly code?: unknown };
  if (code === '55P03') {
    return step === 'reset'
      ? 'A transaction of the application is still open; await the request or the call that opened it.'
      : 'Another process prepares the template, and takes longer than prepareTimeoutMs; raise that.';
  }
  return (step === 'prepare' ? undefined : ADVICE_BY_CODE[String(code)]) ?? ADVICE[step];
}

// Node reports a refused connection to a host with several addresses as an AggregateError, whose own
// message is empty.
function describe(cause: unknown): string {
  if (cause instanceof AggregateError && cause.errors.length > 0) {
    return cause.errors.map((each) => describe(each)).join('; ');
  }
  return cause instanceof Error ? cause.message || cause.name : String(cause);
}
