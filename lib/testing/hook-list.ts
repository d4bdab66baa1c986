import type { HookCallback, HookKind } from '../context/hooks.js';

interface ListedHook {
  readonly kind: HookKind;
  readonly callback: HookCallback;
  /** Bound to the transaction of this connection, rather than to the context. */
  readonly connection: string | undefined;
}

/** The hooks of a context that has no sessions of its own. */
export class HookList {
  readonly #run: (callback: HookCallback) => Promise<unknown>;
  readonly #report: (error: unknown) => void;
  #hooks: ListedHook[] = [];

  /**
   * @param run runs a hook in a context of its own, after the end
   * @param report is told what such a hook throws, which can change nothing any more
   */
  constructor(run: (callback: HookCallback) => Promise<unknown>, report: (error: unknown) => void) {
    this.#run = run;
    this.#report = report;
  }

  add(hook: ListedHook): void {
    this.#hooks.push(hook);
  }

  /** Takes over those of a block that has succeeded. */
  take(block: HookList): void {
    this.#hooks.push(...block.#hooks);
    block.#hooks = [];
  }

  /** @throws what a `beforeCommit` hook throws; all are rolled back then */
  async commit(): Promise<void> {
    await this.#commit(() => true);
  }

  /** Those that are bound to this connection, or to any. */
  async commitEarly(connection?: string): Promise<void> {
    await this.#commit(
      (hook) =>
        hook.connection !== undefined && (connection ?? hook.connection) === hook.connection,
    );
  }

  async rollBack(): Promise<void> {
    await this.#runAfter('onRollback', () => true);
  }

  /** As if all that are not bound to another connection had been registered in the transaction. */
  async rollBackEarly(connection?: string): Promise<void> {
    await this.#runAfter(
      'onRollback',
      (hook) => connection === undefined || (hook.connection ?? connection) === connection,
    );
  }

  async #commit(isDue: (hook: ListedHook) => boolean): Promise<void> {
    try {
      // One may register another.
      for (let next = this.#next(isDue); next !== undefined; next = this.#next(isDue)) {
        await next.callback();
      }
    } catch (error) {
      await this.rollBack();
      throw error;
    }
    await this.#runAfter('onCommit', isDue);
  }

  #next(isDue: (hook: ListedHook) => boolean): ListedHook | undefined {
    const next = this.#hooks.find((hook) => hook.kind === 'beforeCommit' && isDue(hook));
    this.#hooks = this.#hooks.filter((hook) => hook !== next);
    return next;
  }

  /** One after another; none stops the next, and none changes what has been decided. */
  async #runAfter(kind: HookKind, isDue: (hook: ListedHook) => boolean): Promise<void> {
    const due = this.#hooks.filter((hook) => isDue(hook));
    this.#hooks = this.#hooks.filter((hook) => !isDue(hook));
    for (const { callback } of due.filter((hook) => hook.kind === kind)) {
      try {
        await this.#run(callback);
      } catch (error) {
        this.#report(error);
      }
    }
  }
}
