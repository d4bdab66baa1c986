// Reports about the test code itself would only bury a failing test, so coverage looks at lib alone.
/** @type {import('jest').Config} */
export default {
  testEnvironment: 'node',
  testMatch: ['<rootDir>/test/**/*.spec.ts', '<rootDir>/sample/**/*.spec.ts'],
  testPathIgnorePatterns: ['/node_modules/', '/dist/'],
  // A built sample or a staged package holds a second package.json and second copies of the modules.
  modulePathIgnorePatterns: ['/dist/', '/build/'],
  testTimeout: 20_000,
  maxWorkers: 2,

  extensionsToTreatAsEsm: ['.ts'],
  moduleNameMapper: {
    '^nestjs-db-context$': '<rootDir>/lib/index.ts',
    '^nestjs-db-context/(event-emitter|cqrs)$': '<rootDir>/lib/events/$1.ts',
    '^nestjs-db-context/(bullmq|graphql|inspector|opentelemetry|prometheus|telemetry|terminus|testing)$':
      '<rootDir>/lib/$1/index.ts',
    // The sources import `./x.js`, as Node needs it after the build; here only `x.ts` exists.
    '^(\\.{1,2}/.*)\\.js$': '$1',
  },
  transform: {
    '^.+\\.ts$': [
      '@swc/jest',
      {
        jsc: {
          parser: { syntax: 'typescript', decorators: true },
          transform: {
            legacyDecorator: true,
            decoratorMetadata: true,
            // The same import elision as tsc, or metadata would differ between tests and build.
            verbatimModuleSyntax: true,
          },
          target: 'es2022',
          keepClassNames: true,
        },
        module: { type: 'es6' },
        sourceMaps: 'inline',
      },
    ],
  },

  globalSetup: '<rootDir>/test/support/postgres.global-setup.ts',
  globalTeardown: '<rootDir>/test/support/postgres.global-teardown.ts',
  reporters: ['default', '<rootDir>/test/support/summary.reporter.mjs'],

  collectCoverageFrom: ['lib/**/*.ts'],
  coverageProvider: 'v8',
  coverageReporters: ['text-summary', 'lcov'],
  coverageThreshold: {
    global: { lines: 90, statements: 90, functions: 90, branches: 85 },
  },
};
