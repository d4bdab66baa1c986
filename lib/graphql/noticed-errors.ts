import { types } from 'node:util';

import { getNullableType, isListType, type GraphQLResolveInfo } from 'graphql';

import { showCode } from './error-code.js';
import type { GraphQLOperation } from './operation.js';

/** A field, or an item of its list. */
type Part = Pick<GraphQLResolveInfo, 'path' | 'returnType'>;

/**
 * Keeps an error for its operation, and lets the answer have its code. It is called before graphql-js makes the
 * error of the answer out of it.
 *
 * @param error was thrown, or takes the place of a value
 */
export function noticeError(
  operation: GraphQLOperation | undefined,
  { path }: Part,
  error: unknown,
): void {
  operation?.threw(path, error);
  showCode(error);
}

/** Notices the errors in what a field has resolved to: itself, or items of a list, which no resolver throws. */
export function noticeErrorsIn(
  operation: GraphQLOperation | undefined,
  part: Part,
  value: unknown,
): void {
  if (value instanceof Error) {
    noticeError(operation, part, value);
  } else if (isItems(value)) {
    noticeItems(operation, part, value);
  }
}

function noticeItems(
  operation: GraphQLOperation | undefined,
  { path, returnType: type }: Part,
  items: Iterable<unknown>,
): void {
  const list = getNullableType(type);
  if (!isListType(list)) {
    return;
  }
  const { ofType: returnType } = list;
  let key = 0;
  for (const item of items) {
    const isPromise = types.isPromise(item);
    if (isPromise || item instanceof Error || isItems(item)) {
      const part = { path: { prev: path, key, typename: undefined }, returnType };
      if (isPromise) {
        noticePromise(operation, part, item);
      } else {
        noticeErrorsIn(operation, part, item);
      }
    }
    key++;
  }
}

function noticePromise(
  operation: GraphQLOperation | undefined,
  part: Part,
  item: Promise<unknown>,
): void {
  // Promises call first what was first added to them, and graphql-js comes later. `then` of its class may do
  // more: some begin their work with it.
  const end = operation?.begin();
  void Promise.prototype.then.call(
    item,
    (value) => {
      end?.();
      noticeErrorsIn(operation, part, value);
    },
    (error: unknown) => {
      end?.();
      noticeError(operation, part, error);
    },
  );
}

function isItems(value: unknown): value is Iterable<unknown> {
  return Array.isArray(value) || value instanceof Set;
}
