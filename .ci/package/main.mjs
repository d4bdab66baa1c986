/**
 * `npm run stage`: makes the package in build/package, the directory that `npm run release:publish` publishes.
 * Needs `dist`, so it runs after `npm run build`.
 */
import { fileURLToPath } from 'node:url';
import { stagePackage } from './stage-package.mjs';

await stagePackage(fileURLToPath(new URL('../../build/package', import.meta.url)));
