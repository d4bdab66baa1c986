import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, globSync, mkdirSync, readFileSync, realpathSync } from 'node:fs';
import { rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The folder that holds `node_modules` of this project. */
const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** What the tests need and this project has. The library and the tests have to load the same copy. */
const LINKED = [
  '@mikro-orm/core',
  '@mikro-orm/decorators',
  '@mikro-orm/postgresql',
  '@mikro-orm/sql',
  'dataloader',
  'kysely',
  'pg',
  'reflect-metadata',
];

/** What the tests need and this project does without. */
const INSTALLED = ['vitest@4.1', 'knex@3', 'uuid@14', '@mikro-orm/sql-highlighter@1'];

/** Packages of MikroORM that the tests load and this project does without: taken from the sources. */
const EXTENSIONS = ['entity-generator', 'knex-compat', 'migrations', 'reflection', 'seeder'];

const NAMES_POSTGRESQL = /postgre/i;

/** Tests of what makes schemas and files; they use no entity manager. */
const WITHOUT_MANAGER =
  /^tests\/features\/(schema-generator|entity-generator|migrations|cli|reflection)\//;

/**
 * Makes a folder in which vitest can run MikroORM's tests on the packages that this project has installed.
 *
 * @param sources a checkout of MikroORM, which is only read
 * @param workspace the folder; what is installed in it already stays
 */
export function prepareWorkspace(sources: string, workspace: string): void {
  mkdirSync(workspace, { recursive: true });
  for (const name of ['tests', 'packages']) {
    rmSync(join(workspace, name), { recursive: true, force: true });
  }
  cpSync(join(sources, 'tests'), join(workspace, 'tests'), { recursive: true });
  for (const name of ['tsconfig.json', 'tsconfig.build.json']) {
    cpSync(join(sources, name), join(workspace, name));
  }
  for (const name of EXTENSIONS) {
    const folder = join('packages', name, 'src');
    cpSync(join(sources, folder), join(workspace, folder), { recursive: true });
  }
  if (!existsSync(join(workspace, 'node_modules/vitest'))) {
    writeFileSync(join(workspace, 'package.json'), '{ "private": true, "type": "module" }\n');
    execFileSync(
      'npm',
      [
        'install',
        '--no-audit',
        '--no-fund',
        '--ignore-scripts',
        '--legacy-peer-deps',
        ...INSTALLED,
      ],
      { cwd: workspace, stdio: 'inherit' },
    );
  }
  for (const name of LINKED) {
    const link = join(workspace, 'node_modules', name);
    rmSync(link, { recursive: true, force: true });
    mkdirSync(dirname(link), { recursive: true });
    symlinkSync(realpathSync(join(ROOT, 'node_modules', name)), link, 'dir');
  }
}

/**
 * The test files that use PostgreSQL and an entity manager.
 *
 * @param patterns parts of their paths, one of which has to fit; all files without any
 */
export function testFiles(workspace: string, patterns: readonly string[]): string[] {
  return globSync('tests/**/*.test.ts', { cwd: workspace })
    .filter((file) => !WITHOUT_MANAGER.test(file))
    .filter((file) => patterns.length === 0 || patterns.some((part) => file.includes(part)))
    .filter((file) => NAMES_POSTGRESQL.test(readFileSync(join(workspace, file), 'utf8')))
    .toSorted();
}
