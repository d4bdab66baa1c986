import type { NestInterceptor, Type } from '@nestjs/common';

import { InvalidOptionsError } from '../errors.js';

/** Metadata key of {@link UseAfterCommit}. */
export const AFTER_COMMIT_METADATA = 'nestjs-db-context:after-commit';

/** An interceptor, or its class, of which Nest then makes an instance. */
export type AfterCommitInterceptor = NestInterceptor | Type<NestInterceptor>;

/**
 * Puts interceptors around the context of a route, or of all routes of a controller, where
 * `@UseInterceptors()` would put them inside. They see a value only once it is committed, and the error of
 * a commit that fails; one that answers by itself, a cache or what makes a request idempotent, opens no
 * context. They run after the guards, those of the controller around those of the route, and have no
 * session: what they read and write belongs in `dbContext.run()`.
 *
 * A class is made by Nest in the module of the controller, or taken from there where it is a provider.
 * See {@link AFTER_COMMIT_INTERCEPTOR} for interceptors around all routes.
 *
 * @throws {@link InvalidOptionsError} as the class is loaded: something is no interceptor
 * @throws {@link InvalidOptionsError} while the application boots: a class cannot be made, or is
 *   request-scoped
 * @example
 * ```ts
 * @UseAfterCommit(CacheInterceptor)
 * @Get()
 * find() {}
 * ```
 * @publicApi
 */
export function UseAfterCommit(
  ...interceptors: readonly AfterCommitInterceptor[]
): ClassDecorator & MethodDecorator {
  const wrong = interceptors.findIndex((each) => !isInterceptor(each));
  if (wrong >= 0) {
    throw new InvalidOptionsError(
      `@UseAfterCommit() was given something that is no interceptor, as number ${wrong + 1}. Give classes ` +
        'or objects with a method intercept(). Two files that import each other are the usual cause of ' +
        'undefined.',
    );
  }
  return (target: object, _key?: string | symbol, descriptor?: PropertyDescriptor): void => {
    const on = (descriptor?.value ?? target) as object;
    const others = (Reflect.getOwnMetadata(AFTER_COMMIT_METADATA, on) ??
      []) as readonly AfterCommitInterceptor[];
    // Decorators are applied from the bottom up, and what stands above is to be outside.
    Reflect.defineMetadata(AFTER_COMMIT_METADATA, [...interceptors, ...others], on);
  };
}

function isInterceptor(value: unknown): boolean {
  return (
    typeof value === 'function' ||
    typeof (value as Partial<NestInterceptor> | null | undefined)?.intercept === 'function'
  );
}
