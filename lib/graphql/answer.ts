import { GraphQLError } from 'graphql';

import { withoutPage } from '../error-page.js';
import { DbContextError } from '../errors.js';
import type { OperationShape } from './root-fields.js';

/** How the context of an operation has ended. */
export type OperationEnd =
  | { readonly kind: 'committed' | 'untouched' }
  /** `keepsParts`: something had been committed before its end, which no rollback undoes. */
  | { readonly kind: 'rolled-back'; readonly keepsParts: boolean }
  | { readonly kind: 'failed'; readonly error: unknown };

/** What a server answers to an operation, in one or in several payloads (`@defer`, `@stream`). */
export interface Answer {
  readonly data?: unknown;
  readonly errors?: readonly unknown[] | undefined;
  readonly extensions?: Readonly<Record<string, unknown>> | undefined;
  /** What a payload adds to those before it. */
  readonly incremental?: readonly Answer[] | undefined;
  /** Deferred parts that have ended, with the errors for which they have no data. */
  readonly completed?: readonly Answer[] | undefined;
}

/** Turns an error into what the answer shows of it, as the server does with errors of resolvers. */
export type FormatError = (error: GraphQLError) => unknown;

/**
 * The answer to an operation whose context has been settled.
 *
 * - The settlement failed: the data is not saved, so that there is none, and an error says why.
 * - A mutation was rolled back, and has data all the same: a further error, the last one, says that it is not
 *   saved.
 */
export function settledAnswer(
  answer: Answer,
  end: OperationEnd,
  kind: OperationShape['kind'],
  format: FormatError,
): Answer {
  const saved = end.kind === 'failed' ? { ...answer, data: null } : answer;
  return withErrorOf(end, saved, kind, format, { failed: errorOf, rolledBack });
}

/**
 * The answer to an operation whose root fields have contexts of their own, when that of its guards and field
 * resolvers has been settled: what they did is not saved where it failed, or was rolled back, as a last error says.
 * The data stays, since what the root fields did may be saved.
 */
export function answerBeside(
  answer: Answer,
  end: OperationEnd,
  kind: OperationShape['kind'],
  format: FormatError,
): Answer {
  const errors = { failed: notCommittedBeside, rolledBack: rolledBackBeside };
  return withErrorOf(end, answer, kind, format, errors);
}

/** The errors that say what has not been saved. */
interface EndErrors {
  failed(error: unknown): GraphQLError;
  rolledBack(hasErrors: boolean, end: RolledBackEnd): GraphQLError;
}

type RolledBackEnd = Extract<OperationEnd, { readonly kind: 'rolled-back' }>;

function withErrorOf(
  end: OperationEnd,
  answer: Answer,
  kind: OperationShape['kind'],
  format: FormatError,
  errorsOf: EndErrors,
): Answer {
  const shown = shownAnswer(answer);
  const { data, errors = [] } = shown;
  if (end.kind === 'failed') {
    return { ...shown, errors: [...errors, format(errorsOf.failed(end.error))] };
  }
  const isTold = kind === 'mutation' && data !== null && data !== undefined;
  return isTold && end.kind === 'rolled-back'
    ? { ...shown, errors: [...errors, format(errorsOf.rolledBack(errors.length > 0, end))] }
    : shown;
}

/** The answer without the lines of messages that are for the developers of the application. */
export function shownAnswer(answer: Answer): Answer {
  const { errors, incremental, completed } = answer;
  return {
    ...answer,
    ...(errors && { errors: errors.map(shownError) }),
    ...(incremental && { incremental: incremental.map(shownAnswer) }),
    ...(completed && { completed: completed.map(shownAnswer) }),
  };
}

function shownError(error: unknown): unknown {
  const { message } = error as CodedError;
  const text = typeof message === 'string' ? withoutPage(message) : message;
  if (text === message) {
    return error;
  }
  // graphql-ws is given errors as graphql-js makes them, of which `message` is not enumerable.
  return error instanceof GraphQLError
    ? new GraphQLError(String(text), {
        nodes: error.nodes ?? null,
        source: error.source ?? null,
        positions: error.positions ?? null,
        path: error.path ?? null,
        originalError: error.originalError ?? null,
        extensions: error.extensions,
      })
    : { ...(error as object), message: text };
}

/** The error of an operation that could not begin, or could not be committed. */
export function errorOf(error: unknown, status?: number): GraphQLError {
  const { message, code = codeOfCause(error as CodedError) } = error as CodedError;
  return new GraphQLError(withoutPage(String(message ?? error)), {
    originalError: error instanceof Error ? error : null,
    extensions: {
      code: typeof code === 'string' ? code : 'INTERNAL_SERVER_ERROR',
      ...(status !== undefined && { http: { status } }),
    },
  });
}

interface CodedError {
  readonly message?: unknown;
  readonly code?: unknown;
  readonly cause?: unknown;
}

/** The exceptions of HTTP that this library throws have the code of what they are thrown for. */
function codeOfCause({ cause }: CodedError): unknown {
  return cause instanceof DbContextError ? cause.code : undefined;
}

/**
 * The error of an operation that a server would answer in several payloads (`@defer`, `@stream`): the first
 * would leave before the transaction ends, and the resolvers of the others would run after it.
 */
export function incrementalError(origin: string): GraphQLError {
  return new GraphQLError(
    `${origin} was rolled back: its answer is incremental (@defer, @stream), and would leave before the ` +
      'transaction ends. Leave these directives out of the schema, or use ' +
      "scope: 'root-field' of DbContextGraphQLModule.",
    { extensions: { code: 'INCREMENTAL_DELIVERY_NOT_SUPPORTED' } },
  );
}

/** The error of an event whose subscription has ended meanwhile. */
export function endedError(): GraphQLError {
  return new GraphQLError(
    'The subscription has ended, and what its last event did is rolled back.',
    { extensions: { code: 'ROLLED_BACK' } },
  );
}

function rolledBack(hasErrors: boolean, { keepsParts }: RolledBackEnd): GraphQLError {
  return new GraphQLError(
    `The transaction of the mutation was rolled back ${because(hasErrors)}: ` +
      'nothing that was done in it is saved, and the data shows what the fields returned before that.' +
      (keepsParts ? ' What had been committed before its end (commit(), atomic()) stays.' : ''),
    { extensions: { code: 'ROLLED_BACK' } },
  );
}

function rolledBackBeside(hasErrors: boolean): GraphQLError {
  return new GraphQLError(
    `What guards and field resolvers of the mutation did was rolled back ${because(hasErrors)}, and the data ` +
      'shows what they returned before that. What a root field did is saved unless it has an error.',
    { extensions: { code: 'ROLLED_BACK' } },
  );
}

function notCommittedBeside(error: unknown): GraphQLError {
  const { message, originalError, extensions } = errorOf(error);
  return new GraphQLError(
    `What guards and field resolvers did could not be committed: ${message}. What root fields did is saved.`,
    { originalError: originalError ?? null, extensions },
  );
}

function because(hasErrors: boolean): string {
  return hasErrors ? 'because of its errors' : 'by commitOn';
}
