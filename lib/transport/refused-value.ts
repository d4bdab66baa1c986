import { isPromise } from './is-promise.js';

/** The members of graphql-js' types that are asked here; an application without GraphQL has no `graphql`. */
interface OutputType {
  readonly [Symbol.toStringTag]: string;
  /** What a list or a type without `null` is of. */
  readonly ofType?: OutputType;
  /** Only scalars and enumerations have it. */
  serialize?(value: unknown): unknown;
  toString(): string;
}

/** What a resolver is told of its field. */
export interface FieldInfo {
  readonly fieldName: string;
  readonly parentType: { readonly name: string };
  readonly returnType: OutputType;
  readonly operation: { readonly operation: string };
}

/**
 * The error for which graphql-js will answer `null` in place of the value that the resolver of a field has returned:
 * `null` where the schema has none, a list that is none, a text for an `Int`. Its client sees a field that has failed,
 * which graphql-js finds out only after the end of a context that the field has for itself.
 *
 * Promises in lists are not awaited, and what fields of an object return is not known yet. The source of a
 * subscription is no value.
 */
export function refusalOf(info: FieldInfo, value: unknown): unknown {
  try {
    if (info.operation.operation !== 'subscription') {
      complete(info, info.returnType, value);
    }
    return undefined;
  } catch (error) {
    return error;
  }
}

/** @throws what `value` is refused for, in the words of graphql-js */
function complete(info: FieldInfo, type: OutputType, value: unknown): void {
  const { ofType, [Symbol.toStringTag]: kind } = type;
  const isMissing = isNothing(value);
  if (value instanceof Error) {
    throw value;
  }
  if (kind === 'GraphQLNonNull') {
    if (isMissing) {
      throw new TypeError(`Cannot return null for non-nullable field ${nameOf(info)}.`);
    }
    complete(info, ofType!, value);
  } else if (!isMissing && kind === 'GraphQLList') {
    completeItems(info, ofType!, value);
  } else if (!isMissing && type.serialize !== undefined && isNothing(type.serialize(value))) {
    throw new TypeError(`Expected \`${type.toString()}\` to return non-nullable value.`);
  }
}

/** Of items that may be `null` the list has all the others. */
function completeItems(info: FieldInfo, type: OutputType, value: unknown): void {
  if (Array.isArray(value) || value instanceof Set) {
    const isRequired = type[Symbol.toStringTag] === 'GraphQLNonNull';
    for (const item of isRequired ? value : []) {
      if (!isPromise(item)) {
        complete(info, type, item);
      }
    }
  } else if (!isIterable(value)) {
    throw new TypeError(`Expected Iterable, but did not find one for field "${nameOf(info)}".`);
  }
}

function nameOf({ parentType, fieldName }: FieldInfo): string {
  return `${parentType.name}.${fieldName}`;
}

function isNothing(value: unknown): boolean {
  return value === null || value === undefined;
}

function isIterable(value: unknown): boolean {
  return typeof value === 'object' && (Symbol.iterator in value! || Symbol.asyncIterator in value!);
}
