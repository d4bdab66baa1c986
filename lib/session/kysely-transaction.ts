import { InvalidTransactionStateError, type ErrorPlace } from '../errors.js';
import { Savepoint, TransactionPart } from '../transaction/savepoint.js';
import { Autocommit } from './autocommit.js';
import type {
  Command,
  CompiledStatement,
  ExecuteOptions,
  KyselyClient,
  KyselyConstructor,
  StatementConnection,
  StatementResult,
} from './kysely-shapes.js';
import { PartConnection } from './part-connection.js';

/**
 * What MikroORM calls a transaction context: an object that it treats as Kysely's
 * `ControlledTransaction`, and that `em.getKysely()` returns. This one stands for a part of a
 * transaction, which may not have taken a connection yet.
 */
export interface KyselyTransaction extends KyselyClient {
  readonly part: TransactionPart;
  /** The transaction that a savepoint was set in; none for a whole transaction. */
  readonly parent: KyselyTransaction | undefined;
  readonly isRolledBack: boolean;
  commit(): Command<void>;
  rollback(): Command<void>;
  savepoint(name: string): Command<KyselyTransaction>;
  releaseSavepoint(name: string): Command<KyselyTransaction>;
  rollbackToSavepoint(name: string): Command<KyselyTransaction>;
}

/** What may end a whole transaction by Kysely's own verbs. */
interface TransactionEnds {
  commit(): Promise<unknown>;
  rollback(): Promise<void>;
}

/**
 * Makes the Kysely transactions of one connection.
 *
 * @param ends none where only the session that it belongs to may end it
 * @param isWithin whether the calling code is part of the transaction; its statements otherwise run on
 *   a connection of their own, in none. By default they always are part of it.
 */
export type KyselyTransactionFactory = (
  part: TransactionPart,
  ends: TransactionEnds | undefined,
  isWithin?: () => boolean,
) => KyselyTransaction;

/**
 * Builds on the Kysely class that MikroORM itself uses, so that queries built with `em.getKysely()`
 * are compiled as everywhere else.
 *
 * @param currentClient finds the Kysely of the current host
 */
export function kyselyTransactionFactory(
  currentClient: () => KyselyClient,
): KyselyTransactionFactory {
  const client = currentClient();
  const Kysely = client.constructor as KyselyConstructor;
  const executor = client.getExecutor();
  const hasPlugins = executor.plugins.length > 0;
  const dialect = dialectOf(client);
  const config = { dialect };
  let cursors = 0;
  const nextCursorId = (): number => ++cursors;

  /** Where the executor of a part finds its connections. */
  class PartConnections {
    readonly #part: TransactionPart;
    readonly #isWithin: (() => boolean) | undefined;

    constructor(part: TransactionPart, isWithin: (() => boolean) | undefined) {
      this.#part = part;
      this.#isWithin = isWithin;
    }

    provideConnection<T>(consumer: (connection: StatementConnection) => Promise<T>): Promise<T> {
      return this.#isWithin?.() === false
        ? currentClient().getExecutor().provideConnection(consumer)
        : consumer(new PartConnection(this.#part, nextCursorId));
    }
  }

  class PartTransaction extends Kysely implements KyselyTransaction {
    readonly part: TransactionPart;
    readonly parent: KyselyTransaction | undefined;
    readonly #ends: TransactionEnds | undefined;
    readonly #isWithin: (() => boolean) | undefined;

    constructor(
      part: TransactionPart,
      ends: TransactionEnds | undefined,
      isWithin?: () => boolean,
      parent?: KyselyTransaction,
    ) {
      super({
        config,
        dialect,
        driver: new NestedTransactionsRefused(part),
        executor: executor.withConnectionProvider(new PartConnections(part, isWithin)),
      });
      this.part = part;
      this.parent = parent;
      this.#ends = ends;
      this.#isWithin = isWithin;
    }

    get isTransaction(): true {
      return true;
    }

    get isCommitted(): boolean {
      return this.part.outcome === 'committed';
    }

    get isRolledBack(): boolean {
      return this.part.outcome === 'rolled-back';
    }

    /** As Kysely does it; without the promises of its executor, where nothing needs them. */
    override executeQuery(
      query: CompiledStatement,
      options?: ExecuteOptions,
    ): Promise<StatementResult> {
      const isPlain = !hasPlugins && options?.signal === undefined && !('compile' in query);
      return !isPlain || this.#isWithin?.() === false
        ? super.executeQuery(query, options)
        : new PartConnection(this.part, nextCursorId).executeQuery(query);
    }

    commit(): Command<void> {
      return command(async () => {
        await this.#endsFor('commit').commit();
      });
    }

    rollback(): Command<void> {
      return command(() => this.#endsFor('rollback').rollback());
    }

    savepoint(name: string): Command<KyselyTransaction> {
      return command(
        async () =>
          new PartTransaction(await this.part.openSavepoint(name), this.#ends, undefined, this),
      );
    }

    releaseSavepoint(): Command<KyselyTransaction> {
      return command(async () => {
        await this.#savepoint.release();
        return this;
      });
    }

    rollbackToSavepoint(): Command<KyselyTransaction> {
      return command(async () => {
        await this.#savepoint.rollback();
        return this;
      });
    }

    get #savepoint(): Savepoint {
      return this.part as Savepoint;
    }

    /** Ended past its session, the session would go on in a transaction that is over. */
    #endsFor(verb: string): TransactionEnds {
      if (this.#ends === undefined || this.parent !== undefined) {
        throw new InvalidTransactionStateError(
          this.part.place,
          `${verb}() was called on a fork that shares the transaction of the session. Call it on the ` +
            'session.',
        );
      }
      return this.#ends;
    }
  }

  return (part, ends, isWithin) => new PartTransaction(part, ends, isWithin);
}

/** What stands for statements in no transaction, where MikroORM has a transaction context. */
export interface KyselyAutocommit extends KyselyClient {
  readonly autocommit: Autocommit;
}

/** Makes what stands for statements in no transaction, see {@link kyselyTransactionFactory}. */
export function kyselyAutocommit(client: KyselyClient, autocommit: Autocommit): KyselyAutocommit {
  const Kysely = client.constructor as KyselyConstructor;
  const dialect = dialectOf(client);
  const executor = client.getExecutor().withConnectionProvider({
    provideConnection: (consumer) => autocommit.withConnection(consumer),
  });
  const driver = new NestedTransactionsRefused(autocommit);
  return Object.assign(new Kysely({ config: { dialect }, dialect, driver, executor }), {
    autocommit,
  });
}

/** Whether a transaction context of MikroORM stands for statements in no transaction. */
export function isAutocommit(context: unknown): boolean {
  return (context as Partial<KyselyAutocommit> | undefined)?.autocommit instanceof Autocommit;
}

function dialectOf(client: KyselyClient): object {
  const { adapter } = client.getExecutor();
  return {
    createAdapter: () => adapter,
    createIntrospector: () => client.introspection,
  };
}

/** A transaction context of MikroORM, if it is one of this library's. */
export function asKyselyTransaction(context: unknown): KyselyTransaction | undefined {
  const candidate = context as Partial<KyselyTransaction> | undefined;
  return candidate?.part instanceof TransactionPart ? (candidate as KyselyTransaction) : undefined;
}

/**
 * Stands where Kysely keeps its driver, which it asks only for transactions of its own:
 * `em.getKysely().transaction()` would send BEGIN inside of a transaction, and its COMMIT would end
 * the outer one.
 */
class NestedTransactionsRefused {
  readonly #part: { readonly place: ErrorPlace };

  constructor(part: { readonly place: ErrorPlace }) {
    this.#part = part;
  }

  beginTransaction(): Promise<never> {
    return Promise.reject(
      new InvalidTransactionStateError(
        this.#part.place,
        'Kysely cannot begin a transaction of its own inside the session. Use em.transactional(), ' +
          'which sets a savepoint.',
      ),
    );
  }
}

function command<T>(execute: () => Promise<T>): Command<T> {
  return { execute };
}
