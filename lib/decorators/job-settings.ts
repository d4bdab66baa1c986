import type { EndOptions } from '../context/end-by.js';
import type { CommitPolicy } from '../options/context-options.js';
import type { RetryOptions } from '../options/retry-options.js';
import type { DecoratedCall } from './managed-method.js';
import {
  COMMIT_ON_METADATA,
  RETRY_METADATA,
  TRANSACTION_METADATA,
  type RouteTransaction,
} from './route.decorators.js';

/** What decorators of routes say of a method that opens its context by itself. */
export interface JobSettings {
  /** The settings of the class come before those of the method, so that those of the method win. */
  readonly transactions: readonly RouteTransaction[];
  /** Of `@CommitOn()` and `@RetryOnSerializationFailure()`. */
  readonly ends: EndOptions<unknown> & { readonly retry?: RetryOptions };
}

/** Reads `@DbTransaction()`, `@CommitOn()` and `@RetryOnSerializationFailure()` of a method and of its class. */
export function settingsOfJob({ owner, declared, decorated }: DecoratedCall): JobSettings {
  // A decorator of another library that stands between ours may not have passed on what is below it.
  const ofMethod = (key: string): unknown =>
    Reflect.getMetadata(key, declared) ?? Reflect.getMetadata(key, decorated);
  const nearest = (key: string): unknown => ofMethod(key) ?? Reflect.getMetadata(key, owner);
  const policy = nearest(COMMIT_ON_METADATA) as CommitPolicy | undefined;
  const retry = nearest(RETRY_METADATA) as RetryOptions | undefined;
  const ofClass = Reflect.getMetadata(TRANSACTION_METADATA, owner) as
    | RouteTransaction[]
    | undefined;
  const own = ofMethod(TRANSACTION_METADATA) as RouteTransaction[] | undefined;
  return {
    transactions: [...(ofClass ?? []), ...(own ?? [])],
    ends: {
      ...(policy !== undefined && endsBy(policy)),
      ...(retry !== undefined && { retry }),
    },
  };
}

function endsBy(policy: CommitPolicy): EndOptions<unknown> {
  return {
    commitOn: () => policy({ failed: false, status: undefined }),
    commitOnError: (error) => policy({ failed: true, error, status: undefined }),
  };
}
