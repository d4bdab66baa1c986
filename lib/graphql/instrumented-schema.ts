import {
  defaultFieldResolver,
  isAbstractType,
  isObjectType,
  type GraphQLFieldResolver,
  type GraphQLResolveInfo,
  type GraphQLSchema,
} from 'graphql';

import { DbContextError } from '../errors.js';
import { handlePromisesIn } from '../transport/promises-in-value.js';
import { errorOf } from './answer.js';
import { showCode } from './error-code.js';
import { fieldsOf, runBeside } from './field-contexts.js';
import { isPromise } from '../transport/is-promise.js';
import { loaderOf } from './lazy-relations.js';
import { noticeError, noticeErrorsIn } from './noticed-errors.js';
import { operationOf } from './operation-mark.js';
import type { GraphQLOperation } from './operation.js';
import { skippedFieldsOf } from './skipped-fields.js';
import { eventOf } from './subscription-event.js';
import { subscriptionOf } from './subscription-mark.js';

/** Where `info` is in the arguments of a resolver. */
const INFO = 3;

type Resolver = GraphQLFieldResolver<unknown, unknown>;

/**
 * Makes the fields of schemas work in the context of their operation. Servers run the resolvers of an
 * operation in whatever async context its last promise has left, so each call is put into the context anew.
 */
export class InstrumentedSchemas {
  readonly #known = new WeakSet<GraphQLSchema>();
  /** A schema that was made out of another one has its resolvers. */
  readonly #wrapped = new WeakSet<object>();

  has(schema: GraphQLSchema): boolean {
    return this.#known.has(schema);
  }

  /**
   * @param fallback resolves the fields that have no resolver of their own
   */
  add(schema: GraphQLSchema, fallback: Resolver = defaultFieldResolver): void {
    if (this.#known.has(schema)) {
      return;
    }
    this.#known.add(schema);
    // Their fields come one after another, or there is only one.
    const flushed = [schema.getMutationType(), schema.getSubscriptionType()];
    for (const type of Object.values(schema.getTypeMap())) {
      if (type.name.startsWith('__')) {
        continue;
      }
      if (isAbstractType(type)) {
        type.resolveType = this.#inContext(type.resolveType);
      } else if (isObjectType(type)) {
        type.isTypeOf = this.#inContext(type.isTypeOf);
        for (const field of Object.values(type.getFields())) {
          field.resolve = this.#once(field.resolve, (own) =>
            own === undefined
              ? this.#resolvesByDefault(fallback)
              : this.#resolves(own, { flushes: flushed.includes(type) }),
          );
          if (field.subscribe !== undefined && type === schema.getSubscriptionType()) {
            field.subscribe = this.#once(field.subscribe, (own) => subscribes(own!));
          }
        }
      }
    }
  }

  #once<T extends object>(own: T | undefined, wrap: (own: T | undefined) => T): T {
    if (own !== undefined && this.#wrapped.has(own)) {
      return own;
    }
    const wrapper = wrap(own);
    this.#wrapped.add(wrapper);
    return wrapper;
  }

  #resolves(resolve: Resolver, { flushes }: { readonly flushes: boolean }): Resolver {
    return this.#inOperation(
      (operation, ...call) =>
        remembering(operation, call[INFO], () => {
          operation.assertOpen();
          const value = operation.run(() => resolve(...call));
          return flushes || isPromise(value)
            ? operation.whileOpen(finished(operation, value, { flushes }))
            : loaded(operation, value);
        }),
      resolve,
    );
  }

  #resolvesByDefault(fallback: Resolver): Resolver {
    return this.#inOperation((operation, ...call) => {
      // Most fields are plain values, which need no context; what a method returns is worked out in it.
      const [source, , , info] = call;
      const isPlain = fallback === defaultFieldResolver && !hasMethod(source, info.fieldName);
      return remembering(operation, info, () =>
        loaded(operation, isPlain ? fallback(...call) : operation.run(() => fallback(...call))),
      );
    }, fallback);
  }

  /**
   * @param inside resolves a field that has a context
   * @param own resolves one that has none
   */
  #inOperation(
    inside: (operation: GraphQLOperation, ...call: Parameters<Resolver>) => unknown,
    own: Resolver,
  ): Resolver {
    return (source, args, contextValue, info) => {
      const event = eventOf(info);
      if (event !== undefined) {
        if (event.operation === undefined) {
          throw event.refusal;
        }
        const { operation, payload } = event;
        const payloadOrSource = source === event ? payload : source;
        return inside(operation, payloadOrSource, args, event.contextValue, {
          ...info,
          rootValue: payload,
        });
      }
      const skipped = skippedFieldsOf(contextValue);
      const resolve = (): unknown => own(source, args, contextValue, info);
      if (skipped?.has(info) === true) {
        return remembering(undefined, info, () => skipped.runOutside(resolve));
      }
      const operation = operationOf(contextValue);
      if (operation !== undefined) {
        return inside(operation, source, args, contextValue, info);
      }
      const fields = fieldsOf(contextValue);
      return remembering(fields, info, () =>
        fields === undefined ? resolve() : runBeside(fields, info, resolve),
      );
    };
  }

  /** For `resolveType` and `isTypeOf`, which get the context object second, and then the field's `info`. */
  #inContext<
    T extends ((value: never, contextValue: never, ...rest: never[]) => unknown) | null | undefined,
  >(own: T): T {
    if (own === undefined || own === null) {
      return own;
    }
    const call = own as unknown as (
      value: unknown,
      contextValue: unknown,
      info: GraphQLResolveInfo,
      ...rest: unknown[]
    ) => unknown;
    return this.#once<object>(
      own,
      () =>
        (value: unknown, contextValue: unknown, info: GraphQLResolveInfo, ...rest: unknown[]) => {
          const event = eventOf(info);
          const operation = event?.operation ?? operationOf(contextValue) ?? fieldsOf(contextValue);
          const ofEvent = event?.contextValue ?? contextValue;
          const resolve = (): unknown => call(value, ofEvent, info, ...rest);
          const skipped = skippedFieldsOf(contextValue);
          if (skipped?.has(info) === true) {
            return remembering(undefined, info, () => skipped.runOutside(resolve));
          }
          return remembering(undefined, info, () =>
            operation === undefined ? resolve() : operation.run(resolve),
          );
        },
    ) as T;
  }
}

/** The resolver of a subscription, which a server of this library has begun. */
function subscribes(own: Resolver): Resolver {
  return (source, args, contextValue, info) => {
    const subscribe = (): unknown => own(source, args, contextValue, info);
    return shownRefusal(
      () =>
        subscriptionOf(contextValue)?.begin(contextValue as object, info, subscribe) ?? subscribe(),
    );
  };
}

/** A subscription that is refused has no answer; the error of this library is what its client reads. */
async function shownRefusal(subscribe: () => unknown): Promise<unknown> {
  try {
    return await subscribe();
  } catch (error) {
    showCode(error);
    throw error instanceof DbContextError ? errorOf(error) : error;
  }
}

/** Passes on what a field resolves to, and keeps its errors for its operation. */
function remembering(
  operation: GraphQLOperation | undefined,
  info: GraphQLResolveInfo,
  resolve: () => unknown,
): unknown {
  const fail = (error: unknown): never => {
    noticeError(operation, info, error);
    throw error;
  };
  try {
    const value = resolve();
    if (isPromise(value)) {
      const end = operation?.begin();
      return value.then(
        (result) => {
          end?.();
          noticeErrorsIn(operation, info, result);
          return result;
        },
        (error: unknown) => {
          end?.();
          return fail(error);
        },
      );
    }
    noticeErrorsIn(operation, info, value);
    return value;
  } catch (error) {
    return fail(error);
  }
}

/** A value that a field has resolved to, loaded where it is a relation that is not. */
function loaded(operation: GraphQLOperation, value: unknown): unknown {
  const load = loaderOf(value);
  return load === undefined ? value : operation.whileOpen(operation.run(load));
}

async function finished(
  operation: GraphQLOperation,
  value: unknown,
  { flushes }: { readonly flushes: boolean },
): Promise<unknown> {
  const result = await value;
  // An error is answered as one that is thrown, and nothing is written for that.
  if (flushes && !(result instanceof Error)) {
    handlePromisesIn(result);
    await operation.flush();
  }
  return loaded(operation, result);
}

function hasMethod(source: unknown, name: string): boolean {
  return (
    typeof (source as Readonly<Record<string, unknown>> | null | undefined)?.[name] === 'function'
  );
}
