import { join } from 'node:path';

import { stagePackage } from '../../.ci/package/stage-package.mjs';
import { run } from '../package/run.mjs';

/**
 * Packs the package as it was built.
 *
 * @param directory where the tarball is put
 * @returns the path of the tarball
 */
export async function pack(directory: string): Promise<string> {
  const staged = join(directory, 'staged');
  await stagePackage(staged);
  const output = await run('npm', ['pack', '--json', '--pack-destination', directory], staged);
  const [packed] = JSON.parse(output) as [{ readonly filename: string }];
  return join(directory, packed.filename);
}
