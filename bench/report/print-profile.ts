import type { Profiler } from 'node:inspector';

import { hotFunctions, hotPackages, saveProfile } from './profile.js';
import { profileTable } from './tables.js';

const SHOWN = 40;

/**
 * Prints a profile by package and by function.
 *
 * @param file the file that the profile is saved in, if any
 * @param eachUs CPU time of one request, in microseconds, where that is known
 */
export async function printProfile(
  title: string,
  profile: Profiler.Profile,
  file: string | undefined,
  eachUs?: number,
): Promise<void> {
  const functions = hotFunctions(profile);
  console.log(`\n${title}: by package, by function\n`);
  console.log(profileTable(hotPackages(functions), eachUs));
  console.log(`\n${profileTable(functions.slice(0, SHOWN), eachUs)}`);
  if (file !== undefined) {
    await saveProfile(file, profile);
  }
}
