import { InvalidTransactionStateError } from '../errors.js';
import { Autocommit } from './autocommit.js';
import type {
  Command,
  KyselyClient,
  KyselyConstructor,
  StatementConnection,
} from './kysely-shapes.js';
import { TransactionScope } from './scope.js';
import { ScopedConnection } from './statement-connection.js';

/**
 * What MikroORM calls a transaction context: an object that it treats as Kysely's
 * `ControlledTransaction`, and that `em.getKysely()` returns. This one stands for a scope, which
 * may not have taken a connection yet.
 */
export interface ScopeContext extends KyselyClient {
  readonly scope: TransactionScope;
  /** The context that a savepoint was set on; none for a whole transaction. */
  readonly parent: ScopeContext | undefined;
  readonly isRolledBack: boolean;
  commit(): Command<void>;
  rollback(): Command<void>;
  savepoint(name: string): Command<ScopeContext>;
  releaseSavepoint(name: string): Command<ScopeContext>;
  rollbackToSavepoint(name: string): Command<ScopeContext>;
}

/**
 * Makes the contexts of one connection.
 *
 * @param isSession whether only the session that the context belongs to may end it
 * @param isWithin whether the calling code is part of the transaction; its statements otherwise run
 *   on a connection of their own, in none. By default they always are part of it.
 */
export type ScopeContextFactory = (
  scope: TransactionScope,
  isSession: boolean,
  isWithin?: () => boolean,
) => ScopeContext;

/**
 * Builds on the Kysely class that MikroORM itself uses, so that queries built with
 * `em.getKysely()` are compiled as everywhere else.
 *
 * @param currentClient finds the client of the current host
 * @param convertException makes MikroORM's exception of the server's error
 */
export function scopeContextFactory(
  currentClient: () => KyselyClient,
  convertException: (error: Error) => Error,
): ScopeContextFactory {
  const client = currentClient();
  const Kysely = client.constructor as KyselyConstructor;
  const executor = client.getExecutor();
  const dialect = dialectOf(client);
  let cursors = 0;
  const nextCursorId = (): number => ++cursors;

  class ScopeTransaction extends Kysely implements ScopeContext {
    readonly scope: TransactionScope;
    readonly parent: ScopeContext | undefined;

    readonly #isSession: boolean;

    constructor(
      scope: TransactionScope,
      isSession: boolean,
      isWithin?: () => boolean,
      parent?: ScopeContext,
    ) {
      super({
        config: { dialect },
        dialect,
        driver: new NestedTransactionsRefused(scope),
        executor: executor.withConnectionProvider({
          provideConnection: <T>(consumer: (connection: StatementConnection) => Promise<T>) =>
            isWithin?.() === false
              ? currentClient().getExecutor().provideConnection(consumer)
              : consumer(new ScopedConnection(scope, nextCursorId)),
        }),
      });
      this.scope = scope;
      this.parent = parent;
      this.#isSession = isSession;
    }

    get isTransaction(): true {
      return true;
    }

    get isCommitted(): boolean {
      return this.scope.state === 'committed';
    }

    get isRolledBack(): boolean {
      return this.scope.state === 'rolled-back';
    }

    commit(): Command<void> {
      return command(async () => {
        this.#assertOwn('commit');
        await this.scope.commit().catch((error: unknown) => {
          throw convertException(error as Error);
        });
      });
    }

    rollback(): Command<void> {
      return command(async () => {
        this.#assertOwn('rollback');
        await this.scope.rollback();
      });
    }

    savepoint(name: string): Command<ScopeContext> {
      return command(async () => {
        const scope = await this.scope.openSavepoint(name);
        return new ScopeTransaction(scope, this.#isSession, undefined, this);
      });
    }

    releaseSavepoint(name: string): Command<ScopeContext> {
      return command(async () => {
        await this.scope.releaseSavepoint(name);
        return this;
      });
    }

    rollbackToSavepoint(name: string): Command<ScopeContext> {
      return command(async () => {
        await this.scope.rollbackToSavepoint(name);
        return this;
      });
    }

    /** Ended past its session, the session would go on in a transaction that is over. */
    #assertOwn(verb: string): void {
      if (this.#isSession) {
        throw new InvalidTransactionStateError(
          this.scope.connectionName,
          `${verb}() was called on a fork that shares the transaction of the session. Call it on the ` +
            'session.',
        );
      }
    }
  }

  return (scope, isSession, isWithin) => new ScopeTransaction(scope, isSession, isWithin);
}

/** What stands for statements in no transaction, where MikroORM has a transaction context. */
interface AutocommitContext extends KyselyClient {
  readonly autocommit: Autocommit;
}

/** Makes the contexts of statements that are in no transaction. */
export type AutocommitContextFactory = (autocommit: Autocommit) => AutocommitContext;

/** See {@link scopeContextFactory}. */
export function autocommitContextFactory(client: KyselyClient): AutocommitContextFactory {
  const Kysely = client.constructor as KyselyConstructor;
  const executor = client.getExecutor();
  const dialect = dialectOf(client);

  class AutocommitKysely extends Kysely implements AutocommitContext {
    readonly autocommit: Autocommit;

    constructor(autocommit: Autocommit) {
      super({
        config: { dialect },
        dialect,
        driver: new NestedTransactionsRefused(autocommit),
        executor: executor.withConnectionProvider({
          provideConnection: (consumer) => autocommit.withConnection(consumer),
        }),
      });
      this.autocommit = autocommit;
    }
  }

  return (autocommit) => new AutocommitKysely(autocommit);
}

/** Whether a transaction context of MikroORM stands for statements that are in no transaction. */
export function isAutocommit(context: unknown): boolean {
  return (context as Partial<AutocommitContext> | undefined)?.autocommit instanceof Autocommit;
}

function dialectOf(client: KyselyClient): object {
  const { adapter } = client.getExecutor();
  return {
    createAdapter: () => adapter,
    createIntrospector: () => client.introspection,
  };
}

/** A transaction context of MikroORM, if it is one of this library's. */
export function asScopeContext(context: unknown): ScopeContext | undefined {
  const candidate = context as Partial<ScopeContext> | undefined;
  return candidate?.scope instanceof TransactionScope ? (candidate as ScopeContext) : undefined;
}

/**
 * Stands where Kysely keeps its driver, which it asks only for transactions of its own:
 * `em.getKysely().transaction()` would send BEGIN inside a transaction and its COMMIT would end
 * the outer one.
 */
class NestedTransactionsRefused {
  readonly #part: { readonly connectionName: string };

  constructor(part: { readonly connectionName: string }) {
    this.#part = part;
  }

  beginTransaction(): Promise<never> {
    return Promise.reject(
      new InvalidTransactionStateError(
        this.#part.connectionName,
        'Kysely cannot begin a transaction of its own inside the session. Use em.transactional(), ' +
          'which sets a savepoint.',
      ),
    );
  }
}

function command<T>(execute: () => Promise<T>): Command<T> {
  return { execute };
}
