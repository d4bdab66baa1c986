/** How vitest runs MikroORM's tests: against the installed packages, plain or in contexts (see main.ts). */
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const { MIKRO_ORM_TESTS_WORKSPACE: workspace, MIKRO_ORM_TESTS_MODE: mode } = process.env;
const here = (name) => fileURLToPath(new URL(name, import.meta.url));
const sourcesOf = (name) => `${workspace}/packages/${name}/src/index.ts`;

/** Packages that the tests load and that the project has not: their sources lie beside the tests. */
const EXTENSIONS = ['entity-generator', 'migrations', 'seeder', 'reflection', 'knex-compat'];
/** Drivers of other databases: nothing of what is run here uses them. */
const OTHERS = 'cli|libsql|mariadb|migrations-mongodb|mongodb|mssql|mysql|oracledb|pglite|sqlite';

export default {
  oxc: { decorator: { legacy: true, emitDecoratorMetadata: true } },
  resolve: {
    alias: [
      ...EXTENSIONS.filter((name) => existsSync(sourcesOf(name))).map((name) => ({
        find: `@mikro-orm/${name}`,
        replacement: sourcesOf(name),
      })),
      { find: new RegExp(`^@mikro-orm/(${OTHERS})$`), replacement: here('other-driver.mjs') },
    ],
  },
  test: {
    globals: true,
    include: ['tests/**/*.test.ts'],
    setupFiles: [
      `${workspace}/tests/setup.ts`,
      ...(mode === 'plain' ? [] : [here('adopt.setup.ts')]),
    ],
    ...(mode !== 'plain' && { runner: here('context.runner.mjs') }),
    clearMocks: true,
    isolate: false,
    pool: 'forks',
    maxWorkers: Number(process.env.MIKRO_ORM_TESTS_WORKERS ?? 2),
    testTimeout: 15_000,
    hookTimeout: 30_000,
    teardownTimeout: 5_000,
    disableConsoleIntercept: true,
    update: false,
  },
};
