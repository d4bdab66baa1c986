import {
  Injectable,
  Scope,
  type ExecutionContext,
  type NestInterceptor,
  type ScopeOptions,
  type Type,
} from '@nestjs/common';
import { MetadataScanner, ModuleRef, ModulesContainer } from '@nestjs/core';

import {
  AFTER_COMMIT_METADATA,
  type AfterCommitInterceptor,
} from '../decorators/after-commit.decorator.js';
import { InvalidOptionsError } from '../errors.js';
import { AFTER_COMMIT_INTERCEPTOR } from '../tokens.js';
import type { RouteSettings } from './route-settings.js';

/** A module of Nest. */
type NestModuleHost = ReturnType<ModulesContainer['get']> & object;

// Nest's own metadata key; `test/e2e/nest-surface.spec.ts` fails when an upgrade changes it.
export const SCOPE_METADATA = 'scope:options';

const NONE: readonly NestInterceptor[] = [];

/** The interceptors that are around the contexts of the application, each made once. */
@Injectable()
export class AfterCommitInterceptors {
  readonly #modules: ModulesContainer;
  #ofAll = NONE;
  /** What was made of the classes that a controller, a gateway or a resolver names. */
  readonly #made = new Map<object, ReadonlyMap<AfterCommitInterceptor, NestInterceptor>>();
  readonly #known = new WeakMap<RouteSettings, readonly NestInterceptor[]>();
  /** The requests that they are around already: an interceptor further in finds its context open. */
  readonly #served = new WeakSet<ExecutionContext>();

  constructor(modules: ModulesContainer) {
    this.#modules = modules;
  }

  /**
   * Makes them all, while the application boots.
   *
   * @throws {@link InvalidOptionsError} one cannot be made
   */
  async create(): Promise<void> {
    for (const module of this.#modules.values()) {
      this.#ofAll = [...this.#ofAll, ...globalOf(module)];
      for (const { metatype } of [...module.controllers.values(), ...module.providers.values()]) {
        if (typeof metatype === 'function' && !this.#made.has(metatype)) {
          await this.#createFor(metatype as Type, module);
        }
      }
    }
  }

  /** Whether any are to run around requests of a route. */
  has(route: RouteSettings): boolean {
    return (this.#known.get(route) ?? this.#find(route)).length > 0;
  }

  /** Those that are to run around a request; none a second time. The outermost comes first. */
  around(request: ExecutionContext, route: RouteSettings): readonly NestInterceptor[] {
    const interceptors = this.#known.get(route) ?? this.#find(route);
    if (interceptors.length === 0 || this.#served.has(request)) {
      return NONE;
    }
    this.#served.add(request);
    return interceptors;
  }

  #find(route: RouteSettings): readonly NestInterceptor[] {
    const made = this.#made.get(route.owner);
    const own = route.afterCommit.map((each) => made?.get(each) ?? each);
    const found = [...this.#ofAll, ...own].filter((each) => typeof each !== 'function');
    this.#known.set(route, found);
    return found;
  }

  async #createFor(owner: Type, module: NestModuleHost): Promise<void> {
    const named = namedBy(owner).filter((each) => typeof each === 'function');
    if (named.length === 0) {
      return;
    }
    const made = new Map<AfterCommitInterceptor, NestInterceptor>();
    for (const each of named) {
      made.set(each, made.get(each) ?? (await createIn(module, each, owner)));
    }
    this.#made.set(owner, made);
  }
}

/** What a class and its methods name. */
function namedBy(owner: Type): readonly AfterCommitInterceptor[] {
  const prototype = owner.prototype as Record<string, object> | undefined;
  if (prototype === undefined) {
    return [];
  }
  const methods = new MetadataScanner().getAllMethodNames(prototype);
  return [owner, ...methods.map((name) => prototype[name]!)].flatMap(
    (target) =>
      (Reflect.getMetadata(AFTER_COMMIT_METADATA, target) ??
        []) as readonly AfterCommitInterceptor[],
  );
}

async function createIn(
  module: NestModuleHost,
  type: Type<NestInterceptor>,
  owner: Type,
): Promise<NestInterceptor> {
  const provider = module.providers.get(type);
  if (provider?.isDependencyTreeStatic() === true && !provider.isTransient) {
    return provider.instance as NestInterceptor;
  }
  const refuse = (why: string, cause?: unknown): never => {
    throw new InvalidOptionsError(
      `@UseAfterCommit(${type.name}) on ${owner.name}: ${type.name} could not be made in ${module.name}: ` +
        `${why} It is made once for the application, so neither it nor what it needs may be request-scoped.`,
      cause,
    );
  };
  const options = Reflect.getMetadata(SCOPE_METADATA, type) as ScopeOptions | undefined;
  if (options?.scope === Scope.REQUEST) {
    refuse('it is request-scoped.');
  }
  const moduleRef = module.providers.get(ModuleRef)?.instance as ModuleRef;
  try {
    return await moduleRef.create(type);
  } catch (error) {
    return refuse(error instanceof Error ? error.message : String(error), error);
  }
}

function globalOf(module: NestModuleHost): readonly NestInterceptor[] {
  const provider = module.providers.get(AFTER_COMMIT_INTERCEPTOR);
  if (provider === undefined) {
    return NONE;
  }
  if (!provider.isDependencyTreeStatic() || provider.isTransient) {
    throw new InvalidOptionsError(
      `AFTER_COMMIT_INTERCEPTOR in ${module.name} is request-scoped. It is made once for the application, ` +
        'so neither it nor what it needs may be.',
    );
  }
  const value = provider.instance as NestInterceptor | readonly NestInterceptor[];
  return Array.isArray(value) ? (value as readonly NestInterceptor[]) : [value as NestInterceptor];
}
