import type { Database, HookKind, Program, Trace } from '../program.js';
import { Undetermined } from './failures.js';
import type { ModelSession } from './session.js';
import type { Frame } from './transactions.js';

export interface ModelHook {
  readonly id: number;
  readonly kind: HookKind;
  readonly bound: Database | undefined;
  readonly body: Program;
  /** Where it writes down that it ran. */
  readonly trace: Trace;
  /** Transactions and savepoints that were open when it was registered. */
  readonly frames: readonly Frame[];
  /**
   * Sessions that had no transaction yet. Whether a rollback of the one that came later is a
   * rollback of one that the hook was registered in is nowhere written.
   */
  readonly unclear: readonly Frame[];
}

/** C5: hooks in the order in which they were registered, less those that were undone. */
export class ModelHooks {
  #hooks: ModelHook[] = [];

  add(hook: Omit<ModelHook, 'frames' | 'unclear'>, sessions: readonly ModelSession[]): void {
    const isOpen = ({ current }: ModelSession): boolean =>
      current.hasBegun || hook.bound !== undefined;
    this.#hooks.push({
      ...hook,
      frames: sessions.filter(isOpen).map(({ top }) => top),
      unclear: [
        ...sessions.filter((session) => !isOpen(session)).map(({ top }) => top),
        // The frames of transactions that `requires_new` has set aside.
        ...sessions.flatMap(({ transactions }) => transactions.slice(0, -1).map(({ top }) => top)),
      ],
    });
  }

  get isEmpty(): boolean {
    return this.#hooks.length === 0;
  }

  hasBound(db: Database): boolean {
    return this.#hooks.some(({ bound }) => bound === db);
  }

  /** Takes out those that `isDue` names, and returns those of a kind that were not undone. */
  take(kind: HookKind, isDue: (hook: ModelHook) => boolean): readonly ModelHook[] {
    const due = this.#hooks.filter(isDue);
    this.#hooks = this.#hooks.filter((hook) => !isDue(hook));
    const candidates = due.filter((hook) => hook.kind === kind);
    if (candidates.some((hook) => hook.unclear.some((frame) => frame.isUndone))) {
      throw new Undetermined('a hook of before the transaction that was rolled back');
    }
    return candidates.filter((hook) => !isUndone(hook));
  }

  /** Takes the hooks of transactions that have just been rolled back. */
  takeRolledBack(roots: readonly Frame[]): readonly ModelHook[] {
    const isWithin = ({ transaction }: Frame): boolean => roots.includes(transaction.root);
    if (this.#hooks.some(({ unclear }) => unclear.some(isWithin))) {
      throw new Undetermined('a hook of before the transaction that was rolled back');
    }
    return this.take('onRollback', ({ frames }) => frames.some(isWithin));
  }
}

function isUndone({ kind, frames }: ModelHook): boolean {
  return frames.some((frame) => (kind === 'onRollback' ? frame.isUndoneNested : frame.isUndone));
}
