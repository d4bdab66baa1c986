import type { GuardedTransaction } from './guarded-transaction.js';

/** What a layer asks for that is to be committed for real at its end. */
export class Keeping {
  /** How it went. */
  outcome:
    | { readonly kind: 'kept' }
    | { readonly kind: 'failed'; readonly cause: Error }
    | { readonly kind: 'unanswered' } = { kind: 'unanswered' };

  /**
   * Commits, with deferred constraints and triggers, all but what is still open.
   *
   * @param hasOpen whether a transaction of the application is open, which is undone
   */
  async commit(
    real: GuardedTransaction,
    { hasOpen }: { readonly hasOpen: boolean },
  ): Promise<void> {
    try {
      if (hasOpen || real.status === 'E') {
        await real.undoToGuard();
      }
      await real.send(['commit']);
      this.outcome = { kind: 'kept' };
    } catch (error) {
      this.failed(error as Error);
    }
  }

  /** There is nothing that could be committed. */
  failed(cause: Error): void {
    this.outcome = { kind: 'failed', cause };
  }
}
