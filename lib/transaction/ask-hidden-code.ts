import type { Holder } from '../connection/claim.js';
import { Lease } from '../connection/lease.js';
import { named, type ErrorPlace } from '../errors.js';
import { TIMED_OUT, withinLimit } from '../connection/time-limit.js';
import type { HiddenCode } from '../postgresql/hidden-code.js';
import type { TransactionSource } from './begin-plan.js';

/**
 * Asks the server which names may hide code. Never throws: where they are not known, a read begins the
 * transaction as any other statement does.
 */
export async function askHiddenCode(
  lease: Lease,
  source: TransactionSource,
  place: ErrorPlace,
): Promise<HiddenCode | undefined> {
  const { server } = source;
  try {
    return server.hiddenCodeOf(await lease.query(server.hiddenCode, [], 'question'));
  } catch (error) {
    if (!server.isRefusal(error) || server.endsConnection(error)) {
      await lease.destroy();
    }
    source.report(
      `the catalogue of connection ${named(place)} gave no answer, so a read begins its transaction although ` +
        "the option is begin: 'first-write'",
      error,
    );
    return undefined;
  }
}

const ignore = (): void => undefined;

/**
 * Finds out which names may hide code after the answer to a COMMIT was lost: on another connection, for
 * `endTimeoutMs` at most. Never throws.
 *
 * @returns `undefined` if they are not known
 */
export async function lookUpHiddenCode(
  source: TransactionSource,
  holder: Holder | undefined,
): Promise<HiddenCode | undefined> {
  const { knownCode, server, limits } = source;
  let lease: Lease | undefined;
  let isOver = false;
  const ask = async (): Promise<void> => {
    lease = new Lease(await source.checkOut({ holder, isBusy: true }), ignore);
    if (!isOver) {
      knownCode.names = server.hiddenCodeOf(await lease.query(server.hiddenCode));
    }
    lease.giveBack();
  };
  if (knownCode.names === undefined) {
    try {
      if ((await withinLimit(ask(), limits.endTimeoutMs)) === TIMED_OUT) {
        isOver = true;
        await lease?.destroy();
      }
    } catch {
      // The outcome is then unknown, and that is thrown.
      await lease?.destroy();
    }
  }
  return knownCode.names;
}
