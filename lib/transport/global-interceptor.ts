import type { NestInterceptor } from '@nestjs/common';
import type { ExternalContextCreator } from '@nestjs/core';

/** Where Nest keeps the global interceptors; it offers no public way to order them. */
interface InterceptorRegistry {
  readonly interceptorsContextCreator?: {
    readonly config?: { getGlobalInterceptors?(): NestInterceptor[] };
  };
}

/**
 * Stands in for our interceptor as the value of `APP_INTERCEPTOR`, where there is to be none or where ours
 * has been put in front of all others already.
 */
export const PASS_ON: NestInterceptor = { intercept: (_context, next) => next.handle() };

/**
 * Makes an interceptor the first of the global ones, so that it is around all others and also settles
 * what they do. It has to be called while providers are made: afterwards Nest adds the interceptors of
 * `APP_INTERCEPTOR` in the order of the modules, of which the AppModule, which imports all others, is the
 * first. A hook of a module would be too late for a microservice, whose handlers are bound before it
 * runs.
 *
 * `test/e2e/nest-surface.spec.ts` fails when an upgrade of Nest moves the list elsewhere.
 *
 * @returns whether Nest's list was found; if not, the caller has to use `APP_INTERCEPTOR`
 */
export function prependGlobalInterceptor(
  creator: ExternalContextCreator,
  interceptor: NestInterceptor,
): boolean {
  return globalInterceptors(creator)?.unshift(interceptor) !== undefined;
}

/** Takes a global interceptor out of the list again, if it is there. */
export function removeGlobalInterceptor(
  creator: ExternalContextCreator,
  interceptor: NestInterceptor,
): void {
  const interceptors = globalInterceptors(creator) ?? [];
  const index = interceptors.indexOf(interceptor);
  if (index >= 0) {
    interceptors.splice(index, 1);
  }
}

function globalInterceptors(creator: ExternalContextCreator): NestInterceptor[] | undefined {
  const { interceptorsContextCreator } = creator as unknown as InterceptorRegistry;
  return interceptorsContextCreator?.config?.getGlobalInterceptors?.();
}
