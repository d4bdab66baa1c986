import { fileURLToPath } from 'node:url';

import { defineConfig } from 'vitest/config';

const fromRoot = (path: string): string =>
  fileURLToPath(new URL(`../../../${path}`, import.meta.url));

// Decorators and their metadata need no plugin: Vite reads experimentalDecorators and emitDecoratorMetadata
// in tsconfig.json.
export default defineConfig({
  root: fileURLToPath(new URL('.', import.meta.url)),
  // An application has the library in node_modules, and needs no alias.
  resolve: {
    alias: {
      'nestjs-db-context/testing': fromRoot('lib/testing/index.ts'),
      'nestjs-db-context': fromRoot('lib/index.ts'),
    },
  },
  test: {
    globalSetup: fileURLToPath(new URL('./server.setup.ts', import.meta.url)),
    // A worker process makes its databases in the hooks of its first file.
    hookTimeout: 20_000,
  },
});
