import { InvalidTransactionStateError, type ErrorPlace } from '../errors.js';
import {
  isCovered,
  mergeSettings,
  type TransactionSettings,
} from '../postgresql/transaction-settings.js';
import { hasBegun, type TransactionState } from './transaction-state.js';

/** The settings that were asked for of one transaction, and those that it begins with. */
export class RequestedSettings {
  readonly #defaults: TransactionSettings | undefined;
  #own: TransactionSettings;
  /** With the defaults, merged when they are first asked for. */
  #effective: TransactionSettings | undefined;

  /**
   * @param defaults those of the connection
   * @param own those of the transaction itself, which win
   */
  constructor(defaults: TransactionSettings | undefined, own: TransactionSettings) {
    this.#defaults = defaults;
    this.#own = own;
  }

  get own(): TransactionSettings {
    return this.#own;
  }

  get effective(): TransactionSettings {
    this.#effective ??= mergeSettings(this.#defaults, this.#own);
    return this.#effective;
  }

  get isReadOnly(): boolean {
    return this.effective.readOnly === true;
  }

  /**
   * Makes the transaction begin with these settings, when it does.
   *
   * @throws {@link InvalidTransactionStateError} it has begun with others
   */
  demand(settings: TransactionSettings, state: TransactionState, place: ErrorPlace): void {
    if (!hasBegun(state)) {
      this.#own = mergeSettings(this.#own, settings);
      this.#effective = undefined;
      return;
    }
    const plan = state.tag === 'beginning' || state.tag === 'open' ? state.plan : undefined;
    if (!isCovered(settings, plan?.settings ?? this.effective)) {
      throw new InvalidTransactionStateError(
        place,
        'settings (isolation level, read-only mode, timeouts, variables or role) were asked for, and ' +
          'the transaction has begun without them. Ask before the first statement, or with ' +
          'propagation "requires_new".',
      );
    }
  }
}
