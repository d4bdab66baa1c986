import type { ExecutionContext, NestInterceptor } from '@nestjs/common';
import type { ExternalContextCreator } from '@nestjs/core';

/** A call of a handler of HTTP, with its pipes and with the interceptors inside of ours. */
export interface HandlerCall {
  readonly executionContext: ExecutionContext;
  /**
   * Runs all of it in the current async context.
   *
   * @returns what the handler returns; of inner interceptors their Observable
   */
  run(): Promise<unknown>;
}

/** On an interceptor that serves a request of HTTP without Nest's chain, where it is the outermost one. */
export const SERVE_CALL = Symbol.for('nestjs-db-context:serve-call');

/** An interceptor that can do without Nest's chain. */
interface CallServer extends NestInterceptor {
  /**
   * @returns what Nest is to answer with: a value, or an Observable; `undefined` leaves the request to
   *   `intercept()`
   */
  [SERVE_CALL](call: HandlerCall): Promise<unknown> | undefined;
}

type RunHandler = () => Promise<unknown>;

/** Runs interceptors around a handler; they are the arguments of Nest's own method. */
type Intercept = (
  this: InterceptorsConsumer,
  interceptors: readonly Partial<CallServer>[],
  args: readonly unknown[],
  instance: object,
  callback: unknown,
  next: RunHandler,
  type?: string,
) => Promise<unknown>;

/** The members of Nest's `InterceptorsConsumer` that this library uses. */
interface InterceptorsConsumer {
  intercept: Intercept;
  createContext(
    args: readonly unknown[],
    instance: object,
    callback: unknown,
  ): ExecutionContext & { setType(type: string): void };
}

/** On the method that {@link shortenChain} has put in the place of Nest's. */
const SHORTENED = Symbol.for('nestjs-db-context:shortened-chain');

/**
 * Lets an interceptor of this library that is the outermost one serve requests of HTTP by itself. For any
 * interceptor Nest makes a dozen promises, two async resources and as many Observables, whatever it does,
 * and it has no other place that knows what a handler has returned or thrown, before the exception filters
 * and the response do.
 *
 * The method is replaced in its class, which other applications of the process share: for interceptors of
 * others, and on other transports, it does what it did before.
 *
 * `test/e2e/nest-surface.spec.ts` fails when an upgrade of Nest calls interceptors otherwise. Then, they are
 * still run by Nest itself.
 */
export function shortenChain(creator: ExternalContextCreator): void {
  const prototype = prototypeOf(creator);
  if (prototype === undefined || SHORTENED in prototype.intercept) {
    return;
  }
  const { intercept } = prototype;
  const shortened: Intercept = function shortened(
    interceptors,
    args,
    instance,
    callback,
    next,
    type,
  ) {
    const first = type === 'http' ? interceptors?.[0] : undefined;
    if (first?.[SERVE_CALL] !== undefined) {
      const executionContext = this.createContext(args, instance, callback);
      executionContext.setType('http');
      const run: RunHandler =
        interceptors.length === 1
          ? next
          : () => intercept.call(this, interceptors.slice(1), args, instance, callback, next, type);
      const served = first[SERVE_CALL]({ executionContext, run });
      if (served !== undefined) {
        return served;
      }
    }
    return intercept.call(this, interceptors, args, instance, callback, next, type);
  };
  prototype.intercept = Object.assign(shortened, { [SHORTENED]: true });
}

function prototypeOf(creator: ExternalContextCreator): InterceptorsConsumer | undefined {
  const { interceptorsConsumer } = creator as unknown as {
    readonly interceptorsConsumer?: object;
  };
  const prototype = (interceptorsConsumer && Object.getPrototypeOf(interceptorsConsumer)) as
    | Partial<InterceptorsConsumer>
    | undefined;
  const isKnown =
    typeof prototype?.intercept === 'function' && typeof prototype.createContext === 'function';
  return isKnown ? (prototype as InterceptorsConsumer) : undefined;
}
