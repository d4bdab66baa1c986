import type { NestInterceptor } from '@nestjs/common';
import type { ExternalContextCreator } from '@nestjs/core';

/** Where Nest keeps the global interceptors; it offers no public way to order them. */
interface InterceptorRegistry {
  readonly interceptorsContextCreator?: {
    readonly config?: { getGlobalInterceptors?(): NestInterceptor[] };
  };
}

/**
 * Makes an interceptor the first of the global ones, so that it also settles what the others do. To be
 * called while providers are made: Nest adds those of `APP_INTERCEPTOR` afterwards, in the order of
 * the modules, in which the AppModule, which imports all others, comes first. Later is too late for
 * a microservice, whose handlers are bound before any hook of a module runs.
 *
 * `test/e2e/nest-surface.spec.ts` fails when an upgrade of Nest moves the list elsewhere.
 *
 * @returns whether the list was found; if not, only `APP_INTERCEPTOR` is left
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
