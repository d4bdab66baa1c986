import { EntityManager, MikroORM } from '@mikro-orm/core';
import {
  Global,
  Module,
  type DynamicModule,
  type FactoryProvider,
  type InjectionToken,
  type OptionalFactoryDependency,
  type Type,
} from '@nestjs/common';

import type { DbConnection } from '../connection/db-connection.js';
import { DEFAULT_CONNECTION_NAME } from '../options/defaults.js';
import { getConnectionToken } from '../tokens.js';

/**
 * Provides `MikroORM` and `EntityManager` by the tokens that `@mikro-orm/nestjs` provides them by, for an
 * application that has no other module for them. The entity manager is the global one: the session inside of
 * a context, and MikroORM's own outside.
 */
@Global()
@Module({})
export class DbContextOrmModule {
  /** @param names of the connections; only the one that is called `default` goes by classes */
  static async register(names: readonly string[]): Promise<DynamicModule> {
    const providers = (await Promise.all(names.map(ormProviders))).flat();
    return {
      module: DbContextOrmModule,
      providers,
      exports: providers.map(({ provide }) => provide),
    };
  }
}

async function ormProviders(name: string): Promise<FactoryProvider[]> {
  const isDefault = name === DEFAULT_CONNECTION_NAME;
  const { orms, managers } = isDefault
    ? await classTokens()
    : { orms: [`${name}_MikroORM`], managers: [`${name}_EntityManager`] };
  const inject = [getConnectionToken(name)];
  return [
    ...orms.map((provide) => ({ provide, inject, useFactory: ({ orm }: DbConnection) => orm })),
    ...managers.map((provide) => ({
      provide,
      inject,
      useFactory: ({ orm }: DbConnection) => orm.em,
    })),
  ];
}

/** The classes of the core and those of the driver, which an application may have without it. */
async function classTokens(): Promise<{ orms: InjectionToken[]; managers: InjectionToken[] }> {
  // A type of the optional peer must not get into the declarations.
  const name: string = '@mikro-orm/postgresql';
  try {
    const driver = (await import(name)) as { MikroORM: Type; EntityManager: Type };
    return {
      orms: [MikroORM, driver.MikroORM],
      managers: [EntityManager, driver.EntityManager as Type<EntityManager>],
    };
  } catch {
    return { orms: [MikroORM], managers: [EntityManager] };
  }
}

/**
 * Whether what options are made of may itself need a `MikroORM` of another module: provided here as well, it
 * would be made of those options, and the application would wait for itself.
 */
export function mayNeedOrm(
  tokens: readonly (InjectionToken | OptionalFactoryDependency | undefined)[],
  seen: ReadonlySet<unknown> = new Set(),
): boolean {
  return tokens.some((dependency) => {
    const token = tokenOf(dependency);
    if (typeof token !== 'function' || isOfOrm(token)) {
      return token !== undefined;
    }
    if (seen.has(token)) {
      return false;
    }
    return mayNeedOrm(dependenciesOf(token), new Set([...seen, token]));
  });
}

function tokenOf(dependency: InjectionToken | OptionalFactoryDependency | undefined): unknown {
  return typeof dependency === 'object' && 'token' in dependency ? dependency.token : dependency;
}

function isOfOrm(token: object): boolean {
  const { prototype } = token as { readonly prototype?: unknown };
  return [MikroORM, EntityManager].some(
    (each) => token === each || prototype instanceof (each as unknown as Type),
  );
}

function dependenciesOf(token: object): InjectionToken[] {
  const types = (Reflect.getMetadata('design:paramtypes', token) ?? []) as InjectionToken[];
  const named = (Reflect.getMetadata('self:paramtypes', token) ?? []) as {
    readonly index: number;
    readonly param: InjectionToken;
  }[];
  return types.map((type, index) => named.find((each) => each.index === index)?.param ?? type);
}
