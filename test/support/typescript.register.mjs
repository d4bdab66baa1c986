/**
 * Lets Node run the sources as Jest does, for processes that a spec starts:
 * `node --import ./test/support/typescript.register.mjs app.ts`. Node itself knows no decorators.
 */
import { existsSync, readFileSync } from 'node:fs';
import { registerHooks } from 'node:module';
import { fileURLToPath, pathToFileURL } from 'node:url';

import { transformSync } from '@swc/core';

import config from '../../jest.config.mjs';

const ROOT = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '');
const [, swcOptions] = config.transform['^.+\\.ts$'];
const packages = Object.entries(config.moduleNameMapper).filter(([, file]) =>
  file.startsWith('<rootDir>'),
);

/** @param {string} specifier */
function sourceOf(specifier) {
  for (const [pattern, file] of packages) {
    if (new RegExp(pattern).test(specifier)) {
      return specifier.replace(new RegExp(pattern), file.replace('<rootDir>', ROOT));
    }
  }
  return undefined;
}

registerHooks({
  resolve: (specifier, context, nextResolve) => {
    const source = sourceOf(specifier);
    if (source !== undefined) return nextResolve(pathToFileURL(source).href, context);
    if (/^\.{1,2}\/.*\.js$/.test(specifier) && context.parentURL?.endsWith('.ts')) {
      const typescript = new URL(specifier.replace(/\.js$/, '.ts'), context.parentURL);
      if (existsSync(typescript)) return nextResolve(typescript.href, context);
    }
    return nextResolve(specifier, context);
  },
  load: (url, context, nextLoad) => {
    if (!url.endsWith('.ts') || url.includes('/node_modules/')) return nextLoad(url, context);
    const filename = fileURLToPath(url);
    const { code } = transformSync(readFileSync(filename, 'utf8'), { ...swcOptions, filename });
    return { format: 'module', source: code, shortCircuit: true };
  },
});
