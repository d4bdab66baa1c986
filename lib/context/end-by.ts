import { InvalidOptionsError } from '../errors.js';

/** How a context or a block is to end. */
export type Decision = 'commit' | 'rollback';

/** What decides on the end of work, beyond the rule that a result commits and an error rolls back. */
export interface EndOptions<T> {
  /**
   * Whether a result commits.
   * @defaultValue every result commits
   */
  readonly commitOn?: ((result: T) => boolean) | undefined;
  /**
   * Whether what was thrown commits all the same; it is thrown on afterwards.
   * @defaultValue no error commits
   */
  readonly commitOnError?: ((error: unknown) => boolean) | undefined;
}

/** The ends that work can have. */
export interface Ends {
  /** What the work is for, for messages. */
  readonly origin: string;
  commit(): Promise<void>;
  /** After a result. */
  rollback(): Promise<void>;
  /** After an error, which is the one to be thrown. */
  abandon(): Promise<void>;
}

/**
 * Runs work, and ends it by what has come of it.
 *
 * @throws what `work` throws; or why the commit failed, then with that as its `cause`
 * @throws {@link InvalidOptionsError} an option returned a promise
 */
export async function endBy<T>(
  ends: Ends,
  { commitOn, commitOnError }: EndOptions<T>,
  work: () => T | Promise<T>,
): Promise<T> {
  let result: T;
  let decision: Decision;
  let hasReturned = false;
  try {
    result = await work();
    hasReturned = true;
    decision = commitOn === undefined ? 'commit' : decisionOf(commitOn(result), 'commitOn', ends);
  } catch (error) {
    await (hasReturned || commitOnError === undefined
      ? ends.abandon()
      : endFailed(ends, commitOnError, error));
    throw error;
  }
  await ends[decision]();
  return result;
}

async function endFailed(
  ends: Ends,
  commitOnError: (error: unknown) => boolean,
  error: unknown,
): Promise<void> {
  let decision: Decision;
  try {
    decision = decisionOf(commitOnError(error), 'commitOnError', ends);
  } catch (failure) {
    await ends.abandon();
    throw failure;
  }
  if (decision === 'rollback') {
    await ends.abandon();
    return;
  }
  try {
    await ends.commit();
  } catch (failure) {
    if (failure instanceof Error) {
      failure.cause ??= error;
    }
    throw failure;
  }
}

/**
 * What the answer of a `commitOn` means.
 *
 * @throws {@link InvalidOptionsError} it is a promise, which would be taken for a yes
 */
export function decisionOf(
  commits: unknown,
  option: string,
  { origin }: { readonly origin: string },
): Decision {
  if (typeof (commits as { readonly then?: unknown } | null | undefined)?.then === 'function') {
    throw new InvalidOptionsError(
      `${option} returned a promise for ${origin}. It decides at once, by what it is given; what takes ` +
        'time can veto the commit in a beforeCommit hook.',
    );
  }
  return commits ? 'commit' : 'rollback';
}
