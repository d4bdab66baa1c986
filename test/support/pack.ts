import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { run } from '../package/run.mjs';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/**
 * Packs the package as it was built.
 *
 * @param directory where the tarball is put
 * @returns the path of the tarball
 */
export async function pack(directory: string): Promise<string> {
  const output = await run(
    'npm',
    ['pack', '--json', '--ignore-scripts', '--pack-destination', directory],
    ROOT,
  );
  const [packed] = JSON.parse(output) as [{ readonly filename: string }];
  return join(directory, packed.filename);
}
