import type { NestInterceptor } from '@nestjs/common';
import type { ExternalContextCreator } from '@nestjs/core';

/** Where Nest keeps the global interceptors; it offers no public way to order them. */
interface InterceptorRegistry {
  readonly interceptorsContextCreator?: {
    readonly config?: { getGlobalInterceptors?(): NestInterceptor[] };
  };
}

/**
 * Moves a global interceptor before all others, so that it also settles what they do. Nest runs
 * them in the order of the modules, in which the AppModule, which imports all others, comes first.
 *
 * `test/e2e/nest-surface.spec.ts` fails when an upgrade of Nest moves the list elsewhere.
 */
export function moveOutermost(
  creator: ExternalContextCreator,
  isMeant: (interceptor: NestInterceptor) => boolean,
): void {
  const { interceptorsContextCreator } = creator as unknown as InterceptorRegistry;
  const interceptors = interceptorsContextCreator?.config?.getGlobalInterceptors?.() ?? [];
  const index = interceptors.findIndex(isMeant);
  if (index > 0) {
    interceptors.unshift(...interceptors.splice(index, 1));
  }
}
