import type { BeforeSession } from './before-session.js';
import type { Holder } from './claim.js';
import type { ClientSupply } from './client-supply.js';
import type { Failover } from './failover.js';

/** What is done before a transaction takes its client (H2): the hook `beforeSession`, then the look for the primary. */
export class Preparation {
  readonly #hook: BeforeSession | undefined;
  readonly #failover: Failover | undefined;
  readonly #clients: ClientSupply;

  constructor(
    hook: BeforeSession | undefined,
    failover: Failover | undefined,
    clients: ClientSupply,
  ) {
    this.#hook = hook;
    this.#failover = failover;
    this.#clients = clients;
  }

  /** Whether {@link Preparation.run} may run code of the application. */
  get isSet(): boolean {
    return this.#hook !== undefined || this.#failover !== undefined;
  }

  /**
   * Does it, for a unit of work that errors then name.
   *
   * @returns `undefined` where nothing has to be waited for
   * @throws what {@link BeforeSession.run} and {@link Failover.ensurePrimary} throw
   */
  run(holder: Holder | undefined): Promise<void> | undefined {
    const called = this.#hook?.run(holder);
    // Clients that replace those of the pool belong to one server, so a change of hosts has no effect.
    const failover = this.#clients.isReplaced ? undefined : this.#failover;
    return called === undefined
      ? failover?.ensurePrimary(holder)
      : called.then(() => failover?.ensurePrimary(holder));
  }

  /** Whether the calling code is that of the hook, which may use no session of the connection. */
  get isInHook(): boolean {
    return this.#hook?.isRunning === true;
  }

  /** The error for the hook, if it is running and a unit of work of its own uses a session of the connection. */
  misusedBy(holder: Holder | undefined): Error | undefined {
    return this.isInHook ? this.#hook?.misusedBy(holder) : undefined;
  }
}
