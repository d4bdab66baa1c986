import { Injectable, type Type } from '@nestjs/common';
import { MetadataScanner, ModulesContainer, Reflector } from '@nestjs/core';

import { InvalidOptionsError } from '../errors.js';
import { RouteSettingsReader, type RouteSettings } from '../transport/route-settings.js';

// Metadata keys of @nestjs/graphql, which it does not export; a spec fails when an upgrade changes them.
const RESOLVER_TYPE_METADATA = 'graphql:resolver_type';
const RESOLVER_NAME_METADATA = 'graphql:resolver_name';

const ROOT_TYPES = { query: 'Query', mutation: 'Mutation', subscription: 'Subscription' } as const;

/** A method that resolves a field. */
export interface ResolverMethod {
  /** The type in the schema that the field belongs to. */
  readonly type: string;
  readonly name: string;
  readonly handler: () => unknown;
  readonly owner: Type;
}

/** The decorators of this library on the resolvers of root fields. */
@Injectable()
export class ResolverRoutes {
  readonly #modules: ModulesContainer;
  readonly #reader: RouteSettingsReader;
  // Read on first use: request-scoped and dynamic providers are all known by then.
  #routes: ReadonlyMap<string, RouteSettings> | undefined;

  constructor(modules: ModulesContainer, reflector: Reflector) {
    this.#modules = modules;
    this.#reader = new RouteSettingsReader(reflector);
  }

  /** The settings of a root field; `undefined` where no class of the application resolves it. */
  of(kind: keyof typeof ROOT_TYPES, fieldName: string): RouteSettings | undefined {
    this.#routes ??= this.#read();
    return this.#routes.get(`${ROOT_TYPES[kind]}.${fieldName}`);
  }

  /** The methods of the application that resolve root fields or other fields. */
  *handlers(): Generator<ResolverMethod> {
    const scanner = new MetadataScanner();
    const providers = [...this.#modules.values()].flatMap((each) => [...each.providers.values()]);
    for (const { metatype } of providers) {
      const prototype = metatype?.prototype as Record<string, object> | undefined;
      if (metatype === null || metatype === undefined || prototype === undefined) {
        continue;
      }
      for (const method of scanner.getAllMethodNames(prototype)) {
        const handler = prototype[method] as () => unknown;
        const type = Reflect.getMetadata(RESOLVER_TYPE_METADATA, handler) as string | undefined;
        if (type !== undefined) {
          const name = Reflect.getMetadata(RESOLVER_NAME_METADATA, handler) as string | undefined;
          yield { type, name: name ?? method, handler, owner: metatype as Type };
        }
      }
    }
  }

  /**
   * @param checked resolvers that do not have contexts of their own
   * @throws {@link InvalidOptionsError} one of them has `@UseAfterCommit()`: its interceptors would run before
   *   the commit, which comes when all fields have been resolved
   */
  assertNoneAfterCommit(checked: 'all' | 'subscriptions'): void {
    for (const { handler, owner, type } of this.handlers()) {
      const { afterCommit, name } = this.#settingsOf({ handler, owner });
      const isSubscription = type === ROOT_TYPES.subscription;
      if (afterCommit.length > 0 && (checked === 'all' || isSubscription)) {
        throw new InvalidOptionsError(
          `@UseAfterCommit() on ${name}: a resolver ends before its operation is committed, so that the ` +
            'interceptor would keep what may be rolled back. Use dbContext.onCommit()' +
            (isSubscription
              ? '.'
              : ", a plugin or hook of the server, or scope: 'root-field' of DbContextGraphQLModule."),
        );
      }
    }
  }

  #settingsOf({ handler, owner }: Pick<ResolverMethod, 'handler' | 'owner'>): RouteSettings {
    return this.#reader.of({ getHandler: () => handler, getClass: () => owner });
  }

  #read(): ReadonlyMap<string, RouteSettings> {
    const routes = new Map<string, RouteSettings>();
    for (const { type, name, handler, owner } of this.handlers()) {
      routes.set(`${type}.${name}`, this.#settingsOf({ handler, owner }));
    }
    return routes;
  }
}
