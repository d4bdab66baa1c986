import { MetadataScanner, type ModulesContainer } from '@nestjs/core';

import { innermostContext } from '../context/context-storage.js';
import { GATEWAY_METADATA } from '../decorators/listeners.js';
import { copyIdentity } from '../decorators/managed-method.js';

/**
 * How the metadata begins that `@nestjs/graphql` puts on the resolvers of root fields, of fields and of references;
 * `test/e2e/graphql-surface.spec.ts` fails when an upgrade changes it.
 */
const RESOLVER_MARK = 'graphql:resolve';

/** On a function that {@link watchHandlers} has put into a class. */
const WATCHING = Symbol('nestjs-db-context:watching');

/**
 * Makes the handlers of all controllers, gateways and resolvers hand what they return to the context that they
 * were called for, see `HandlerEnd`. Nest has no place for that: it could only be an interceptor that is
 * the last one of each method, which every request would pay for, also where no other one needs it.
 *
 * It has to be called while providers are made, since the handlers of a microservice and of a gateway
 * are bound before any hook of a module runs. The methods are replaced in their classes, which other
 * applications of the process may share: outside of a context that waits for it, a handler does what it
 * did before.
 */
export function watchHandlers(modules: ModulesContainer): void {
  const scanner = new MetadataScanner();
  const watchClass = (metatype: Metatype, mayBeHandler: (method: object) => boolean): void => {
    const prototype = metatype?.prototype;
    if (prototype !== undefined) {
      scanner
        .getAllMethodNames(prototype)
        .forEach((name) => watchMethod(prototype, name, mayBeHandler));
    }
  };
  for (const { controllers, providers } of modules.values()) {
    for (const { metatype } of controllers.values()) {
      watchClass(metatype, isDecorated);
    }
    for (const { metatype } of providers.values()) {
      watchClass(metatype, isGateway(metatype) ? isDecorated : isResolver);
    }
  }
}

/** A class, or a function that makes a provider. */
type Metatype = { readonly prototype?: object } | null;

function isDecorated(method: object): boolean {
  return Reflect.getOwnMetadataKeys(method).length > 0;
}

function isResolver(method: object): boolean {
  return Reflect.getOwnMetadataKeys(method).some((key) => String(key).startsWith(RESOLVER_MARK));
}

function isGateway(metatype: unknown): boolean {
  return typeof metatype === 'function' && Reflect.getMetadata(GATEWAY_METADATA, metatype) === true;
}

function watchMethod(
  prototype: object,
  name: string,
  mayBeHandler: (method: object) => boolean,
): void {
  const owner = ownerOf(prototype, name);
  const descriptor = owner && Object.getOwnPropertyDescriptor(owner, name);
  const method = descriptor?.value as Handler | undefined;
  const isHandler = typeof method === 'function' && mayBeHandler(method);
  if (owner === undefined || descriptor?.writable !== true || !isHandler || WATCHING in method) {
    return;
  }
  Object.defineProperty(owner, name, { ...descriptor, value: watching(method) });
}

type Handler = (this: unknown, ...args: unknown[]) => unknown;

function watching(method: Handler): Handler {
  const watched: Handler = function (...args) {
    const end = innermostContext()?.handlerEnd;
    return end?.takes(watched) === true
      ? end.returned(method.apply(this, args))
      : method.apply(this, args);
  };
  copyIdentity(method, watched);
  Object.defineProperty(watched, WATCHING, { value: true });
  return watched;
}

/** The prototype that has a method: an inherited one is replaced where all that inherit it find it. */
function ownerOf(prototype: object, name: string): object | undefined {
  let owner: object | null = prototype;
  while (owner !== null && !Object.hasOwn(owner, name)) {
    owner = Object.getPrototypeOf(owner) as object | null;
  }
  return owner ?? undefined;
}
