import type { HookCallback, HookKind } from '../context/hook-calls.js';

interface ListedHook {
  readonly kind: HookKind;
  readonly callback: HookCallback;
  /** The connection whose transaction the hook is bound to; `undefined` for the whole context. */
  readonly connection: string | undefined;
}

/** The hooks of a context that has no sessions of its own. */
export class HookList {
  readonly #run: (callback: HookCallback) => Promise<unknown>;
  readonly #report: (error: unknown) => void;
  #hooks: ListedHook[] = [];

  /**
   * @param run runs an `onCommit` or `onRollback` hook in a context of its own
   * @param report is called with the error of such a hook, which can change nothing any more
   */
  constructor(run: (callback: HookCallback) => Promise<unknown>, report: (error: unknown) => void) {
    this.#run = run;
    this.#report = report;
  }

  add(hook: ListedHook): void {
    this.#hooks.push(hook);
  }

  /** Takes over the hooks of a block that has succeeded. */
  take(block: HookList): void {
    this.#hooks.push(...block.#hooks);
    block.#hooks = [];
  }

  /** @throws what a `beforeCommit` hook throws; all are rolled back then */
  async commit(): Promise<void> {
    await this.#commit(() => true);
  }

  /** Commits hooks that are bound to this connection, or, without an argument, to any connection. */
  async commitEarly(connection?: string): Promise<void> {
    await this.#commit(
      (hook) =>
        hook.connection !== undefined && (connection ?? hook.connection) === hook.connection,
    );
  }

  async rollBack(): Promise<void> {
    await this.#runAfter('onRollback', () => true);
  }

  /** Rolls back all hooks but those that are bound to another connection. */
  async rollBackEarly(connection?: string): Promise<void> {
    await this.#runAfter(
      'onRollback',
      (hook) => connection === undefined || (hook.connection ?? connection) === connection,
    );
  }

  async #commit(isDue: (hook: ListedHook) => boolean): Promise<void> {
    try {
      // A hook may register another one, so the list is read again after each.
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

  /** Runs hooks one after another. An error stops none of the others and does not change the outcome. */
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
