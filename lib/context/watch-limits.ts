import { DEFAULTS } from '../options/defaults.js';
import type { WatchOptions } from '../options/watch-options.js';

/** When the watch warns. */
export type WatchLimits = Required<WatchOptions>;

/** The limits that an option stands for, if it is on. */
export function watchLimits(
  option: boolean | WatchOptions = process.env['NODE_ENV'] !== 'production',
): WatchLimits | undefined {
  return option === false ? undefined : { ...DEFAULTS.watch, ...(option === true ? {} : option) };
}
