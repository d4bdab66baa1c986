import { isDeepStrictEqual } from 'node:util';

import { BadRequestException } from '@nestjs/common';

import type { RouteTransaction } from '../decorators/route.decorators.js';
import { withoutPage } from '../error-page.js';
import { InvalidTransactionStateError } from '../errors.js';
import type { CommitPolicy } from '../options/context-options.js';
import { mergeSettings, type TransactionSettings } from '../postgresql/transaction-settings.js';
import type { RouteSettings } from '../transport/route-settings.js';
import type { ResolverRoutes } from './resolver-routes.js';
import type { OperationShape } from './root-fields.js';

/** How an operation runs, by the decorators on the resolvers of all its root fields. */
export interface OperationSettings {
  readonly transactions: readonly RouteTransaction[];
  /** The `commitOn` of each root field; all of them have to agree to a commit. */
  readonly policies: readonly CommitPolicy[];
  /** The first root field with `@RetryOnSerializationFailure()`. */
  readonly retried: RouteSettings | undefined;
  /** Whether it may run again: an operation with more than one root field does not, as a whole. */
  readonly hasOneField: boolean;
  /** The root fields with `@SkipDbContext()`, by their keys in the answer. */
  readonly skipped: ReadonlySet<string>;
  /** Whether no root field has a context. */
  readonly isSkipped: boolean;
}

const NOTHING = {};

/** The settings of a root field that no class of the application resolves. */
const NO_ROUTE: RouteSettings = {
  name: '',
  handler: NOTHING,
  owner: NOTHING,
  isSkipped: false,
  isLive: false,
  answersByItself: false,
  isSerialized: false,
  redirect: undefined,
  commitOn: undefined,
  flush: undefined,
  transactions: [],
  retry: undefined,
  afterCommit: [],
};

/**
 * Brings the settings of all root fields together.
 *
 * @param commitOn of the application
 * @throws BadRequestException two root fields ask for different transactions
 */
export function settingsOf(
  shape: OperationShape,
  routes: ResolverRoutes,
  commitOn: CommitPolicy,
): OperationSettings {
  const { kind, name } = shape;
  const fields = resolvedFieldsOf(shape).map((fieldName) => ({
    fieldName,
    route: routes.of(kind, fieldName) ?? NO_ROUTE,
  }));
  const working = fields.filter(({ route }) => !route.isSkipped);
  return {
    transactions: combined(
      name,
      working.map(({ fieldName, route }) => ({ fieldName, transactions: route.transactions })),
    ),
    policies: [...new Set(working.map(({ route }) => route.commitOn ?? commitOn))],
    retried: working.find(({ route }) => route.retry !== undefined)?.route,
    hasOneField: fields.length === 1,
    skipped: skippedKeys(shape, routes),
    isSkipped: fields.length > 0 && working.length === 0,
  };
}

/**
 * The settings of the context that guards and field resolvers have beside those of the root fields, which have
 * their own.
 *
 * @param commitOn of the application
 */
export function settingsBeside(
  shape: OperationShape,
  routes: ResolverRoutes,
  commitOn: CommitPolicy,
): OperationSettings {
  const skipped = skippedKeys(shape, routes);
  return {
    transactions: [],
    policies: [commitOn],
    retried: undefined,
    hasOneField: false,
    skipped,
    isSkipped: skipped.size > 0 && skipped.size === resolvedFieldsOf(shape).length,
  };
}

/** The root fields with `@SkipDbContext()`, by their keys in the answer. */
function skippedKeys(
  { kind, rootFields }: OperationShape,
  routes: ResolverRoutes,
): ReadonlySet<string> {
  return new Set(
    [...rootFields].flatMap(([key, fieldName]) =>
      routes.of(kind, fieldName)?.isSkipped === true ? [key] : [],
    ),
  );
}

/** The names of its root fields; `__typename` asks for nothing that anybody resolves. */
function resolvedFieldsOf({ rootFields }: OperationShape): readonly string[] {
  return [...rootFields.values()].filter((fieldName) => !fieldName.startsWith('__'));
}

interface FieldTransactions {
  readonly fieldName: string;
  readonly transactions: readonly RouteTransaction[];
}

/** One transaction has one of each setting; it is read-only where all root fields ask for it. */
function combined(origin: string, fields: readonly FieldTransactions[]): RouteTransaction[] {
  const connections = new Set(
    fields.flatMap(({ transactions }) => transactions.map(({ connection }) => connection)),
  );
  return [...connections].map((connection) => {
    const each = fields.map(({ fieldName, transactions }) => ({
      fieldName,
      settings: mergeSettings(
        ...transactions
          .filter((transaction) => transaction.connection === connection)
          .map(({ settings }) => settings),
      ),
    }));
    const isReadOnly = each.every(({ settings }) => settings.readOnly === true);
    const settings: Record<string, unknown> = {};
    for (const { fieldName, settings: own } of each) {
      for (const [key, value] of Object.entries(own) as [keyof TransactionSettings, unknown][]) {
        if (key !== 'readOnly' && key in settings && !isDeepStrictEqual(settings[key], value)) {
          const cause = new InvalidTransactionStateError(
            connection,
            `the root fields of ${origin} share one transaction, and "${fieldName}" asks for another ` +
              `${key} than a field before it (@DbTransaction()). Ask for them in two operations, give ` +
              "both resolvers the same settings, or use scope: 'root-field' of DbContextGraphQLModule.",
          );
          // It is the client who has put them together.
          throw new BadRequestException(withoutPage(cause.message), { cause });
        }
        settings[key] = value;
      }
    }
    const { readOnly, ...others } = settings as TransactionSettings;
    return {
      connection,
      settings: {
        ...others,
        ...(readOnly !== undefined && (isReadOnly ? { readOnly } : { readOnly: false })),
      },
    };
  });
}
