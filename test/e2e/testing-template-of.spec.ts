import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { EntitySchema } from '@mikro-orm/core';
import { defineConfig } from '@mikro-orm/postgresql';
import { InvalidOptionsError } from 'nestjs-db-context';
import {
  createWorkerDatabase,
  templateOf,
  type TemplateOptions,
  type TemplateSources,
} from 'nestjs-db-context/testing';
import { Client } from 'pg';

const SERVER_URL = process.env['DB_CONTEXT_TEST_URL']!;
const name = `to_${process.pid}`;

interface Country {
  code: string;
  name: string;
}

const countryWith = (columns: Record<string, { type: string }> = {}): EntitySchema<Country> =>
  new EntitySchema<Country>({
    name: 'Country',
    tableName: 'country',
    properties: { code: { type: 'text', primary: true }, name: { type: 'text' }, ...columns },
  });
const country = countryWith();

const optionsOf = (entity: EntitySchema<Country>): ReturnType<typeof defineConfig> =>
  // Of another server and database, neither of which is to be used.
  defineConfig({ entities: [entity], host: 'nowhere.invalid', port: 1, dbName: 'shop' });

const template = (sources: TemplateSources = {}, entity = country): TemplateOptions =>
  templateOf(optionsOf(entity), { name, ...sources });

const versionOf = async ({ version }: TemplateOptions): Promise<string> =>
  typeof version === 'function' ? version() : version!;

async function on(url: string, sql: string): Promise<unknown[]> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query<object>(sql)).rows;
  } finally {
    await client.end();
  }
}

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'nestjs-db-context-template-of-'));
});
afterEach(async () => {
  rmSync(folder, { recursive: true, force: true });
  const rows = await on(
    SERVER_URL,
    `select datname from pg_database where starts_with(datname, '${name}_')`,
  );
  for (const { datname } of rows as { datname: string }[]) {
    await on(SERVER_URL, `drop database "${datname}" with (force)`);
  }
});

describe('templateOf()', () => {
  it('makes the tables of the entities and the rows of the seed, and again where they change', async () => {
    const seeded: string[] = [];
    const look = async (sources: TemplateSources, entity = country): Promise<unknown[]> => {
      const database = await createWorkerDatabase({
        serverUrl: SERVER_URL,
        template: template(sources, entity),
      });
      const rows = await on(database.url, 'select * from country order by code');
      await database.close();
      return rows;
    };
    const seed: TemplateSources['seed'] = async (em) => {
      seeded.push('of two');
      await em.insert(country, { code: 'AT', name: 'Austria' });
      em.create(country, { code: 'CH', name: 'Switzerland' }, { persist: true });
    };
    const both = [
      { code: 'AT', name: 'Austria' },
      { code: 'CH', name: 'Switzerland' },
    ];
    expect(await look({ seed })).toEqual(both);
    expect(await look({ seed })).toEqual(both);
    expect(seeded).toEqual(['of two']);
    const withPopulation = countryWith({ population: { type: 'integer' } });
    expect(await look({}, withPopulation)).toEqual([]);
    expect(
      await look({ seed: (em) => em.insert(country, { code: 'LI', name: 'Liechtenstein' }) }),
    ).toEqual([{ code: 'LI', name: 'Liechtenstein' }]);
  });

  it('makes the tables with the migrations of another tool', async () => {
    const file = join(folder, '1.sql');
    writeFileSync(
      file,
      'create table country (code text primary key, name text, of_migration int)',
    );
    const migrations = {
      path: folder,
      up: (url: string) => on(url, 'create table country (code text, name text, of_migration int)'),
    };
    const before = await versionOf(template({ migrations }));
    const database = await createWorkerDatabase({
      serverUrl: SERVER_URL,
      template: template({ migrations }),
    });
    expect(await on(database.url, 'select of_migration from country')).toEqual([]);
    await database.close();
    writeFileSync(file, 'create table country (code text)');
    expect(await versionOf(template({ migrations }))).not.toBe(before);
  });

  it('makes the tables with the migrations of MikroORM', async () => {
    const file = join(folder, 'Migration1.ts');
    writeFileSync(file, 'export class Migration1 {}');
    const silent: unknown[] = [];
    const withMigrator = (): TemplateOptions =>
      templateOf(
        {
          ...optionsOf(country),
          migrations: { path: './none', pathTs: folder },
          // Stands for @mikro-orm/migrations, which registers itself in this way.
          extensions: [
            {
              register: (orm) =>
                orm.config.registerExtension('@mikro-orm/migrator', () => ({
                  up: () => {
                    silent.push(orm.config.get('migrations').silent);
                    return orm.schema.execute('create table country (code text, of_migrator int)');
                  },
                })),
            },
          ],
        },
        { name, migrations: 'migrator' },
      );
    const before = await versionOf(withMigrator());
    const database = await createWorkerDatabase({
      serverUrl: SERVER_URL,
      template: withMigrator(),
    });
    expect(await on(database.url, 'select of_migrator from country')).toEqual([]);
    // Its migrations are not named in the output of the tests.
    expect(silent).toEqual([true]);
    await database.close();
    writeFileSync(file, 'export class Migration1 { name = 1 }');
    expect(await versionOf(withMigrator())).not.toBe(before);
    rmSync(file);
    await expect(versionOf(withMigrator())).rejects.toThrow('found no migrations in');
  });

  it('has another version for each change that matters, and else the same', async () => {
    mkdirSync(join(folder, 'more'));
    writeFileSync(join(folder, 'more/1.sql'), 'select 1');
    const migrations = { path: folder, up: () => undefined };
    const all = [
      template(),
      template({}, countryWith({ population: { type: 'integer' } })),
      template({}, countryWith({ population: { type: 'bigint' } })),
      template({ seed: () => 1 }),
      template({ seed: () => 2 }),
      template({ dependsOn: { rows: [1n] } }),
      template({ dependsOn: { rows: [2] } }),
      template({ migrations }),
    ];
    const versions = await Promise.all(all.map(versionOf));
    expect(new Set(versions).size).toBe(all.length);
    expect(await versionOf(template({ migrations }))).toBe(versions.at(-1));
    writeFileSync(join(folder, 'more/2.sql'), '');
    expect(await versionOf(template({ migrations }))).not.toBe(versions.at(-1));
    expect(await versionOf(template({}, countryWith()))).toBe(versions[0]);
  });

  it('names the databases after that of the options', () => {
    expect(templateOf(optionsOf(country)).name).toBe('shop_test');
    const clientUrl = 'postgres://nowhere.invalid/of%20url';
    expect(templateOf({ entities: [country], clientUrl }).name).toBe('of url_test');
    expect(() => templateOf({ entities: [country] })).toThrow(InvalidOptionsError);
    expect(() => templateOf({ entities: [country] })).toThrow('Give it a `name`');
  });

  it('refuses a seed or a migration whose source cannot be read, unless dependsOn says what it needs', async () => {
    const seedOf = (code: string): NonNullable<TemplateSources['seed']> =>
      function (this: string) {
        return this;
      }.bind(code);
    const listed = templateOf(
      { ...optionsOf(country), migrations: { migrationsList: [Object.bind(null) as never] } },
      { name, migrations: 'migrator' },
    );
    for (const refused of [template({ seed: seedOf('AT') }), listed]) {
      const error: unknown = await versionOf(refused).catch((e: unknown) => e);
      expect(error).toBeInstanceOf(InvalidOptionsError);
      expect(error).toMatchObject({
        code: 'INVALID_OPTIONS',
        message: expect.stringMatching(/bound or is of native code.*as `dependsOn`/),
      });
    }
    const [at, ch] = await Promise.all(
      ['AT', 'CH'].map((code) => versionOf(template({ seed: seedOf(code), dependsOn: code }))),
    );
    expect(at).not.toBe(ch);
  });

  it('refuses a folder without migrations', async () => {
    const migrations = { path: join(folder, 'none'), up: () => undefined };
    const error: unknown = await versionOf(template({ migrations })).catch((e: unknown) => e);
    expect(error).toBeInstanceOf(InvalidOptionsError);
    expect(error).toMatchObject({
      code: 'INVALID_OPTIONS',
      message: expect.stringMatching(/found no migrations in .*none.*leave `migrations` out/),
    });
  });

  it('refuses options that lead to another database than the URL', async () => {
    const options = { ...optionsOf(country), driverOptions: { connectionString: SERVER_URL } };
    await expect(
      createWorkerDatabase({ serverUrl: SERVER_URL, template: templateOf(options, { name }) }),
    ).rejects.toMatchObject({
      code: 'WORKER_DATABASE',
      step: 'prepare',
      cause: { code: 'INVALID_OPTIONS' },
      message: expect.stringMatching(/lead to the database "postgres" although the URL names/),
    });
    expect(await on(SERVER_URL, "select to_regclass('country') as found")).toEqual([
      { found: null },
    ]);
  });
});
