import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';

import type {
  AnyEntity,
  EntityClass,
  EntityManager,
  EntitySchema,
  IDatabaseDriver,
  MikroORM,
  Options,
} from '@mikro-orm/core';

import { InvalidOptionsError } from '../../errors.js';
import type { DriverEntityManager } from '../../session/driver-entity-manager.js';
import { databaseNameOf } from './database-names.js';
import type { TemplateOptions } from './worker-database.js';

/** Options of MikroORM that say where a database is. */
const SERVER_OPTIONS = [
  'host',
  'port',
  'user',
  'password',
  'replicas',
  'preferReadReplicas',
] as const;

/** The source of a function that was bound. */
const NATIVE = /\{\s*\[native code\]\s*\}/;

/** Options of MikroORM, also those that `defineConfig()` returns. */
export type TemplateOrmOptions = Partial<
  Options<
    IDatabaseDriver,
    EntityManager,
    readonly (string | EntityClass<AnyEntity> | EntitySchema)[]
  >
>;

/** Migrations that another tool than MikroORM runs. */
export interface TemplateMigrations {
  /** The folder of the migrations, whose files are part of the version; those in subfolders as well. */
  readonly path: string;
  /**
   * Runs all migrations, and closes the connections that it opens.
   *
   * @param url the URL of an empty database
   */
  readonly up: (url: string) => unknown;
}

/** What {@link templateOf} makes a template of, beside the entities. */
export interface TemplateSources {
  /**
   * The prefix of the names of all databases that are made, see {@link TemplateOptions}.
   * @defaultValue the name of the database of the options, followed by `_test`
   */
  readonly name?: string;
  /**
   * Makes the tables with migrations: with those of MikroORM (`'migrator'`, which needs
   * `@mikro-orm/migrations`), or with those of another tool.
   * @defaultValue the tables are made from the entities
   */
  readonly migrations?: 'migrator' | TemplateMigrations;
  /** Writes the rows that all tests share; what it has only persisted is flushed afterwards. */
  readonly seed?: (em: DriverEntityManager) => unknown;
  /**
   * What the rows depend on beside the source of `seed`, such as the data that it imports: a value that
   * JSON can hold. The template is made anew when it changes.
   */
  readonly dependsOn?: unknown;
}

/**
 * The template of worker databases for the options of a connection. Its version follows the tables that the
 * entities need, the files of the migrations, the source of `seed` and `dependsOn`, so that a changed entity
 * is never tested on old tables.
 *
 * @param options those of MikroORM, with entities; the server that they name is not used
 * @throws {@link InvalidOptionsError} neither `name` nor the options name a database; later, as a template
 *   is needed: there are no files of migrations
 * @example
 * ```ts
 * const database = await createWorkerDatabase({
 *   serverUrl,
 *   template: templateOf(ormOptions, { migrations: 'migrator', seed: (em) => em.persist(new Country('AT')) }),
 * });
 * ```
 * @publicApi
 */
export function templateOf(
  options: TemplateOrmOptions,
  sources: TemplateSources = {},
): TemplateOptions {
  const { name = `${ownNameOf(options)}_test`, migrations, seed } = sources;
  return {
    name,
    version: () => withOrm(options, (orm) => versionOf(orm, sources)),
    prepare: (url) =>
      withOrm(optionsAt(options, url), async (orm) => {
        await assertReached(orm, databaseNameOf(url));
        if (migrations === undefined) {
          await orm.schema.create();
        } else if (migrations === 'migrator') {
          await orm.migrator.up();
        } else {
          await migrations.up(url);
        }
        const em = orm.em.fork();
        await seed?.(em as DriverEntityManager);
        await em.flush();
      }),
  };
}

/**
 * @throws {@link InvalidOptionsError} a source does not say all that it makes, and nothing else does
 */
async function versionOf(orm: SqlOrm, sources: TemplateSources): Promise<string> {
  const { seed, dependsOn } = sources;
  if (dependsOn === undefined) {
    assertReadable('seed', String(seed));
    if (sources.migrations === 'migrator') {
      listedIn(orm).forEach((each) => assertReadable('a migration in migrationsList', each));
    }
  }
  const parts = [
    await orm.schema.getCreateSchemaSQL(),
    ...migrationFiles(orm, sources.migrations),
    String(seed),
    JSON.stringify(dependsOn, (_, value: unknown) =>
      typeof value === 'bigint' || typeof value === 'function' ? String(value) : value,
    ) ?? '',
  ];
  const hash = createHash('sha256');
  // With its length before it, no part can pass for the end of another one.
  parts.forEach((part) => hash.update(`${part.length}:`).update(part));
  return hash.digest('hex');
}

/** The names of the files of migrations, each followed by its text. */
function migrationFiles(orm: SqlOrm, migrations: TemplateSources['migrations']): string[] {
  if (migrations === undefined) {
    return [];
  }
  const folders = migrations === 'migrator' ? foldersOf(orm) : [migrations.path];
  const files = folders.flatMap(filesIn);
  const listed = migrations === 'migrator' ? listedIn(orm) : [];
  if (files.length + listed.length === 0) {
    throw new InvalidOptionsError(
      `templateOf() found no migrations in ${folders.join(' and ')}. Give the folder in which they are, ` +
        'or leave `migrations` out, so that the tables are made from the entities.',
    );
  }
  return [...files.flatMap((file) => [basename(file), readFileSync(file, 'utf8')]), ...listed];
}

/** What was bound, or is of the engine, has no source: another one would look the same. */
function assertReadable(what: string, source: string): void {
  if (NATIVE.test(source)) {
    throw new InvalidOptionsError(
      `templateOf() was given as ${what} a function that was bound or is of native code, whose source ` +
        'cannot be read: one with other data would get the old template. Give a function that calls it, or ' +
        'what it depends on as `dependsOn`.',
    );
  }
}

function filesIn(folder: string): string[] {
  return existsSync(folder)
    ? readdirSync(folder, { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile())
        .map((entry) => join(entry.parentPath, entry.name))
        .toSorted()
    : [];
}

/** MikroORM runs the sources or what they were compiled to, by its own choice. */
function foldersOf({ config }: SqlOrm): string[] {
  const { path, pathTs } = config.get('migrations');
  const folders = [path, pathTs].filter((each) => each !== undefined);
  return [...new Set(folders.map((each) => resolve(config.get('baseDir'), each)))];
}

function listedIn({ config }: SqlOrm): string[] {
  const { migrationsList = [] } = config.get('migrations');
  return migrationsList.map((each) =>
    'class' in each ? `${each.name} ${String(each.class)}` : String(each),
  );
}

/** The part of MikroORM for SQL that is used here; `schema` has no type in its core. */
interface SqlOrm extends Pick<MikroORM, 'em' | 'config' | 'migrator' | 'close'> {
  readonly schema: {
    create(): Promise<void>;
    getCreateSchemaSQL(): Promise<string>;
  };
}

async function withOrm<T>(
  options: TemplateOrmOptions,
  work: (orm: SqlOrm) => Promise<T>,
): Promise<T> {
  // The driver is an optional peer dependency; the rest of lib/testing does without it.
  const { MikroORM: PostgreSqlMikroORM } = await import('@mikro-orm/postgresql');
  const orm = (await PostgreSqlMikroORM.init({
    ...(options as object),
    ensureDatabase: false,
  })) as unknown as SqlOrm;
  try {
    return await work(orm);
  } finally {
    await orm.close();
  }
}

/** The options for a database at another place, whatever place they name. */
function optionsAt(options: TemplateOrmOptions, url: string): TemplateOrmOptions {
  const others = Object.entries(options).filter(
    ([name]) => !(SERVER_OPTIONS as readonly string[]).includes(name),
  );
  return {
    ...Object.fromEntries(others),
    clientUrl: url,
    dbName: databaseNameOf(url),
    // The migrator would name each migration in the output of the tests.
    migrations: { silent: true, ...options.migrations },
  };
}

function ownNameOf({ dbName, clientUrl }: TemplateOrmOptions): string {
  const name = dbName ?? (clientUrl === undefined ? '' : databaseNameOf(clientUrl));
  if (name === '') {
    throw new InvalidOptionsError(
      'templateOf() was given options without the name of a database. Give it a `name`, which becomes ' +
        'the beginning of the names of all databases that are made.',
    );
  }
  return name;
}

/** `driverOptions` may lead the connection elsewhere, where no table may be made. */
async function assertReached(orm: SqlOrm, databaseName: string): Promise<void> {
  const connection = orm.em.getConnection() as unknown as {
    execute(sql: string): Promise<{ readonly name: string }[]>;
  };
  const [row] = await connection.execute('select current_database() as name');
  if (row!.name !== databaseName) {
    throw new InvalidOptionsError(
      `templateOf() was given options that lead to the database "${row!.name}" although the URL names ` +
        `"${databaseName}". Leave out what names a server in \`driverOptions\`.`,
    );
  }
}
